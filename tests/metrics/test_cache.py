"""Features of reference images on disk: computed once, for these images and this extractor only."""

import pytest
import torch
from torch import nn

from hqdm.data.images import load_images
from hqdm.metrics import cache
from hqdm.metrics.cache import extractor_digest, reference_distances, reference_features
from hqdm.metrics.distribution import extract
from hqdm.metrics.features import FeatureExtractor, load_extractor
from hqdm.metrics.memorisation import training_distances


class Counting(FeatureExtractor):
    """Two random projections of the pixels; counts the images."""

    def __init__(self, width=3, power=1):
        super().__init__("counting", width, size=8, channels=1)
        self.body = nn.Linear(64, width)
        self.power = power

    def features_and_logits(self, images):
        seen.append(len(images))
        features = self.body(self.prepare(images).flatten(1)) ** self.power
        return features, features[:, :2]


seen = []


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "cache_folder", lambda name: tmp_path)
    seen.clear()
    return tmp_path


@pytest.fixture
def images():
    return load_images("digits", limit=300).images


def test_the_second_time_nothing_is_computed(images, folder):
    extractor = Counting()
    first = reference_features(images, extractor)
    assert sum(seen) == 300
    again = reference_features(images, extractor)
    assert sum(seen) == 300
    expected = extract(images, extractor)
    for found in (first, again):
        assert all(map(torch.equal, found, expected))
    assert [file.suffix for file in folder.iterdir()] == [".safetensors"]


def test_double_precision_is_kept(images):
    """Features that single precision does not hold."""

    class Double(Counting):
        def features_and_logits(self, images):
            features, logits = super().features_and_logits(images)
            return features.double() / 3, logits.double() / 3

    extractor = Double()
    reference_features(images, extractor)
    assert all(map(torch.equal, reference_features(images, extractor), extract(images, extractor)))
    assert not torch.equal(*(f(extract(images, extractor)[0]) for f in (lambda x: x, _rounded)))


def _rounded(values):
    return values.float().double()


def test_other_images_and_other_extractors_have_other_keys(images, folder):
    torch.manual_seed(1)
    extractor, other = Counting(), Counting()
    powered = Counting(power=2)
    powered.load_state_dict(extractor.state_dict())
    changed = images.clone()
    changed[7, 0, 3, 3] += 1
    cases = [(images, extractor), (images[:299], extractor), (changed, extractor)]
    cases += [(images, other), (images, powered), (images.reshape(75, 1, 16, 16), extractor)]
    for number, case in enumerate(cases, start=1):
        assert all(map(torch.equal, reference_features(*case), extract(*case)))
        assert len(list(folder.iterdir())) == number


def test_another_source_or_version_has_another_key(images, folder, monkeypatch):
    extractor = Counting()
    before = extractor_digest(extractor)
    monkeypatch.setattr(
        cache.inspect, "getsourcefile", lambda kind: load_images.__code__.co_filename
    )
    assert extractor_digest(extractor) != before
    monkeypatch.undo()
    monkeypatch.setattr(cache, "cache_folder", lambda name: folder)
    reference_features(images, extractor)
    for name, value in (("CACHE_VERSION", 2), ("torch.__version__", "0.1")):
        monkeypatch.setattr(f"hqdm.metrics.cache.{name}", value)
        seen.clear()
        reference_features(images, extractor)
        assert sum(seen) == 300


def test_the_key_outlasts_the_process_or_there_is_none(images, folder):
    """Not for options such as functions, whose name is an address, nor for interactive classes."""
    assert extractor_digest(load_extractor("digits")) == extractor_digest(load_extractor("digits"))
    odd = Counting()
    odd.function = lambda x: x
    namespace = {"FeatureExtractor": FeatureExtractor, "__name__": "typed_in"}
    exec(
        "class Typed(FeatureExtractor):\n"
        "    def features_and_logits(self, images):\n"
        "        return images.flatten(1), images.flatten(1)",
        namespace,
    )
    for extractor in (odd, namespace["Typed"]("typed", 64, 8, 1)):
        assert extractor_digest(extractor) is None
        assert all(
            map(torch.equal, reference_features(images, extractor), extract(images, extractor))
        )
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("damage", ["bit", "half", "empty", "other"])
def test_damaged_files_are_computed_anew(images, folder, damage):
    extractor = Counting()
    expected = reference_features(images, extractor)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[-5] ^= 1
    damages = {
        "bit": bytes(flipped),
        "half": whole[: len(whole) // 2],
        "empty": b"",
        "other": b"{}",
    }
    file.write_bytes(damages[damage])
    seen.clear()
    assert all(map(torch.equal, reference_features(images, extractor), expected))
    assert sum(seen) == 300
    assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_used_is_no_error(images, folder, monkeypatch):
    extractor = Counting()
    monkeypatch.setattr(cache, "cache_folder", lambda name: None)
    first = reference_features(images, extractor)
    (folder / "file").write_text("in the way")
    monkeypatch.setattr(cache, "cache_folder", lambda name: folder / "file" / "features")
    assert all(map(torch.equal, reference_features(images, extractor), first))
    assert sum(seen) == 600


def test_distances_of_held_out_images_are_kept(images, monkeypatch):
    train, held_out = images[:200], images[200:]
    first = reference_distances(held_out, train)
    assert torch.equal(first, training_distances(held_out, train))
    assert not torch.equal(first[:50], reference_distances(held_out[50:], train))
    monkeypatch.setattr(cache, "training_distances", None)
    assert torch.equal(first, reference_distances(held_out, train))
    with pytest.raises(TypeError):
        reference_distances(held_out, train[1:])


def test_progress_tells_the_images_that_are_computed(images):
    told = []
    for _ in range(2):
        reference_features(images, Counting(), lambda *now: told.append(now))
    assert told[:3] == [("reference features", done, 300) for done in (0, 256, 300)]
    torch.manual_seed(5)
    one = Counting()
    told.clear()
    for _ in range(2):
        reference_features(images, one, lambda *now: told.append(now))
    assert len(told) == 3
