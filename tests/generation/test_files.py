"""Files of images on request: names, pixels, labels, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from hqdm.generation.files import (
    KINDS,
    check_no_others,
    file_names,
    names_in_words,
    png_names,
    write_kinds,
)
from hqdm.utils.errors import HQDMError
from hqdm.utils.pixels import to_float

PIXELS = torch.randint(0, 256, (11, 3, 4, 5), generator=torch.Generator().manual_seed(0))
IMAGES = to_float(PIXELS.to(torch.uint8))
TRAJECTORY = torch.stack([IMAGES[:2] * share for share in (0.0, 0.5, 1.0)])
TIMES = torch.tensor([1.0, 0.5, 0.0])


def written(folder):
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("labels", [None, torch.arange(11) % 3])
def test_the_files_have_the_names_that_are_asked_for(tmp_path, labels):
    for kinds in (KINDS, ("png",), ("gif", "npz"), ()):
        folder = tmp_path / "-".join(("files", *kinds))
        write_kinds(kinds, IMAGES, labels, TRAJECTORY, TIMES, folder)
        assert written(folder) == set(file_names(kinds, 11, labels))
    assert names_in_words(("png", "gif")) == ["strip.gif", "png/"]


def test_single_images_are_reported_as_they_are_written(tmp_path):
    told = []

    def progress(*now):
        told.append((*now, len(written(tmp_path))))

    write_kinds(("png",), IMAGES, None, TRAJECTORY, TIMES, tmp_path, progress)
    assert told == [("writing images", i, 11, i) for i in range(12)]


def test_numbers_have_equally_many_digits():
    assert png_names(10, None) == [f"png/{i}.png" for i in range(10)]
    assert png_names(101, None)[::50] == ["png/000.png", "png/050.png", "png/100.png"]
    assert png_names(2, torch.tensor([7, 12])) == ["png/0_class_7.png", "png/1_class_12.png"]


def test_pixels_are_those_of_the_images(tmp_path):
    labels = torch.arange(11) % 3
    write_kinds(KINDS, IMAGES, labels, TRAJECTORY, TIMES, tmp_path)
    expected = PIXELS.permute(0, 2, 3, 1).numpy()
    with np.load(tmp_path / "samples.npz") as arrays:
        assert sorted(arrays) == ["arr_0", "arr_1"]
        assert arrays["arr_0"].dtype == np.uint8
        assert np.array_equal(arrays["arr_0"], expected)
        assert np.array_equal(arrays["arr_1"], labels.numpy())
    for i, label in enumerate(labels.tolist()):
        with Image.open(tmp_path / "png" / f"{i:02}_class_{label}.png") as picture:
            assert np.array_equal(np.asarray(picture), expected[i])
    with Image.open(tmp_path / "strip.webp") as picture:  # without loss
        assert picture.n_frames == 3
        picture.seek(2)
        pixels = np.asarray(picture.convert("RGB"))
    factor = pixels.shape[1] // (2 * 6)
    first = pixels[pixels.shape[0] - 5 * factor :: factor, ::factor][:4, :5]
    assert np.array_equal(first, expected[0])


def test_without_labels_there_is_one_array(tmp_path):
    write_kinds(("npz",), IMAGES[:, :1], None, TRAJECTORY, TIMES, tmp_path)
    with np.load(tmp_path / "samples.npz") as arrays:
        assert list(arrays) == ["arr_0"]
        assert arrays["arr_0"].shape == (11, 4, 5, 1)


def test_images_of_an_earlier_command_are_not_mixed_with_the_new_ones(tmp_path):
    write_kinds(("png", "npz"), IMAGES, None, TRAJECTORY, TIMES, tmp_path)
    (tmp_path / "png" / "mine.png").touch()  # of another name than those of hqdm
    check_no_others(tmp_path, file_names(("png", "npz"), 11, None))
    for kinds, n, named in (
        (("png",), 11, "samples.npz"),
        (("npz",), 11, "png/00.png"),
        (("png", "npz"), 10, "png/00.png"),
    ):
        with pytest.raises(HQDMError, match=f"{named} is of other images"):
            check_no_others(tmp_path, file_names(kinds, n, None))


def test_kinds_that_cannot_be_written_are_refused(monkeypatch):
    with pytest.raises(HQDMError, match="unknown kind of file 'jpg'"):
        file_names(("jpg",), 1, None)
    monkeypatch.setattr("hqdm.generation.files.features.check", lambda name: name != "webp")
    with pytest.raises(HQDMError, match="cannot write webp: choose gif"):
        file_names(("webp",), 1, None)
