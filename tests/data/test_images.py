"""Image data: contents, search order, and messages for missing or invalid data."""

import io
import os
import pickle
import socket
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from hqdm.data.images import DATA, HUB_NAMES, canonical_name, load_images, register_data
from hqdm.utils.errors import HQDMError

DATA_DIR = os.environ.get("HQDM_DATA_DIR")


@pytest.fixture(autouse=True)
def _no_user_folders(monkeypatch, tmp_path):
    """No test sees the user's data sets or writes to the user's cache."""
    monkeypatch.delenv("HQDM_DATA_DIR", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def connections(monkeypatch):
    """The addresses of attempted connections; each attempt fails."""
    tried = []

    def refuse(*args, **kwargs):
        tried.append(args)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tried


def pictures(n, shape=(6, 5), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def encoded(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "png")
    return {"bytes": file.getvalue(), "path": None}


def write_parquet(folder, images, split="train", image="image", **columns):
    """A split in the hub's layout; `columns` maps names to (values, feature)."""
    features = {image: datasets.Image()} | {k: feature for k, (_, feature) in columns.items()}
    values = {image: [encoded(x) for x in images]} | {k: v for k, (v, _) in columns.items()}
    path = folder / "data" / f"{split}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(values, features=datasets.Features(features)).to_parquet(path)


def write_folder(folder, images, labels):
    for i, (x, label) in enumerate(zip(images, labels, strict=True)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(x).save(folder / label / f"{i:03d}.png")


def raises(*fragments):
    """A one-line HQDMError that contains all fragments."""
    pattern = r"^" + "".join(rf"(?=.*{fragment})" for fragment in fragments) + r"[^\n]*$"
    return pytest.raises(HQDMError, match=pattern)


# --- the embedded digits --------------------------------------------------------------------------


def test_digits_are_the_embedded_ones_split_without_overlap(connections):
    train, test = load_images("digits"), load_images("digits", "test", offline=True)
    assert train.images.shape == (1437, 1, 8, 8)
    assert test.images.shape == (360, 1, 8, 8)
    assert train.images.dtype == torch.uint8
    assert train.labels.dtype == torch.int64
    assert train.classes == tuple("0123456789")
    assert (train.name, train.split, len(train)) == ("digits", "train", 1437)
    # Together they are scikit-learn's digits: the same images (with repeats) with the same labels.
    source = load_digits()
    expected = sorted(
        (tuple(np.rint(x * 255 / 16).astype(int).ravel()), y)
        for x, y in zip(source.images, source.target, strict=True)
    )
    came = sorted(
        (tuple(x.flatten().tolist()), y)
        for part in (train, test)
        for x, y in zip(part.images, part.labels.tolist(), strict=True)
    )
    assert came == expected
    # Stratified: a fifth of each class, up to rounding.
    share = test.labels.bincount() / (test.labels.bincount() + train.labels.bincount())
    assert (share - 0.2).abs().max() < 0.01
    assert torch.equal(load_images("digits", "test").images, test.images)
    assert connections == []


def test_an_image_set_pickles():
    digits = load_images("digits", limit=3)
    assert torch.equal(pickle.loads(pickle.dumps(digits)).images, digits.images)


# --- parquet in the hub's layout ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "label", "shape", "expected"),
    [("image", "label", (6, 5), (4, 1, 6, 5)), ("img", "labels", (6, 5, 3), (4, 3, 6, 5))],
)
def test_parquet_columns_are_identified_by_their_contents(tmp_path, image, label, shape, expected):
    x = pictures(4, shape)
    names = datasets.ClassLabel(names=["cat", "dog", "eel"])
    write_parquet(tmp_path, x, image=image, **{label: ([2, 0, 1, 2], names)})
    write_parquet(tmp_path, x[:1], "test", image=image, **{label: ([1], names)})
    data = load_images(str(tmp_path), offline=True)
    assert data.images.shape == expected
    stored = x[:, None] if len(shape) == 2 else x.transpose(0, 3, 1, 2)
    assert np.array_equal(data.images.numpy(), stored)
    assert data.labels.tolist() == [2, 0, 1, 2]
    assert data.classes == ("cat", "dog", "eel")
    assert load_images(str(tmp_path), "test", offline=True).labels.tolist() == [1]


@pytest.mark.parametrize("column", ["label", "labels"])
def test_plain_integer_labels_name_themselves(tmp_path, column):
    write_parquet(tmp_path, pictures(3), "test", **{column: ([2, 0, 2], datasets.Value("int64"))})
    data = load_images(str(tmp_path), "test")
    assert data.labels.tolist() == [2, 0, 2]
    assert data.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"caption": (["a", "b", "c"], datasets.Value("string"))},
        {"label": ([-1, -1, -1], datasets.ClassLabel(names=["cat"]))},
        {"label": ([None, None, None], datasets.ClassLabel(names=["cat"]))},
    ],
    ids=["none", "text", "withheld", "missing"],
)
def test_a_set_without_labels(tmp_path, columns):
    write_parquet(tmp_path, pictures(3), "test", **columns)
    data = load_images(str(tmp_path), "test")
    assert (len(data), data.labels, data.classes) == (3, None, ())


