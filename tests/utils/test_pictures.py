"""Pictures, pixel by pixel, and the tables of the loss curve."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from PIL import Image

from hqdm.utils import pictures
from hqdm.utils.pictures import (
    DPI,
    FRAMES,
    LEAST_TEXT,
    PAGE_SIZE,
    TEXT,
    _fitting,
    grid,
    read_metric,
    save_animation,
    save_grid,
    save_loss_curve,
    save_rows,
    save_strip,
)
from hqdm.utils.pixels import to_float, to_uint8


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


def inside(picture, columns, rows, size):
    """The cells of a picture without names and heads, each pixel once, `(rows, columns, ...)`.

    The cells lie at the right and at the bottom.
    """
    pixels = np.asarray(picture)
    unit = size + 1
    factor = max(640 // (max(columns, rows) * unit), 64 // unit + (64 % unit > 0))
    top, left = pixels.shape[0] - factor * rows * unit, pixels.shape[1] - factor * columns * unit
    cells = pixels[top::factor, left::factor]
    cells = cells.reshape(rows, unit, columns, unit, *pixels.shape[2:]).swapaxes(1, 2)
    return cells[:, :, :size, :size], (left, top), factor


def dark(picture, box):
    """Whether something is written in a part of a picture, (left, top, right, bottom)."""
    return bool((np.asarray(picture.convert("L").crop(box)) < 100).any())


def test_rows_are_in_order_beside_their_names(tmp_path):
    """White above grey, the shorter row filled up with black."""
    rows = [("first", constants([1.0, 1.0, 1.0], size=8)), ("", constants([0.0], size=8))]
    save_rows(rows, tmp_path / "rows.png")
    with Image.open(tmp_path / "rows.png") as picture:
        cells, (left, top), factor = inside(picture, 3, 2, 8)
        assert cells[:, :, 0, 0].tolist() == [[255, 255, 255], [128, 0, 0]]
        assert top == 0
        assert dark(picture, (0, 0, left, 9 * factor))
        assert not dark(picture, (0, 9 * factor, left, 18 * factor))


def test_long_rows_continue_below(tmp_path):
    values = [-0.5, 0.0, 0.5, 1.0]
    save_rows([("", constants(values))], tmp_path / "rows.png", columns=3, heads=["a", "", "c"])
    with Image.open(tmp_path / "rows.png") as picture:
        cells, (left, top), factor = inside(picture, 3, 2, 2)
        assert cells[:, :, 0, 0].tolist() == [[64, 128, 191], [255, 0, 0]]
        assert left == 0
        width = 3 * factor  # of a column
        heads = [dark(picture, (i * width, 0, (i + 1) * width, top)) for i in range(3)]
        assert heads == [True, False, True]


@pytest.mark.parametrize(("channels", "size", "columns"), [(1, 28, 11), (3, 8, 12), (1, 8, 1)])
def test_small_images_are_enlarged_by_an_integer(tmp_path, channels, size, columns):
    """To 64 pixels or more, however many stand side by side."""
    images = to_float(torch.randint(0, 256, (columns, channels, size, size), dtype=torch.uint8))
    save_grid(images, tmp_path / "new" / "grid.png", columns=columns)
    with Image.open(tmp_path / "new" / "grid.png") as picture:
        cells, (left, top), factor = inside(picture, columns, 1, size)
        assert (left, top) == (0, 0)
        assert factor * (size + 1) >= 64
        assert picture.width >= min(PAGE_SIZE, 64 * columns)
        came = torch.from_numpy(cells[0].copy()).view(columns, size, size, channels)
        assert torch.equal(came.permute(0, 3, 1, 2), to_uint8(images))
        enlarged = np.asarray(picture)[: size * factor, : size * factor]
        blocks = enlarged.reshape(size, factor, size, factor, channels)
        assert (blocks == blocks[:, :1, :, :1]).all()


def test_grid_of_few_images_is_no_wider_than_they_are(tmp_path):
    save_grid(constants([0.5, -0.5]), tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.width == 2 * picture.height


def test_a_grid_of_classes_has_a_named_row_for_each(tmp_path):
    values, labels = [0.0, 1.0, 0.5, -0.5, -1.0], torch.tensor([7, 2, 7, 7, 2])
    save_grid(constants(values, size=8), tmp_path / "grid.png", columns=2, labels=labels)
    with Image.open(tmp_path / "grid.png") as picture:
        cells, (left, _), factor = inside(picture, 2, 3, 8)
        assert cells[:, :, 0, 0].tolist() == [[255, 0], [128, 191], [64, 0]]
        named = [dark(picture, (0, 9 * factor * i, left, 9 * factor * (i + 1))) for i in range(3)]
        assert named == [True, True, False]


def test_strip_shows_one_image_per_row_from_noise_to_data(tmp_path):
    """Eleven points in time, of which three are shown: the first, the middle and the last."""
    levels = torch.linspace(-1, 1, 11)
    trajectory = torch.stack([constants([t, -t]) for t in levels.tolist()])
    save_strip(trajectory, torch.linspace(1, 0, 11), tmp_path / "strip.png", columns=3)
    with Image.open(tmp_path / "strip.png") as picture:
        cells, (left, top), factor = inside(picture, 3, 2, 2)
        assert cells[:, :, 0, 0].tolist() == [[0, 128, 255], [255, 128, 0]]
        assert left == 0
        for i in range(3):
            assert dark(picture, (3 * factor * i, 0, 3 * factor * (i + 1), top))


def test_columns_of_a_strip_are_headed_by_their_times(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(pictures, "save_rows", lambda rows, path, heads: told.append((rows, heads)))
    times = torch.tensor([1.0, 0.5, 0.01234, 0.0])
    save_strip(torch.zeros(4, 2, 1, 2, 2), times, tmp_path / "strip.png", torch.tensor([3, 3]))
    ((rows, heads),) = told
    assert heads == ["t = 1", "t = 0.5", "t = 0.012", "t = 0"]
    assert [name for name, _ in rows] == ["class 3", "class 3"]


@pytest.mark.parametrize("kind", ["gif", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_animation_runs_from_noise_to_data(tmp_path, kind, channels):
    n = 80  # points in time, of which 50 are shown
    values = torch.linspace(-1, 1, n)
    trajectory = torch.stack([constants([t, -t], channels, size=8) for t in values.tolist()])
    save_animation(trajectory, torch.linspace(1, 0, n), tmp_path / f"strip.{kind}")
    with Image.open(tmp_path / f"strip.{kind}") as picture:
        assert picture.n_frames == FRAMES == 50
        assert picture.info["loop"] == 0
        for frame in (0, 25, 49):
            picture.seek(frame)
            value = values[round(frame * (n - 1) / 49)]
            cells, (_, top), _ = inside(picture.convert("RGB"), 2, 1, 8)
            expected = to_uint8(torch.stack([value, -value])).tolist()
            assert cells[0, :, 0, 0].tolist() == [[grey] * 3 for grey in expected]
            assert dark(picture, (0, 0, picture.width, top))


def test_long_texts_are_written_smaller():
    """Heads stay within their columns."""
    sizes = [_fitting(["t = 0.000123"], width).size for width in (200, 64, 1)]
    assert sizes[0] == TEXT > sizes[1] > sizes[2] == LEAST_TEXT
    assert _fitting(["t = 0.000123"], 64).getlength("t = 0.000123") < 64


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


@pytest.fixture
def drawn(monkeypatch):
    """The axes of the figures that are saved."""
    axes = []
    save = pictures.save_figure

    def keep(figure, path):
        axes.append(figure.axes[0])
        save(figure, path)

    monkeypatch.setattr(pictures, "save_figure", keep)
    return axes


def test_loss_curve_is_drawn_where_there_are_losses(tmp_path, drawn):
    save_loss_curve(tmp_path, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    write_table(tmp_path / "version_0", [(0, 1.0, ""), (1, 0.5, 0.7), (2, 0.4, "")])
    save_loss_curve(tmp_path, tmp_path / "loss.png")
    with Image.open(tmp_path / "loss.png") as picture:
        assert picture.size == (720, 420)
    (axes,) = drawn
    training, validation = axes.lines
    assert training.get_xydata().tolist() == [[0, 1], [1, 0.5], [2, 0.4]]
    assert validation.get_xydata().tolist() == [[1, 0.7]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "loss")
    ticks = axes.get_xticks()
    assert (ticks == ticks.round()).all()


def test_a_curve_of_one_point_is_visible(tmp_path, drawn):
    write_table(tmp_path / "version_0", [(9, 0.5, "")])
    save_loss_curve(tmp_path, tmp_path / "loss.png")
    (line,) = drawn[0].lines
    red, green, blue = (round(255 * part) for part in to_rgb(line.get_color()))
    with Image.open(tmp_path / "loss.png") as picture:
        place = drawn[0].transData.transform((9, 0.5)) * DPI / drawn[0].figure.dpi
        pixel = picture.convert("RGB").getpixel((int(place[0]), picture.height - int(place[1])))
    assert pixel == (red, green, blue)
