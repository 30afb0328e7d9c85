"""Folders of image files: splits, classes and what is refused."""

import os

import datasets
import numpy as np
import pytest
from PIL import Image

from hqdm.data.folders import read_folder
from hqdm.data.images import load_images
from hqdm.utils.errors import HQDMError


def write(folder, *paths, grey=0):
    """One 2x2 image for each path, brighter by one each."""
    for i, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((2, 2), grey + i, np.uint8)).save(folder / path)


def found(folder, split="train"):
    rows = read_folder("set", folder)[split]
    classes = [None] * len(rows) if rows.labels is None else [rows.classes[i] for i in rows.labels]
    return list(zip(rows.names, classes, strict=True))


@pytest.mark.parametrize("split", ["", "train/"])
def test_the_class_is_the_first_folder_below_the_split(tmp_path, split):
    paths = [f"{split}{path}" for path in ("b/1.png", "a/x/y/2.jpg", "a-b/3.png", "b/2.webp")]
    write(tmp_path, *paths)
    expected = {"b/1.png": "b", "a/x/y/2.jpg": "a", "a-b/3.png": "a-b", "b/2.webp": "b"}
    assert dict(found(tmp_path)) == {f"{split}{path}": c for path, c in expected.items()}


def test_rows_and_classes_are_in_the_order_of_the_datasets_library(tmp_path):
    # Runs on a folder are resumed by the order of its images: it must not depend on the reader.
    names = "10", "9", "x", "A", "á"
    write(tmp_path, *(f"{s}/{c}/{n}.png" for s in ("train", "test") for c in "baB" for n in names))
    theirs = datasets.load_dataset(str(tmp_path), streaming=True)
    for split in ("train", "test"):
        rows = read_folder("set", tmp_path)[split]
        expected = list(theirs[split].cast_column("image", datasets.Image(decode=False)))
        assert list(rows.pictures) == [row["image"]["path"] for row in expected]
        assert list(rows.labels) == [row["label"] for row in expected]
        assert list(rows.classes) == theirs[split].features["label"].names


@pytest.mark.parametrize(
    ("folder", "split"), [("training", "train"), ("val", "validation"), ("eval", "test")]
)
def test_usual_names_of_splits(tmp_path, folder, split):
    write(tmp_path, f"{folder}/a/1.png")
    assert found(tmp_path, split) == [(f"{folder}/a/1.png", "a")]


def test_a_class_may_have_the_name_of_a_split(tmp_path):
    write(tmp_path, "bus/1.png", "train/1.png")
    assert found(tmp_path) == [("bus/1.png", "bus"), ("train/1.png", "train")]


def test_classes_are_those_of_all_splits(tmp_path):
    write(tmp_path, "train/a/1.png", "train/b/1.png", "train/c/1.png", "test/c/1.png")
    rows = read_folder("set", tmp_path)["test"]
    assert (rows.labels, rows.classes) == ([2], ("a", "b", "c"))


def test_captions_hidden_files_and_other_files_are_no_images(tmp_path):
    write(tmp_path, "1.png", "2.png", ".cache/3.png", "__MACOSX/4.png")
    for name in ("1.txt", "2.txt", "notes.md", ".DS_Store"):
        (tmp_path / name).write_text("a caption")
    assert found(tmp_path) == [("1.png", None), ("2.png", None)]
    assert load_images(str(tmp_path)).labels is None


def test_links_are_followed_and_circles_are_not(tmp_path):
    write(tmp_path / "elsewhere", "1.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "set") == [("a/1.png", "a")]


def test_archives_beside_images_and_capital_letters_change_nothing(tmp_path):
    write(tmp_path, "Train/a/1.PNG", "Train/b/1.png", "TEST/b/1.jpg")
    for name in ("backup.zip", "notes.gz", "Train/a/old.tar"):
        (tmp_path / name).touch()
    assert found(tmp_path) == [("Train/a/1.PNG", "a"), ("Train/b/1.png", "b")]
    assert found(tmp_path, "test") == [("TEST/b/1.jpg", "b")]


def test_a_link_to_a_class_folder_that_is_gone_is_refused(tmp_path):
    write(tmp_path, "a/1.png")
    (tmp_path / "b").symlink_to(tmp_path / "gone")
    with pytest.raises(HQDMError, match=r"/b is a link that leads nowhere"):
        load_images(str(tmp_path))


@pytest.mark.parametrize("name", ["data/train.parquet", "metadata.csv", "a/metadata.jsonl"])
def test_a_folder_with_tables_is_left_to_the_library(tmp_path, name):
    write(tmp_path, "a/1.png")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert read_folder("set", tmp_path) is None


@pytest.mark.parametrize(
    ("paths", "empty", "said"),
    [
        (["a/1.png", "b/1.png", "x.png"], [], r"'x.png' beside class folders \(a, b\)"),
        (["train/a/1.png", "train/x.png"], [], r"'train/x.png' beside class folders \(a\)"),
        (["a/1.png"], ["b"], "no images in 'b'"),
        (["train/a/1.png", "test/a/1.png"], ["train/b"], "no images in 'train/b'"),
        (["train/a/1.png", "x.png"], [], "'x.png' beside the folders of its splits"),
        (["train/a/1.png", "training/a/1.png"], [], "several folders for one split"),
        (["train/a/1.png", "test/1.png"], [], "class folders in some splits but not in 'test'"),
        (["train/a/1.png", "extra/1.png"], [], "'extra' beside the folder 'train' of a split"),
    ],
)
def test_what_would_lose_labels_is_refused(tmp_path, paths, empty, said):
    write(tmp_path, *paths)
    for folder in empty:
        (tmp_path / folder).mkdir()
    with pytest.raises(HQDMError, match=rf"^data set .*{said}.*: [^\n]+$"):
        load_images(str(tmp_path))


def test_every_unreadable_file_is_named_by_its_path(tmp_path):
    write(tmp_path, *(f"a/{i}.png" for i in range(6)), grey=7)
    (tmp_path / "a/1.png").write_bytes(b"no image")
    (tmp_path / "a/3.png").write_bytes((tmp_path / "a/2.png").read_bytes()[:50])
    (tmp_path / "a/4.png").unlink()
    (tmp_path / "a/4.png").symlink_to(tmp_path / "nowhere.png")
    split = {"split": "train"}
    with pytest.raises(HQDMError) as caught:
        load_images(str(tmp_path), **split)
    bad = [name for name in ("a/1.png", "a/3.png", "a/4.png") if name in str(caught.value)]
    held_out = {path for path, _ in found(tmp_path)} - set(bad)
    assert len(bad) >= 2  # of five training images and one test image
    assert "\n" not in str(caught.value)
    with pytest.warns(UserWarning, match="left out"):
        kept = load_images(str(tmp_path), skip_bad=True, **split)
    assert set(kept.images[:, 0, 0, 0].tolist()) <= {7 + int(path[2]) for path in held_out}
    assert len(kept) == len(kept.labels) == 5 - len(bad)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read any folder")
def test_an_unreadable_folder_is_one_line(tmp_path):
    write(tmp_path, "a/1.png")
    (tmp_path / "a").chmod(0)
    try:
        with pytest.raises(HQDMError, match="cannot be read"):
            load_images(str(tmp_path))
    finally:
        (tmp_path / "a").chmod(0o755)
