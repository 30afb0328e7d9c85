"""Pictures of images and of training: grids, denoising strips, loss curves."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from hqdm.utils.errors import HQDMError, first_line
from hqdm.utils.pixels import to_float, to_uint8

PAGE_WIDTH = 640
GAP = 1
ROWS_WIDTH = 7.0  # inches
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


def save_picture(picture: Tensor, path: str | Path) -> None:
    """Write one picture `(C, H, W)` in [-1, 1] as PNG, enlarged by an integer factor if small."""
    pixels = to_uint8(picture).cpu()
    image = Image.fromarray(
        pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).numpy()
    )
    factor = max(1, PAGE_WIDTH // image.width)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST).save(path)


def save_grid(images: Tensor, path: str | Path, columns: int = 8) -> None:
    """Write images `(N, C, H, W)` as one PNG, `columns` per row."""
    save_picture(grid(images, min(columns, len(images))), path)


def save_strip(trajectory: Tensor, path: str | Path, columns: int = 10, rows: int = 4) -> None:
    """Write a denoising strip: one image per row, time from left to right.

    Args:
        trajectory: Images at every grid point, `(n + 1, B, C, H, W)`.
        path: The PNG to write.
        columns: Number of points in time, evenly spaced over the steps.
        rows: Number of images.
    """
    columns = min(columns, len(trajectory))
    points = torch.linspace(0, len(trajectory) - 1, columns).round().long()
    strip = trajectory[points, :rows].transpose(0, 1).flatten(0, 1)
    save_picture(grid(strip, columns), path)


def save_rows(rows: Mapping[str, Tensor], path: str | Path) -> None:
    """Write one row of images `(N, C, H, W)` per label, with the labels to the left."""
    from matplotlib.figure import Figure  # slow to import, and training does not need it

    columns = max(map(len, rows.values()))
    pictures = [grid(images, columns) for images in rows.values()]
    picture = torch.cat(pictures, dim=1)
    height = pictures[0].shape[1]
    pixels = to_uint8(picture).permute(1, 2, 0).squeeze(-1).numpy()
    scale = ROWS_WIDTH / picture.shape[2]
    figure = Figure(figsize=(ROWS_WIDTH, scale * picture.shape[1]))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_yticks([(i + 0.5) * height for i in range(len(rows))], rows)
    axes.set_xticks([])
    axes.tick_params(length=0)
    figure.savefig(path, dpi=DPI, bbox_inches="tight")


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

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, label, style in (
        ("train_loss", "training", "-"),
        ("val_loss", "validation (averaged weights)", "o-"),
    ):
        if values := read_metric(logs, name):
            steps, losses = zip(*values.items(), strict=True)
            axes.plot(steps, losses, style, label=label, linewidth=1, markersize=3)
    if not axes.lines:
        return
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=DPI)
