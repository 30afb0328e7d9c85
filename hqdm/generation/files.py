"""Files of generated images on request: single pictures, an array, an animation.

png/007.png, png/007_class_3.png: the images one by one, in their size.

samples.npz: `arr_0`, the images `(N, H, W, C)` in uint8, and with class labels `arr_1`, the labels
`(N,)`: the layout of guided diffusion (Dhariwal & Nichol 2021), which tools for FID read.

strip.gif, strip.webp: the denoising strip as an animation.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, features
from torch import Tensor

from hqdm.utils.errors import HQDMError, unknown
from hqdm.utils.files import write_file
from hqdm.utils.pictures import encoded, save_animation
from hqdm.utils.pixels import to_uint8
from hqdm.utils.progress import Progress, silent, stepwise

KINDS = ("png", "npz", "gif", "webp")
SINGLE = {"npz": "samples.npz", "gif": "strip.gif", "webp": "strip.webp"}
PNG_FOLDER = "png"


def file_names(kinds: Sequence[str], n: int, labels: Tensor | None) -> list[str]:
    """The names of the files that `write_kinds` writes.

    Args:
        kinds: Some of `KINDS`.
        n: Number of images.
        labels: Their classes `(N,)`, or None.

    Raises:
        HQDMError: If a kind is unknown, or this installation of Pillow cannot write it.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind of file", kind, KINDS)
    if "webp" in kinds and not features.check("webp"):
        raise HQDMError("this installation of Pillow cannot write webp: choose gif")
    names = [SINGLE[kind] for kind in SINGLE if kind in kinds]
    return [*names, *png_names(n, labels)] if "png" in kinds else names


def png_names(n: int, labels: Tensor | None) -> list[str]:
    """The names of single images, numbered with equally many digits, with their classes."""
    digits = len(str(n - 1))
    classes = [""] * n if labels is None else [f"_class_{label}" for label in labels.tolist()]
    return [f"{PNG_FOLDER}/{i:0{digits}d}{classes[i]}.png" for i in range(n)]


def names_in_words(kinds: Sequence[str]) -> list[str]:
    """The names of the files for a message, with one for all single images."""
    names = [SINGLE[kind] for kind in SINGLE if kind in kinds]
    return [*names, f"{PNG_FOLDER}/"] if "png" in kinds else names


def check_no_others(folder: Path, names: Sequence[str]) -> None:
    """Refuse files of an earlier command that would stay beside the new images.

    Args:
        folder: The folder of all files.
        names: The names of the files that are written, relative to it.

    Raises:
        HQDMError: If there are such files.
    """
    pictures = sorted(f"{PNG_FOLDER}/{file.name}" for file in (folder / PNG_FOLDER).glob("*.png"))
    single = [name for name in SINGLE.values() if (folder / name).exists()]
    own = set(names)
    for name in (*single, *pictures):
        if name not in own and re.fullmatch(r"[^/]+|png/\d+(_class_\d+)?\.png", name):
            raise HQDMError(
                f"{folder / name} is of other images and would not be replaced: remove it, or name "
                "another folder with --out"
            )


def write_kinds(
    kinds: Sequence[str],
    images: Tensor,
    labels: Tensor | None,
    trajectory: Tensor,
    times: Tensor,
    out: Path,
    progress: Progress = silent,
) -> None:
    """Write the files that `file_names` names.

    Args:
        kinds: Some of `KINDS`.
        images: The images `(N, C, H, W)` in [-1, 1].
        labels: Their classes `(N,)`, or None.
        trajectory: The first images at every grid point, `(n + 1, B, C, H, W)`.
        times: The grid of times `(n + 1,)`.
        out: The folder.
        progress: Reports the single images, each of which is written to the disk.
    """
    pixels = to_uint8(images).cpu().permute(0, 2, 3, 1).numpy()
    if "npz" in kinds:
        buffer = io.BytesIO()
        np.savez(buffer, *([pixels] if labels is None else [pixels, labels.cpu().numpy()]))
        write_file(out / SINGLE["npz"], buffer.getvalue())
    if "png" in kinds:
        done = stepwise(progress, "writing images", len(pixels))
        for name, each in zip(png_names(len(pixels), labels), pixels, strict=True):
            picture = Image.fromarray(each[:, :, 0] if each.shape[2] == 1 else each)
            write_file(out / name, encoded([picture], "png"))
            done()
    shown = None if labels is None else labels[: trajectory.shape[1]]
    for kind in ("gif", "webp"):
        if kind in kinds:
            save_animation(trajectory, times, out / SINGLE[kind], shown)
