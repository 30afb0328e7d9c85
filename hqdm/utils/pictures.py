"""Pictures: image files read upright (EXIF); grids, denoising strips, animations, loss curves."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from hqdm.utils.errors import HQDMError, first_line
from hqdm.utils.files import write_file
from hqdm.utils.pixels import to_float, to_uint8

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator

PAGE_SIZE = 640
CELL = 64  # least height and width of an image in a picture, in pixels
GAP = 1
TEXT, LEAST_TEXT, PAD = 15, 8, 6  # height of letters and space around them, in pixels
LINE = TEXT + 2 * PAD
FRAMES = 50  # of an animation, at most
FRAME_TIME, LAST_TIME = 100, 1500  # milliseconds
DPI = 120
GREY_MODES = ("1", "L", "LA")


def decoded(source: str | Path | BinaryIO) -> Image.Image:
    """Read an image file: upright, and on white where it is transparent.

    Args:
        source: A path, or an open file.

    Raises:
        ValueError: If the file has more than 8 bits per channel.
        Exception: Of any type, by Pillow, if the file is missing, damaged or too large.
    """
    with Image.open(source) as file:
        if file.mode.startswith(("I", "F")):  # Pillow clips these to 255 instead of scaling them
            raise ValueError(
                f"more than 8 bits per channel (mode {file.mode}): convert it to 8 bits first"
            )
        image = ImageOps.exif_transpose(file)
        if not image.has_transparency_data:
            return image
        white = Image.new("RGBA", image.size, "white")
        mode = "L" if image.mode in GREY_MODES else "RGB"
        return Image.alpha_composite(white, image.convert("RGBA")).convert(mode)


def read_image(path: Path, shape: tuple[int, int, int], convert: bool = False) -> Tensor:
    """Read an image file as model input, `(C, H, W)` in [-1, 1]; see `decoded`.

    Args:
        path: The file.
        shape: `(C, H, W)` of the model.
        convert: Whether to convert between colour and grey instead of refusing the file.

    Raises:
        HQDMError: If the file cannot be read, has another size or more than 8 bits per channel, or
            is grey where the model has colours or the reverse.
    """
    channels, height, width = shape
    try:
        image = decoded(path)
    except Exception as error:  # Pillow's plugins raise errors of any type on damaged files
        raise HQDMError(f"{path} cannot be read as an image: {first_line(error)}") from error
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    if pixels.shape[:2] != (height, width):
        raise HQDMError(
            f"{path} is {pixels.shape[1]}x{pixels.shape[0]}, the model makes {width}x{height}: "
            "resize it first"
        )
    if not convert and (image.mode in GREY_MODES) != (channels == 1):
        came, expected = ("grey", "colour") if channels > 1 else ("colour", "grey")
        raise HQDMError(
            f"{path} is a {came} image, the model generates {expected} images: convert it first"
        )
    pixels = pixels.reshape(height, width, channels).copy()
    return to_float(torch.from_numpy(pixels).permute(2, 0, 1))


def grid(images: Tensor, columns: int) -> Tensor:
    """Lay images `(N, C, H, W)` in [-1, 1] out in rows.

    Returns:
        One picture `(C, H', W')` in [-1, 1], with dark lines between the images.
    """
    n, c, h, w = images.shape
    rows = -(-n // columns)
    cells = images.new_full((rows * columns, c, h + GAP, w + GAP), -1.0)
    cells[:n, :, :h, :w] = images
    table = cells.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4)
    return table.flatten(3, 4).flatten(1, 2)


def arranged(
    rows: Sequence[tuple[str, Tensor]], columns: int, heads: Sequence[str] = (), title: str = ""
) -> Image.Image:
    """Arrange images in rows with names, enlarged by an integer factor if they are small.

    Args:
        rows: Name and images `(N, C, H, W)` of each row; more than `columns` images continue below.
        columns: Images per line.
        heads: Texts above the columns.
        title: A line above the picture.
    """
    lines = [grid(images, columns) for _, images in rows]
    pixels = to_uint8(torch.cat(lines, dim=1)).cpu()
    _, height, width = pixels.shape
    cell = rows[0][1].shape[2] + GAP, rows[0][1].shape[3] + GAP
    factor = max(1, PAGE_SIZE // max(height, width), -(-CELL // min(cell)))
    flat = pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)
    picture = Image.fromarray(flat.numpy())
    picture = picture.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    names, font = [name for name, _ in rows], ImageFont.load_default(TEXT)
    left = int(max(map(font.getlength, names))) + 2 * PAD if any(names) else 0
    top = (bool(title) + bool(heads)) * LINE
    page = Image.new(picture.mode, (left + picture.width, top + picture.height), "white")
    page.paste(picture, (left, top))
    draw = ImageDraw.Draw(page)
    draw.text((PAD, PAD), title, "black", font)
    small = _fitting(heads, factor * cell[1])
    for i, head in enumerate(heads):
        draw.text((left + factor * cell[1] * (i + 0.5), top - PAD), head, "black", small, "ms")
    y = float(top)
    for name, line in zip(names, lines, strict=True):
        draw.text((left - PAD, y + factor * cell[0] / 2), name, "black", font, "rm")
        y += factor * line.shape[1]
    return page


def _fitting(texts: Sequence[str], width: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The largest font, up to `TEXT` pixels, in which each text is narrower than `width`."""
    for size in range(TEXT, LEAST_TEXT, -1):
        font = ImageFont.load_default(size)
        if all(font.getlength(text) < width - PAD for text in texts):
            return font
    return ImageFont.load_default(LEAST_TEXT)


