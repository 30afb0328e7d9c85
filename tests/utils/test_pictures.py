"""Pictures, pixel by pixel, and the tables of the loss curve."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hqdm.utils.pictures import (
    PAGE_WIDTH,
    grid,
    read_metric,
    save_grid,
    save_loss_curve,
    save_picture,
    save_rows,
    save_strip,
)


def constants(values, channels=1, size=2):
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, channels, size, size)


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(1, 9),
    columns=st.integers(1, 5),
    channels=st.sampled_from([1, 3]),
    h=st.integers(1, 4),
    w=st.integers(1, 4),
)
def test_grid_puts_every_pixel_in_its_place(n, columns, channels, h, w):
    images = torch.rand(n, channels, h, w) * 2 - 1
    picture = grid(images, columns)
    rows = -(-n // columns)
    expected = torch.full((channels, rows * (h + 1), columns * (w + 1)), -1.0)
    for i in range(n):
        top, left = i // columns * (h + 1), i % columns * (w + 1)
        expected[:, top : top + h, left : left + w] = images[i]
    assert torch.equal(picture, expected)


def test_rows_are_in_order_beside_their_labels(tmp_path):
    """White above grey, the shorter row filled up with black."""
    rows = {"first": constants([1.0, 1.0, 1.0], size=8), "second": constants([0.0], size=8)}
    save_rows(rows, tmp_path / "rows.png")
    pixels = np.asarray(Image.open(tmp_path / "rows.png").convert("L"))
    height, width = pixels.shape
    right, middle = pixels[:, int(0.9 * width)], pixels[:, width // 3]
    assert (right[height // 4], right[3 * height // 4]) == (255, 0)
    assert (middle[height // 4], middle[3 * height // 4]) == (255, 128)
    margin = pixels[:, : width // 20]
    assert (margin[: height // 2] < 128).any()
    assert (margin[height // 2 :] < 128).any()


def test_picture_is_enlarged_by_integer_factors(tmp_path):
    picture = torch.tensor([[[-1.0, 1.0, 0.0]]])
    save_picture(picture, tmp_path / "new" / "grey.png")
    pixels = np.asarray(Image.open(tmp_path / "new" / "grey.png"))
    factor = PAGE_WIDTH // 3
    assert pixels.shape == (factor, 3 * factor)
    assert (pixels[:, ::factor] == [0, 255, 128]).all()
    save_picture(picture.expand(3, 1, 3), tmp_path / "colour.png")
    assert np.asarray(Image.open(tmp_path / "colour.png")).shape == (factor, 3 * factor, 3)


def test_grid_of_few_images_is_no_wider_than_they_are(tmp_path):
    save_grid(constants([0.5, -0.5]), tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.width == 2 * picture.height


def test_strip_shows_one_image_per_row_from_noise_to_data(tmp_path):
    """Eleven points in time, of which three are shown: the first, the middle and the last."""
    levels = torch.linspace(-1, 1, 11)
    trajectory = torch.stack([constants([t, -t]) for t in levels.tolist()])
    save_strip(trajectory, tmp_path / "strip.png", columns=3, rows=2)
    pixels = np.asarray(Image.open(tmp_path / "strip.png"))
    unit = pixels.shape[1] // 9  # three cells of two pixels and a gap
    assert pixels.shape[0] == 6 * unit
    assert pixels[0, [0, 3 * unit, 6 * unit]].tolist() == [0, 128, 255]
    assert pixels[3 * unit, [0, 3 * unit, 6 * unit]].tolist() == [255, 128, 0]


def write_table(folder, rows):
    folder.mkdir(parents=True)
    lines = ["step,train_loss,val_loss", *(",".join(map(str, row)) for row in rows)]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")


def test_metric_of_a_resumed_run_is_read_from_the_later_table(tmp_path):
    write_table(tmp_path / "version_2", [(3, 30, ""), (5, 50, "")])
    write_table(tmp_path / "version_10", [(5, 55, ""), (5, "", 7), (6, 60, "")])
    assert read_metric(tmp_path, "train_loss") == {3: 30, 5: 55, 6: 60}
    assert read_metric(tmp_path, "val_loss") == {5: 7}
    assert read_metric(tmp_path, "other") == {}


def test_loss_curve_is_drawn_where_there_are_losses(tmp_path):
    save_loss_curve(tmp_path, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    write_table(tmp_path / "version_0", [(0, 1.0, ""), (1, 0.5, 0.7)])
    save_loss_curve(tmp_path, tmp_path / "loss.png")
    with Image.open(tmp_path / "loss.png") as picture:
        assert picture.size == (720, 420)
        assert len(picture.convert("RGB").getcolors(maxcolors=100_000)) > 3