@pytest.mark.parametrize("missing", [-1, None])
def test_labels_for_some_images_only_are_refused(tmp_path, missing):
    column = ([0, missing, missing], datasets.ClassLabel(names=["cat"]))
    write_parquet(tmp_path, pictures(3), "test", label=column)
    with raises("no label for image 1 and 1 more of 3", "labels for all, or none"):
        load_images(str(tmp_path), "test")


def test_a_train_split_alone_gives_a_tenth_of_itself_as_test(tmp_path):
    x = pictures(40)
    write_parquet(tmp_path, x, label=([i % 4 for i in range(40)], datasets.Value("int32")))
    train, test = load_images(str(tmp_path)), load_images(str(tmp_path), "test")
    assert (len(train), len(test)) == (36, 4)
    together = torch.cat([train.images, test.images]).flatten(1).tolist()
    assert sorted(together) == sorted(x.reshape(40, -1).tolist())
    place = {tuple(row): i for i, row in enumerate(x.reshape(40, -1).tolist())}
    for part in (train, test):
        places = [place[tuple(row)] for row in part.images.flatten(1).tolist()]
        assert places == sorted(places)
        assert part.labels.tolist() == [i % 4 for i in places]
    assert test.images.equal(load_images(str(tmp_path), "test").images)
    with raises("no split 'validation'", "it has train"):
        load_images(str(tmp_path), "validation")


def test_the_validation_split_stands_for_a_missing_test_split(tmp_path):
    write_parquet(tmp_path, pictures(20))
    x = pictures(2, seed=1)
    write_parquet(tmp_path, x, "validation")
    assert len(load_images(str(tmp_path))) == 20
    for split in ("validation", "test"):
        assert np.array_equal(load_images(str(tmp_path), split).images[:, 0], x)


def test_no_hold_out_where_the_set_has_a_test_split(tmp_path):
    write_parquet(tmp_path, pictures(20))
    write_parquet(tmp_path, pictures(2, seed=1), "validation")
    write_parquet(tmp_path, pictures(3, seed=2), "test")
    sizes = {split: len(load_images(str(tmp_path), split)) for split in ("train", "test")}
    assert sizes == {"train": 20, "test": 3}


def test_slices_of_a_split_are_those_of_its_images():
    """In their order; two that meet are the whole; the limit is over the slice."""
    whole = load_images("digits", "train")
    first, last = (load_images("digits", split) for split in ("train[:-237]", "train[-237:]"))
    assert (len(first), len(last), last.split) == (1200, 237, "train[-237:]")
    assert torch.equal(torch.cat([first.images, last.images]), whole.images)
    assert torch.equal(torch.cat([first.labels, last.labels]), whole.labels)
    middle = load_images("digits", "train[3:6]", limit=1)
    assert torch.equal(middle.images, whole.images[3:4])
    assert torch.equal(load_images("digits", "train[:]").images, whole.images)
    with raises("no images in split 'train.2000:.'"):
        load_images("digits", "train[2000:]")
    for split in ("train[", "train[1]", "train[a:]", "train[1:2:3]"):
        with raises("has no split", "it has train, test"):
            load_images("digits", split)