def class_rows(images: Tensor, labels: Tensor | None, name: str = "") -> list[tuple[str, Tensor]]:
    """Images `(N, C, H, W)` as one row per class, for `arranged`.

    Args:
        images: The images.
        labels: Their classes `(N,)`, or None.
        name: Name of the single row without classes.
    """
    if labels is None:
        return [(name, images)]
    return [(f"class {label}", images[labels == label]) for label in labels.unique().tolist()]


def encoded(pages: Sequence[Image.Image], kind: str) -> bytes:
    """Encode a picture as PNG, or pictures as an animated GIF or WebP that is repeated.

    Args:
        pages: The pictures, of equal sizes.
        kind: png, gif or webp; the last two show the last picture longer.
    """
    buffer = io.BytesIO()
    if kind == "png":
        pages[0].save(buffer, format="PNG")
        return buffer.getvalue()
    durations = [FRAME_TIME] * (len(pages) - 1) + [LAST_TIME]
    options = {"lossless": True} if kind == "webp" else {}
    pages[0].save(
        buffer,
        format=kind,
        save_all=True,
        append_images=pages[1:],
        duration=durations,
        loop=0,
        **options,
    )
    return buffer.getvalue()


def label_decades(axis: "Axis", locator: "Locator | None" = None) -> None:
    """Label a logarithmic axis with plain numbers.

    Args:
        axis: The axis.
        locator: Places of the labels; by default 1, 2 and 5 of each decade.
    """
    from matplotlib.ticker import LogLocator  # slow to import

    axis.set_major_locator(locator or LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Write a figure of matplotlib as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    write_file(path, buffer.getvalue())


def save_grid(
    images: Tensor, path: str | Path, columns: int = 8, labels: Tensor | None = None
) -> None:
    """Write images `(N, C, H, W)` as one PNG, `columns` per line.

    Args:
        images: The images.
        path: The PNG to write.
        columns: Images per line.
        labels: The classes `(N,)`: each class then begins a line, with its label to the left.
    """
    save_rows(class_rows(images, labels), path, columns)


def save_rows(
    rows: Sequence[tuple[str, Tensor]],
    path: str | Path,
    columns: int | None = None,
    heads: Sequence[str] = (),
) -> None:
    """Write rows of images with names to the left as one PNG.

    Args:
        rows: See `arranged`.
        path: The PNG to write.
        columns: Largest number of images per line; None is that of the longest row.
        heads: Texts above the columns.
    """
    longest = max(len(images) for _, images in rows)
    page = arranged(rows, min(columns or longest, longest), heads)
    write_file(path, encoded([page], "png"))


def save_strip(
    trajectory: Tensor,
    times: Tensor,
    path: str | Path,
    labels: Tensor | None = None,
    columns: int = 10,
) -> None:
    """Write a denoising strip: one image per row, time from left to right.

    Args:
        trajectory: Images at every grid point, `(n + 1, B, C, H, W)`.
        times: The grid of times `(n + 1,)`, which head the columns.
        path: The PNG to write.
        labels: The classes of the images `(B,)`, which name the rows.
        columns: Number of points in time, evenly spaced over the steps.
    """
    points = spread(len(trajectory), columns)
    names = _names(trajectory.shape[1], labels)
    rows = list(zip(names, trajectory[points].transpose(0, 1), strict=True))
    save_rows(rows, path, heads=[time_text(t) for t in times[points].tolist()])


def save_animation(
    trajectory: Tensor, times: Tensor, path: Path, labels: Tensor | None = None
) -> None:
    """Write a denoising strip as an animation: the images side by side, from noise to data.

    Args:
        trajectory: Images at every grid point, `(n + 1, B, C, H, W)`.
        times: The grid of times `(n + 1,)`; each picture has its time above it.
        path: The file to write, whose suffix is `.gif` (256 colours per picture) or `.webp`.
        labels: The classes of the images `(B,)`, which head the columns.
    """
    count = trajectory.shape[1]
    heads = [] if labels is None else _names(count, labels)
    pages = [
        arranged([("", trajectory[i])], count, heads, time_text(float(times[i])))
        for i in spread(len(trajectory), FRAMES).tolist()
    ]
    write_file(path, encoded(pages, path.suffix[1:]))


def spread(n: int, count: int) -> Tensor:
    """At most `count` of the numbers 0, ..., n - 1, evenly spaced, with both ends."""
    return torch.linspace(0, n - 1, min(count, n)).round().long()


def _names(n: int, labels: Tensor | None) -> list[str]:
    """The names of n images: their classes, or empty texts."""
    return [""] * n if labels is None else [f"class {label}" for label in labels.tolist()]


def time_text(t: float) -> str:
    """A time of a diffusion process in a picture, such as `t = 0.25`."""
    return f"t = {t:.2g}"


def read_metric(logs: Path, name: str) -> dict[int, float]:
    """One metric by step, from all tables that Lightning's CSV logger wrote below a folder.

    A resumed run has one table per start; where tables overlap, the later one is used.
    """
    values: dict[int, float] = {}
    for table in sorted(logs.glob("version_*/metrics.csv"), key=lambda f: int(f.parent.name[8:])):
        with table.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get(name)]
        values.update((int(row["step"]), float(row[name])) for row in rows)
    return dict(sorted(values.items()))


def save_loss_curve(logs: Path, path: str | Path) -> None:
    """Plot training and validation loss against steps, from the tables below `logs`, if any."""
    from matplotlib.figure import Figure  # slow to import, and training does not need it
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, label, style in (
        ("train_loss", "training", "-"),
        ("val_loss", "validation (averaged weights)", "o-"),
    ):
        if values := read_metric(logs, name):
            steps, losses = zip(*values.items(), strict=True)
            shown = style if len(steps) > 1 else "o"  # a line of one point is invisible
            axes.plot(steps, losses, shown, label=label, linewidth=1, markersize=3)
    if not axes.lines:
        return
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    axes.grid(alpha=0.3)
    save_figure(figure, path)
