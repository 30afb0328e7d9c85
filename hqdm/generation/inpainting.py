"""Fill the hole in an image: what is known of it, and what is written.

`sample_images(denoiser, RePaint(sampler, 5), n, around=known.around)` draws the fillings.
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
from hqdm.utils.pictures import read_image, save_grid

RECORD_FILE = "inpaint.json"
INPAINT_FILES = (GRID_FILE, IMAGES_FILE, RECORD_FILE)


@dataclass(frozen=True)
class Known:
    """An image of which a part is known.

    Attributes:
        image: `(C, H, W)` in [-1, 1].
        mask: True where it is known, `(1, H, W)`.
    """

    image: Tensor
    mask: Tensor

    @property
    def holed(self) -> Tensor:
        """The image with grey where it is not known, `(C, H, W)`."""
        return torch.where(self.mask, self.image, 0)

    def around(self, denoiser: Denoising) -> Replacement:
        """A denoiser around one, by which the known part is drawn as it is."""
        return Replacement(denoiser, self.image, self.mask)


def read_known(image: Path, mask: Path, shape: tuple[int, int, int]) -> Known:
    """Read an image and a mask that is white where the image is to be filled.

    Args:
        image: The file of the image.
        mask: The file of the mask; grey counts as the nearer of black and white.
        shape: `(C, H, W)` of the model.

    Raises:
        HQDMError: If a file cannot be read, is of another size than the model's, or the mask
            leaves nothing to fill or nothing known.
    """
    pixels = read_image(image, shape)
    hole = read_image(mask, (1, *shape[1:]), convert=True) > 0
    if not hole.any():
        raise HQDMError(f"the mask {mask} has no white pixels: white is what is filled")
    if hole.all():
        raise HQDMError(f"the mask {mask} is all white: black is what is known of {image}")
    return Known(pixels, ~hole)


def write_inpainting(
    known: Known, sampler: Sampler, samples: Samples, out: Path, settings: dict[str, Any]
) -> str:
    """Write a grid of the image with its hole and the fillings, the fillings, and how they came.

    Args:
        known: What was known.
        sampler: How the fillings were drawn.
        samples: The fillings.
        out: Folder to write to.
        settings: What `inpaint.json` records beside the sampler.

    Returns:
        The names of the files, for a message.
    """
    save_grid(torch.cat([known.holed[None], samples.images]), out / GRID_FILE)
    save_samples(samples, sampler, out, RECORD_FILE, settings)
    return ", ".join(str(out / name) for name in INPAINT_FILES)
