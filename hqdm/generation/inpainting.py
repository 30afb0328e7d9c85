"""Inpainting: the known pixels of an image, and the files that `hqdm inpaint` writes.

`sample_images(denoiser, RePaint(sampler, 5), n, around=known.around)` generates inpainted images.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hqdm.diffusion.denoiser import Denoising
from hqdm.generation.sampling import GRID_FILE, IMAGES_FILE, Samples, save_samples
from hqdm.guidance.replacement import Replacement
from hqdm.samplers import Sampler
from hqdm.utils.errors import HQDMError
from hqdm.utils.files import together
from hqdm.utils.pictures import class_rows, read_image, save_rows

RECORD_FILE = "inpaint.json"
COLUMNS = 8
INPAINT_FILES = (GRID_FILE, IMAGES_FILE, RECORD_FILE)


@dataclass(frozen=True)
class Known:
    """An image with a mask of its known pixels.

    Attributes:
        image: The image `(C, H, W)` in [-1, 1].
        mask: True at known pixels, `(1, H, W)`.
    """

    image: Tensor
    mask: Tensor

    @property
    def holed(self) -> Tensor:
        """The image with unknown pixels in grey, `(C, H, W)`."""
        return torch.where(self.mask, self.image, 0)

    def around(self, denoiser: Denoising) -> Replacement:
        """Wrap a denoiser such that the known pixels of its predictions equal the image."""
        return Replacement(denoiser, self.image, self.mask)


def read_known(image: Path, mask: Path, shape: tuple[int, int, int]) -> Known:
    """Read an image, and a mask that is white at the pixels to fill.

    Args:
        image: The file of the image.
        mask: The file of the mask; grey is rounded to black or white.
        shape: The image shape `(C, H, W)` of the model.

    Raises:
        HQDMError: If a file cannot be read, its size differs from that of the model, or the mask
            is all black or all white.
    """
    pixels = read_image(image, shape)
    hole = read_image(mask, (1, *shape[1:]), convert=True) > 0
    if not hole.any():
        raise HQDMError(f"the mask {mask} has no white pixels: make the pixels to fill white")
    if hole.all():
        raise HQDMError(
            f"the mask {mask} is all white: make the pixels of {image} that are kept black"
        )
    return Known(pixels, ~hole)


def write_inpainting(
    known: Known, sampler: Sampler, samples: Samples, out: Path, settings: dict[str, Any]
) -> str:
    """Write a picture of the masked image and the inpainted images, the images, and a record.

    Args:
        known: The image and the mask.
        sampler: The sampler.
        samples: The inpainted images.
        out: Folder to write to.
        settings: Settings that `inpaint.json` records in addition to the sampler.

    Returns:
        The names of the files, for a message.
    """
    with together():
        rows = class_rows(samples.images, samples.labels, "filled")
        save_rows([("given", known.holed[None]), *rows], out / GRID_FILE, COLUMNS)
        save_samples(samples, sampler, out, RECORD_FILE, settings)
    return ", ".join(str(out / name) for name in INPAINT_FILES)