def test_slices_of_images_that_are_sorted_by_class_are_refused(tmp_path):
    """They would lose classes. Without labels, or with one class, there is nothing to lose."""
    write_folder(tmp_path / "two", pictures(4), ["a", "a", "b", "b"])
    with raises("are sorted by class, and train.-2:. would be some classes only"):
        load_images(str(tmp_path / "two"), "train[-2:]", size=4)
    write_folder(tmp_path / "one", pictures(4), ["a"] * 4)
    assert len(load_images(str(tmp_path / "one"), "train[-2:]", size=4)) == 2


def test_a_single_split_of_any_name_is_the_training_split(tmp_path):
    x = pictures(20)
    write_parquet(tmp_path, x, "full")
    train, test = load_images(str(tmp_path)), load_images(str(tmp_path), "test")
    assert (len(train), len(test)) == (18, 2)
    together = torch.cat([train.images, test.images]).flatten(1).tolist()
    assert sorted(together) == sorted(x.reshape(20, -1).tolist())
    assert len(load_images(str(tmp_path), "full")) == 20


def test_a_test_split_alone_is_not_the_training_split(tmp_path):
    write_parquet(tmp_path, pictures(5), "test")
    assert len(load_images(str(tmp_path), "test")) == 5
    with raises("no split 'train'", "it has test"):
        load_images(str(tmp_path))


@settings(deadline=None, max_examples=8)
@given(n=st.integers(1, 12), limit=st.integers(1, 15))
def test_limit_spreads_evenly(tmp_path_factory, n, limit):
    folder = tmp_path_factory.mktemp("limit")
    write_parquet(folder, np.arange(n, dtype=np.uint8).repeat(4).reshape(n, 2, 2), "test")
    kept = load_images(str(folder), "test", limit=limit).images[:, 0, 0, 0].tolist()
    assert len(kept) == min(n, limit)
    # Strictly increasing from the first on, with gaps that differ by at most one.
    gaps = np.diff([*kept, n])
    assert kept[0] == 0
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


# --- where a data set is looked for ---------------------------------------------------------------


@pytest.mark.parametrize("folder", ["fashion_mnist", "zalando-datasets/fashion_mnist"])
@pytest.mark.parametrize("name", ["fashion_mnist", "zalando-datasets/fashion_mnist"])
def test_data_dir_is_searched_first(tmp_path, monkeypatch, connections, folder, name):
    write_parquet(tmp_path / "first" / folder, pictures(2), "test")
    write_parquet(tmp_path / "here" / name, pictures(5), "test")
    monkeypatch.chdir(tmp_path / "here")
    assert len(load_images(name, "test")) == 5
    monkeypatch.setenv("HQDM_DATA_DIR", str(tmp_path / "first"))
    data = load_images(name, "test")
    assert (len(data), data.name) == (2, "fashion_mnist")
    assert connections == []


def test_data_dir_by_last_part_and_by_full_hub_name(tmp_path, monkeypatch):
    write_parquet(tmp_path / "birds", pictures(2), "test")
    write_parquet(tmp_path / "someone" / "fish", pictures(3), "test")
    monkeypatch.setenv("HQDM_DATA_DIR", str(tmp_path))
    assert len(load_images("someone/birds", "test")) == 2
    assert len(load_images("someone/fish", "test")) == 3


def test_reading_a_folder_writes_nothing(tmp_path):
    folder = tmp_path / "set"
    write_parquet(folder, pictures(3), "test")
    before = sorted(folder.rglob("*"))
    load_images(str(folder), "test")
    assert sorted(folder.rglob("*")) == before
    assert not (tmp_path / "cache").exists()


def test_canonical_name():
    assert [canonical_name(hub) for hub in HUB_NAMES.values()] == list(HUB_NAMES)
    assert canonical_name("mnist") == "mnist"
    assert canonical_name("someone/birds") == "someone/birds"


def test_the_hub_is_queried_by_the_hub_name(monkeypatch):
    features = datasets.Features({"image": datasets.Image()})
    split = datasets.Dataset.from_dict({"image": [encoded(pictures(1)[0])]}, features=features)
    asked = []

    def load_dataset(name):
        asked.append((name, datasets.config.HF_HUB_OFFLINE))
        return datasets.DatasetDict(test=split)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    assert len(load_images("cifar10", "test")) == 1
    assert len(load_images("cifar10", "test", offline=True)) == 1
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    assert len(load_images("cifar10", "test")) == 1
    assert [name for name, _ in asked] == ["uoft-cs/cifar10"] * 3
    assert [offline for _, offline in asked] == [False, True, True]
    assert datasets.config.HF_HUB_OFFLINE is False


