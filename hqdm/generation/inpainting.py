r"""Inpainting: the known pixels of images, their masks, and the files that `hqdm inpaint` writes.

    known = Known(image, ~hole_of("bottom", image.shape))
    filling = known.filling(sampler)
    samples = sample_images(denoiser, filling.sampler, n, around=filling.around)

A sampler of a diffusion process replaces the known pixels of every prediction and repeats its steps
(`hqdm.guidance.replacement`, `hqdm.samplers.repaint`). A recursive sampler, x <- f(x), starts from
noise in the hole around the known pixels, and by default puts them back after each step:

    x_1 = mask image + (1 - mask) noise,     x <- mask image + (1 - mask) f(x)

(Koelle et al., arXiv 2401.07049). Without this reset f may also change the known pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hqdm.diffusion.denoiser import Denoiser, Denoising
from hqdm.generation.sampling import GRID_FILE, IMAGES_FILE, Samples, guided, save_samples
from hqdm.guidance.replacement import Replacement
from hqdm.metrics.pairs import region_scores
from hqdm.samplers import RePaint, Sampler
from hqdm.samplers.recursive.known_start import KnownStart
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError, unknown
from hqdm.utils.files import together
from hqdm.utils.memory import to_device
from hqdm.utils.pictures import class_rows, read_image, save_rows
from hqdm.utils.progress import Progress, silent, stepwise
from hqdm.utils.seeds import ImageNoise, generator

RECORD_FILE = "inpaint.json"
COLUMNS = 8
INPAINT_FILES = (GRID_FILE, IMAGES_FILE, RECORD_FILE)

MASKS = ("top", "bottom", "left", "right", "random")
"""Masks by name: the half of an image that is filled, or a random half of its pixels."""

RESAMPLINGS = 10
MASK_STREAM = 11


class Filling(NamedTuple):
    """The parts of `sample_images` that fill a hole.

    Attributes:
        sampler: The sampler.
        around: Wraps the denoiser; None leaves it as it is.
    """

    sampler: Sampler
    around: Callable[[Denoising], Denoising] | None


@dataclass(frozen=True)
class Known:
    """An image with a mask of its known pixels.

    Attributes:
        image: The image `(C, H, W)` in [-1, 1], or one per sample `(B, C, H, W)`.
        mask: True at known pixels, `(1, H, W)`.
    """

    image: Tensor
    mask: Tensor

    @property
    def holed(self) -> Tensor:
        """The image with unknown pixels in grey, of its shape."""
        return torch.where(self.mask, self.image, 0)

    def around(self, denoiser: Denoising) -> Replacement:
        """Wrap a denoiser such that the known pixels of its predictions equal the image."""
        return Replacement(denoiser, self.image, self.mask)

    def filling(
        self, sampler: Sampler, resamplings: int | None = None, reset: bool = True
    ) -> Filling:
        """The sampler and the wrapper that fill the hole.

        Args:
            sampler: The sampler.
            resamplings: Number of times that each step is taken, see `RePaint`; None is
                `RESAMPLINGS`. Not for recursive samplers.
            reset: Put the known pixels back after each step; only recursive samplers may omit it.

        Raises:
            HQDMError: If an option is not one of the sampler, or out of range.
        """
        if sampler.recursive:
            if resamplings is not None:
                raise HQDMError(
                    f"{sampler.name} has no noise to repeat a step with: leave resample out"
                )
            if reset and sampler.at_once:
                raise HQDMError(
                    f"{sampler.name} takes all steps at once: give no-reset, or use the sampler "
                    "iterate"
                )
            start = KnownStart(sampler, self.image, self.mask)
            return Filling(start, self.around if reset else None)
        if not reset:
            raise HQDMError(
                f"{sampler.name} replaces the known pixels of every prediction: leave no-reset "
                "out, or use the sampler iterate"
            )
        resampled = RePaint(sampler, RESAMPLINGS if resamplings is None else resamplings)
        return Filling(resampled, self.around)


def hole_of(name: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """The pixels to fill in a mask of `MASKS`.

    Args:
        name: The name of the mask.
        shape: The shape of the images, `(..., H, W)`. Of an odd number of rows, columns or pixels
            the hole has the smaller half.
        seed: Random seed of the mask "random".

    Returns:
        True at the pixels to fill, `(1, H, W)`.

    Raises:
        HQDMError: If there is no mask of that name.
    """
    if name not in MASKS:
        raise unknown("mask", name, MASKS)
    height, width = shape[-2:]
    hole = torch.zeros(1, height, width, dtype=torch.bool)
    if name == "random":
        order = torch.randperm(height * width, generator=generator(seed, MASK_STREAM))
        hole.view(-1)[order[: len(order) // 2]] = True
        return hole
    rows, columns = height // 2, width // 2
    parts = {
        "top": (slice(rows), slice(None)),
        "bottom": (slice(height - rows, None), slice(None)),
        "left": (slice(None), slice(columns)),
        "right": (slice(None), slice(width - columns, None)),
    }
    hole[(0, *parts[name])] = True
    return hole


def read_known(image: Path, mask: str | Path, shape: tuple[int, int, int], seed: int = 0) -> Known:
    """Read an image, and a mask that is white at the pixels to fill.

    Args:
        image: The file of the image.
        mask: A name of `MASKS`, or a file; grey in it is rounded to black or white.
        shape: The image shape `(C, H, W)` of the model.
        seed: Random seed of the mask "random".

    Raises:
        HQDMError: If a file cannot be read, its size differs from that of the model, or the mask
            is all black or all white.
    """
    pixels = read_image(image, shape)
    if mask in MASKS:
        hole = hole_of(str(mask), shape, seed)
    elif not Path(mask).suffix and not Path(mask).exists():
        raise unknown("mask", str(mask), MASKS)
    else:
        hole = read_image(Path(mask), (1, *shape[1:]), convert=True) > 0
    if not hole.any():
        raise HQDMError(f"the mask {mask} has no white pixels: make the pixels to fill white")
    if hole.all():
        raise HQDMError(
            f"the mask {mask} is all white: make the pixels of {image} that are kept black"
        )
    return Known(pixels, ~hole)


@torch.no_grad()
def fill_images(
    denoiser: Denoiser,
    sampler: Sampler,
    images: Tensor,
    hole: Tensor,
    labels: Tensor | None = None,
    *,
    resamplings: int | None = None,
    reset: bool = True,
    seed: int = 0,
    batch_size: int = 256,
    progress: Progress = silent,
) -> Tensor:
    """Fill a hole in each of several images.

    Args:
        denoiser: The model; its device is used.
        sampler: The sampler.
        images: The images `(N, C, H, W)` in [-1, 1].
        hole: True at the pixels to fill, `(1, H, W)`.
        labels: The class labels `(N,)`, or None.
        resamplings: See `Known.filling`.
        reset: See `Known.filling`.
        seed: Random seed; the noise of image i depends on `(seed, i)` only.
        batch_size: Images per batch.
        progress: Reports the images.

    Returns:
        The filled images `(N, C, H, W)`, on the CPU.

    Raises:
        HQDMError: As `Known.filling`, or if the model does not fit the images or the sampler.
    """
    whole("batch_size", batch_size, 1)
    expected = denoiser.sample_shape
    if not len(images) or images.shape[1:] != expected:
        raise HQDMError(
            f"filling needs images of shape (B, {', '.join(map(str, expected))}), at least one, "
            f"got {tuple(images.shape)}"
        )
    device = next(denoiser.parameters()).device
    filled, done = [], stepwise(progress, "images filled", -(-len(images) // batch_size))
    for first in range(0, len(images), batch_size):
        batch = images[first : first + batch_size]
        y = None if labels is None else to_device(labels[first : first + batch_size], device)
        noise = ImageNoise(seed, len(batch), first)
        x1 = denoiser.prior(noise)
        known = Known(to_device(batch, device, x1.dtype), ~to_device(hole, device))
        filling = known.filling(sampler, resamplings, reset)
        wrapped = guided(denoiser, 1.0)
        if filling.around is not None:
            wrapped = filling.around(wrapped)
        filled.append(filling.sampler(wrapped, x1, y, noise=noise).cpu())
        done()
    return torch.cat(filled)


def inpainting_scores(
    denoiser: Denoiser,
    sampler: Sampler,
    images: Tensor,
    hole: Tensor,
    labels: Tensor | None = None,
    **options: Any,
) -> dict[str, float]:
    """Squared error and SSIM of what `fill_images` puts into a hole, to the images themselves.

    Args:
        denoiser: The model.
        sampler: The sampler.
        images: Test images `(N, C, H, W)` in [-1, 1].
        hole: True at the pixels to fill, `(1, H, W)`, such as `hole_of("top", images.shape)`.
        labels: The class labels `(N,)`, or None.
        **options: Those of `fill_images`.

    Returns:
        `mse` and `ssim` of `hqdm.metrics.region_scores`.

    Raises:
        HQDMError: As `fill_images` and `region_scores`.
    """
    filled = fill_images(denoiser, sampler, images, hole, labels, **options)
    return region_scores(images, filled.to(images), hole)


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
