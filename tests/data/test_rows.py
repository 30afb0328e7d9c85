"""Decoding: orientation, transparency and damaged files."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from hqdm.data.rows import Rows, decode
from hqdm.utils.errors import HQDMError
from hqdm.utils.pictures import read_image


def rows_of(*pictures, labels=None):
    names = [f"picture {i}" for i in range(len(pictures))]
    return Rows(pictures, labels, () if labels is None else ("a", "b"), names)


def encoded(image, **options):
    file = io.BytesIO()
    image.save(file, "png", **options)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["png", "jpeg", "webp"])
def test_images_are_upright(tmp_path, orientation, format_):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:4], pixels[:, :2] = 255, 120  # of no symmetry
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{format_}"
    Image.fromarray(pixels).save(path, exif=exif)
    # By hand: rows then columns of the stored array that become the first row and column, as in the
    # table of the EXIF standard (JEITA CP-3451, tag 274).
    stored = np.asarray(Image.open(path).convert("RGB"))
    turned = stored.transpose(1, 0, 2) if orientation > 4 else stored
    vertical = orientation in (3, 4, 7, 8)
    horizontal = orientation in (2, 3, 6, 7)
    turned = turned[::-1] if vertical else turned
    turned = turned[:, ::-1] if horizontal else turned
    assert np.array_equal(turned, np.asarray(ImageOps.exif_transpose(Image.open(path))))
    images, _ = decode(rows_of(str(path)), "set", None, 3, False)
    assert np.array_equal(images[0].numpy(), turned.transpose(2, 0, 1))
    read = ((read_image(path, (3, 16, 16)) + 1) * 127.5).round().to(torch.uint8)
    assert torch.equal(read, images[0])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L with a transparent grey"])
def test_transparent_pixels_are_white(mode):
    alpha = np.array([[0, 255], [255, 51]], np.uint8)
    hidden = np.array([[10, 10], [100, 100]], np.uint8)
    if mode == "RGBA":
        picture = encoded(Image.fromarray(np.dstack([hidden, hidden, hidden, alpha])))
    elif mode == "LA":
        picture = encoded(Image.merge("LA", [Image.fromarray(hidden), Image.fromarray(alpha)]))
    else:
        alpha = np.array([[0, 0], [255, 255]], np.uint8)  # the one transparent colour is 10
        image = Image.fromarray(hidden)
        image = image.convert("P") if mode == "P" else image
        picture = encoded(image, transparency=10)
    images, _ = decode(rows_of(picture), "set", None, None, False)
    opacity = alpha / 255
    expected = hidden * opacity + 255 * (1 - opacity)
    assert images.shape[1] == (1 if mode.startswith("L") else 3)
    assert np.abs(images[0].numpy() - expected).max() <= 1


def test_an_oversized_picture_is_named(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    picture = encoded(Image.new("L", (10, 10)))
    with pytest.raises(HQDMError, match=r"1 of 1 images .*picture 0 \(Image size .*\)"):
        decode(rows_of(picture), "set", None, None, False)


def test_damaged_pictures_of_every_error_of_pillow(monkeypatch):
    """Whatever a plugin of Pillow raises is the same line."""
    good = encoded(Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)))
    draws = np.random.default_rng(0)
    damaged = []
    for _ in range(60):
        data = bytearray(good)
        for place in draws.integers(8, len(data), 3):
            data[place] = draws.integers(256)
        damaged.append(bytes(data))
    images, labels = None, [0, 1] * 30
    with pytest.warns(UserWarning, match="left out"):
        images, kept = decode(rows_of(*damaged, good, labels=[*labels, 1]), "set", 8, 1, True)
    assert len(images) == len(kept) < 61
    assert kept[-1] == 1


def test_labels_stay_with_their_pictures():
    pictures = [np.full((2, 2), i, np.uint8) for i in range(5)]
    with pytest.warns(UserWarning, match="1 of 5 .*picture 2"):
        images, labels = decode(
            rows_of(*pictures[:2], None, *pictures[3:], labels=[0, 1, 1, 0, 1]), "set", 2, 1, True
        )
    assert images[:, 0, 0, 0].tolist() == [0, 1, 3, 4]
    assert labels.tolist() == [0, 1, 0, 1]


def test_a_set_without_one_good_picture_is_refused():
    said = "2 of 2 images of data set 'set' cannot be read.*; replace or remove them$"
    with pytest.raises(HQDMError, match=said):
        decode(rows_of(None, b"x"), "set", None, None, True)