def test_offline_reads_what_the_hub_left_in_the_cache(tmp_path, connections):
    write_parquet(tmp_path / "source", pictures(4), "test")
    source = str(next((tmp_path / "source" / "data").iterdir()))
    # The place where the library keeps someone/birds after a download.
    builder = datasets.load_dataset_builder("parquet", data_files={"test": source})
    cache = tmp_path / "cache" / "someone___birds" / "default" / "0.0.0" / "0123abcd"
    builder.download_and_prepare(str(cache))
    for file in cache.glob("parquet-*"):
        file.rename(file.with_name(file.name.replace("parquet-", "birds-")))
    connections.clear()  # The library reports each use of its parquet builder.
    assert len(load_images("someone/birds", "test", offline=True)) == 4
    assert connections == []


@pytest.mark.parametrize("variable", [None, "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_missing_set_offline_opens_no_socket(tmp_path, monkeypatch, connections, variable):
    monkeypatch.setenv("HQDM_DATA_DIR", str(tmp_path))
    if variable is not None:
        monkeypatch.setenv(variable, "1")
    with raises(
        "'mnist'", str(tmp_path / "mnist"), "offline", "hf download ylecun/mnist", "HQDM_DATA_DIR"
    ):
        load_images("mnist", offline=variable is None)
    assert connections == []


def test_network_failure_is_one_line(monkeypatch):
    def load_dataset(name):
        raise ConnectionError("cannot reach the hub\nand a long story")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with raises("'someone/birds'", "cannot reach the hub", "hf download someone/birds"):
        load_images("someone/birds")


def test_a_path_that_does_not_exist_never_reaches_the_hub(tmp_path, connections):
    with raises("no data set", "nowhere", "existing folder"):
        load_images(str(tmp_path / "nowhere"))
    with raises("no data set", "existing folder"):
        load_images("../a/b")
    assert connections == []


# --- image folders --------------------------------------------------------------------------------


@pytest.mark.parametrize("above", ["", "train"])
def test_class_folders(tmp_path, above):
    x = pictures(20, (4, 4))
    labels = ["zebra" if i % 3 else "ant" for i in range(20)]
    write_folder(tmp_path / above, x, labels)
    data = load_images(str(tmp_path), offline=True)
    assert data.classes == ("ant", "zebra")
    assert data.images.shape == (18, 1, 4, 4)
    label_of = {tuple(image.ravel().tolist()): y for image, y in zip(x, labels, strict=True)}
    for image, y in zip(data.images, data.labels.tolist(), strict=True):
        assert data.classes[y] == label_of[tuple(image.flatten().tolist())]


def test_folders_of_train_and_test(tmp_path):
    for split, n in (("train", 3), ("test", 2)):
        write_folder(tmp_path / split, pictures(n), ["a"] * (n - 1) + ["b"])
    assert [len(load_images(str(tmp_path), split)) for split in ("train", "test")] == [3, 2]
    assert load_images(str(tmp_path), "test").labels.tolist() == [0, 1]


def test_a_folder_without_classes(tmp_path):
    for i, x in enumerate(pictures(4)):
        Image.fromarray(x).save(tmp_path / f"{i}.jpg")
    data = load_images(str(tmp_path), "test")
    assert (len(data), data.labels) == (1, None)


# --- size and channels ----------------------------------------------------------------------------


def test_size_resizes_the_shorter_side_and_crops_the_longer(tmp_path):
    # A 4x8 image: the central 4x4 in 2x2 blocks of one grey, black to the left, white to the right.
    blocks = np.array([[40, 80], [120, 200]], np.uint8).repeat(2, 0).repeat(2, 1)
    x = np.hstack([np.zeros((4, 2), np.uint8), blocks, np.full((4, 2), 255, np.uint8)])
    write_parquet(tmp_path, [x], "test")
    image = load_images(str(tmp_path), "test", size=2).images[0, 0].double()
    # Halving a side with an antialiased bilinear filter weighs pixels by 1, 3, 3, 1 (over 8), or
    # 3, 3, 1 (over 7) at the border of the image; the crop is no border.
    columns = torch.tensor([[1, 6, 1, 0], [0, 1, 6, 1]], dtype=torch.float64) / 8
    rows = torch.tensor([[6, 1], [1, 6]], dtype=torch.float64) / 7
    levels = torch.tensor([[0, 40, 80, 255], [0, 120, 200, 255]], dtype=torch.float64)
    # Pillow rounds to whole levels after each of the two directions.
    assert (image - rows @ levels @ columns.T).abs().max() <= 1


def test_mixed_sizes_need_a_size(tmp_path):
    for split in ("train", "test"):
        shapes = (4, 4), (6, 4)
        write_folder(tmp_path / split, [pictures(1, shape)[0] for shape in shapes], ["a", "a"])
    with raises("2 sizes", "4x4, 6x4", "size=N"):
        load_images(str(tmp_path), "test")
    assert load_images(str(tmp_path), "test", size=3).images.shape == (2, 1, 3, 3)


def test_channels(tmp_path):
    colour = pictures(1, (3, 4, 3))[0]
    grey = pictures(1, (3, 4), seed=1)[0]
    write_parquet(tmp_path, [colour, grey], "test")
    as_stored = load_images(str(tmp_path), "test").images.numpy()
    assert np.array_equal(as_stored[0], colour.transpose(2, 0, 1))
    assert np.array_equal(as_stored[1], np.stack([grey] * 3))
    assert np.array_equal(load_images(str(tmp_path), "test", channels=3).images, as_stored)
    one = load_images(str(tmp_path), "test", channels=1).images.double()
    assert one.shape == (2, 1, 3, 4)
    assert np.array_equal(one[1, 0], grey)
    luma = colour.astype(float) @ [0.299, 0.587, 0.114]
    assert np.abs(one[0, 0].numpy() - luma).max() <= 1


# --- what cannot be read --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ({"channels": 2}, ["channels=2", "1 .grey., 3"]),
        ({"size": 0}, ["size=0", "at least 1"]),
        ({"limit": -1}, ["limit=-1", "at least 1"]),
        ({"split": "tset"}, ["no split 'tset'", "train, test"]),
    ],
)
def test_wrong_arguments(arguments, fragments):
    with raises(*fragments):
        load_images("digits", **arguments)


