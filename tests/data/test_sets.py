"""Image sets in memory: each is decoded once, and no more of them than the limit."""

import pytest
import torch

from hqdm.data import images as images_module
from hqdm.data import load_images, sets
from hqdm.data.sets import ImageSet, KeptImages, images_kept, keep_images, kept_or_loaded


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch):
    monkeypatch.setattr(sets, "_kept", None)


def image_set(n):
    """A set of `n` images of one byte each."""
    return ImageSet(torch.zeros(n, 1, 1, 1, dtype=torch.uint8), None, (), "name", "train")


@pytest.fixture
def decoded(monkeypatch):
    """The calls of `decode`."""
    calls, decode = [], images_module.decode
    monkeypatch.setattr(
        images_module, "decode", lambda *args: (calls.append(args[2:5]), decode(*args))[1]
    )
    return calls


def test_without_the_context_every_call_loads(decoded):
    first, second = (load_images("digits", "test") for _ in range(2))
    assert len(decoded) == 2
    assert first.images is not second.images


def test_within_the_context_the_same_call_loads_once(decoded):
    with images_kept():
        first, second = (load_images("digits", "test", size=8) for _ in range(2))
        assert first is second
        assert len(decoded) == 1
    assert torch.equal(first.images, load_images("digits", "test", size=8).images)
    assert len(decoded) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"split": "train"},
        {"split": "test[:100]"},
        {"size": 4},
        {"channels": 3},
        {"limit": 7},
        {"classes": [1, 0]},
        {"skip_bad": True},
        {"offline": True},
    ],
    ids=str,
)
def test_every_argument_tells_sets_apart(other, decoded):
    with images_kept():
        usual = {"split": "test", "classes": [0, 1]}
        load_images("digits", **usual)
        found = load_images("digits", **{**usual, **other})
    assert len(decoded) == 2
    assert torch.equal(found.images, load_images("digits", **{**usual, **other}).images)


def test_another_folder_of_data_is_another_set(tmp_path, monkeypatch, decoded):
    pictures = pytest.importorskip("PIL.Image")
    for shade in (0, 200):
        folder = tmp_path / str(shade) / "mine" / "train" / "a"
        folder.mkdir(parents=True)
        pictures.new("L", (2, 2), shade).save(folder / "one.png")
    with images_kept():
        for shade in (0, 200):
            monkeypatch.setenv("HQDM_DATA_DIR", str(tmp_path / str(shade)))
            assert load_images("mine", "test").images.unique().tolist() == [shade]


def test_a_context_within_another_shares_its_sets():
    with images_kept():
        outer = kept_or_loaded("a", lambda: image_set(1))
        with images_kept():
            assert kept_or_loaded("a", lambda: image_set(1)) is outer
        assert kept_or_loaded("a", lambda: image_set(1)) is outer


def test_a_process_that_keeps_images_goes_on():
    keep_images()
    one = kept_or_loaded("a", lambda: image_set(1))
    keep_images()
    assert kept_or_loaded("a", lambda: image_set(1)) is one


def test_sets_that_were_not_used_for_longest_are_dropped_first():
    kept = KeptImages(limit=10)
    a, b = (kept.get(key, lambda: image_set(5)) for key in "ab")
    assert kept.get("a", lambda: image_set(5)) is a
    c = kept.get("c", lambda: image_set(5))
    assert kept.get("c", lambda: image_set(5)) is c
    assert kept.get("a", lambda: image_set(5)) is a
    assert kept.get("b", lambda: image_set(5)) is not b


def test_a_set_beyond_the_limit_is_loaded_anew():
    kept = KeptImages(limit=10)
    large = kept.get("large", lambda: image_set(11))
    assert kept.get("large", lambda: image_set(11)) is not large