def test_empty_and_broken_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    with raises("cannot be read", "empty"):
        load_images(str(tmp_path / "empty"))
    (tmp_path / "yaml").mkdir()
    write_parquet(tmp_path / "yaml", pictures(2), "test")
    (tmp_path / "yaml" / "README.md").write_text("---\nconfigs: [a: {\n---\n")
    with raises("'.*yaml' cannot be read"):
        load_images(str(tmp_path / "yaml"), "test")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.parquet").write_bytes(b"not parquet")
    with raises("cannot be read", "[Pp]arquet"):
        load_images(str(tmp_path / "broken"))


def test_a_set_without_images(tmp_path):
    table = datasets.Dataset.from_dict({"text": ["a", "b"]})
    table.to_parquet(tmp_path / "test.parquet")
    with raises("no column of images", "text"):
        load_images(str(tmp_path), "test")


def test_an_empty_split(tmp_path):
    write_parquet(tmp_path, pictures(1))
    with raises("no images in split 'train'"):
        load_images(str(tmp_path), "train")


@pytest.mark.parametrize("content", ["truncated", "missing", "deep"])
def test_a_bad_image_is_named(tmp_path, content):
    good = encoded(pictures(1)[0])
    bad = {
        "truncated": {"bytes": good["bytes"][:40], "path": None},
        "missing": None,
        "deep": encoded(np.array([[0, 65535]], np.uint16)),
    }[content]
    features = datasets.Features({"image": datasets.Image()})
    table = datasets.Dataset.from_dict({"image": [good, bad]}, features=features)
    table.to_parquet(tmp_path / "test.parquet")
    with raises("1 of 2 images of data set", "cannot be read: image 1 .*", "skip_bad"):
        load_images(str(tmp_path), "test")
    with pytest.warns(UserWarning, match="image 1 .*left out"):
        kept = load_images(str(tmp_path), "test", skip_bad=True)
    assert np.array_equal(kept.images[0, 0].numpy(), pictures(1)[0])


def test_a_misspelt_name_is_corrected_before_the_network_is_asked(connections):
    with raises("unknown data set 'mnsit'", "did you mean 'mnist'"):
        load_images("mnsit")
    assert connections == []


def test_images_that_do_not_fit_into_memory_are_refused():
    with raises("1437 images of size 1000000", "GiB|TiB|PiB", "use a smaller size"):
        load_images("digits", size=10**6)


# --- the real data sets ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape"),
    [("mnist", (1, 28, 28)), ("fashion_mnist", (1, 28, 28)), ("cifar10", (3, 32, 32))],
)
def test_real_data_sets(monkeypatch, connections, name, shape):
    if DATA_DIR is None or not Path(DATA_DIR, name).is_dir():
        pytest.skip(f"HQDM_DATA_DIR holds no {name}")
    monkeypatch.setenv("HQDM_DATA_DIR", DATA_DIR)
    data = load_images(name, "test", limit=500, offline=True)
    assert data.images.shape == (500, *shape)
    assert len(data.classes) == 10
    # 500 draws from ten equal classes give each at least 25, unless labels are not read rightly.
    assert data.labels.bincount(minlength=10).min() >= 25
    assert data.images.float().std() > 50
    assert connections == []


@pytest.fixture
def stripes(monkeypatch):
    """A data set of a user's: two kinds of stripes, ten images a split."""
    monkeypatch.setattr(DATA, "_entries", dict(DATA))

    @register_data("stripes")
    def load(split):
        labels = torch.arange(10) % 2
        images = torch.zeros(10, 1, 8, 8, dtype=torch.uint8)
        images[labels == 0, :, ::2] = 255
        images[labels == 1, :, :, ::2] = 200 if split == "train" else 100
        return images, labels

    return load


def test_a_registered_data_set_is_loaded_by_name(stripes):
    loaded = load_images("stripes", "test", size=16, channels=3, limit=5)
    assert loaded.images.shape == (5, 3, 16, 16)
    assert loaded.labels.tolist() == [0, 0, 0, 0, 0]  # every other image
    assert loaded.classes == ("0", "1")
    train = load_images("stripes")
    assert torch.equal(train.images, stripes("train")[0])


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (torch.zeros(3, 1, 4, 4), None, "expected uint8 of shape"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), None, "expected uint8 of shape"),
        (torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.zeros(2).long(), "of shape .2,. for 3"),
    ],
)
def test_a_registered_data_set_of_another_form_is_refused(monkeypatch, images, labels, said):
    monkeypatch.setattr(DATA, "_entries", dict(DATA))
    register_data("odd")(lambda split: (images, labels))
    with pytest.raises(HQDMError, match=said):
        load_images("odd")


def test_classes_are_selected_and_numbered_in_the_given_order():
    every, some = load_images("digits"), load_images("digits", classes=[7, 0])
    chosen = (every.labels == 7) | (every.labels == 0)
    assert torch.equal(some.images, every.images[chosen])
    assert torch.equal(some.labels, (every.labels[chosen] == 0).long())
    assert some.classes == ("7", "0")
    few = load_images("digits", classes=[7, 0], limit=9)
    assert torch.equal(few.images, some.images[[i * len(some) // 9 for i in range(9)]])


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ([], "expected different classes, at least one"),
        ([1, 1], "expected different classes, at least one"),
        ([0, 10], "a class needs a whole number up to 9, got 10"),
        ([-1], "a class needs a whole number from 0, got -1"),
        (["0"], "a class needs a whole number from 0, got '0'"),
    ],
)
def test_classes_that_do_not_exist_are_refused(classes, said):
    with pytest.raises(HQDMError, match=said):
        load_images("digits", classes=classes)


def test_classes_need_labels_and_images(monkeypatch):
    monkeypatch.setattr(DATA, "_entries", dict(DATA))
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    register_data("unlabelled")(lambda split: (images, None))
    register_data("gap")(lambda split: (images, torch.tensor([0, 2, 2])))
    with pytest.raises(HQDMError, match="'unlabelled' has no labels: leave classes out"):
        load_images("unlabelled", classes=[0])
    with pytest.raises(HQDMError, match="'gap' has no images of class 1"):
        load_images("gap", classes=[1, 2])
