"""SSIM, PSNR and squared error of pairs of images: an original and its restoration."""

from typing import Any

from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from hqdm.metrics.features import as_float
from hqdm.utils.errors import HQDMError


def pair_scores(original: Tensor, restored: Tensor) -> dict[str, float]:
    """SSIM and PSNR of images and their restorations, averaged over images.

    Both are computed on pixels in [0, 1] with data range 1 (SSIM depends on the origin). SSIM uses
    the Gaussian window of 11x11 pixels and sigma 1.5 of Wang et al. 2004, with mirrored borders.

    Args:
        original: Images `(N, C, H, W)`.
        restored: Restorations `(N, C, H, W)`, in the same order.

    Returns:
        `ssim`, at most 1, and `psnr` in dB, infinite for an exact restoration.

    Raises:
        HQDMError: If the shapes differ, or the images are smaller than 6x6 pixels.
    """
    x, y = _pixels(original, restored)
    ssim: Any = structural_similarity_index_measure(y, x, data_range=1.0)
    psnr = peak_signal_noise_ratio(y, x, data_range=1.0, dim=(1, 2, 3))
    return {"ssim": ssim.item(), "psnr": psnr.item()}


def region_scores(original: Tensor, restored: Tensor, region: Tensor) -> dict[str, float]:
    """Squared error and SSIM in a region of images and their restorations, such as a filled hole.

    The SSIM is the mean of the local similarities, see `pair_scores`, around the pixels of the
    region; windows at its border see pixels outside of it.

    Args:
        original: Images `(N, C, H, W)`.
        restored: Restorations `(N, C, H, W)`, in the same order.
        region: True at the pixels of the region, `(1, H, W)`.

    Returns:
        `mse`, the mean squared error of pixels in [0, 1], and `ssim`, at most 1.

    Raises:
        HQDMError: As `pair_scores`, or if the region is empty or has another size.
    """
    x, y = _pixels(original, restored)
    if region.shape != (1, *x.shape[-2:]) or not region.any():
        raise HQDMError(
            f"a region of shape {tuple(region.shape)} and {int(region.sum())} pixels of images "
            f"{tuple(x.shape)}: expected (1, {x.shape[-2]}, {x.shape[-1]}) and one pixel or more"
        )
    inside = region.bool().expand(x.shape)
    found: Any = structural_similarity_index_measure(y, x, data_range=1.0, return_full_image=True)
    return {
        "mse": (x - y)[inside].square().mean().item(),
        "ssim": found[1][inside].mean().item(),
    }


def _pixels(original: Tensor, restored: Tensor) -> tuple[Tensor, Tensor]:
    """Both in [0, 1].

    Raises:
        HQDMError: If they are no pairs, or smaller than 6x6 pixels.
    """
    if original.shape != restored.shape or len(original) == 0:
        raise HQDMError(
            f"SSIM and PSNR of {tuple(original.shape)} against {tuple(restored.shape)}: expected "
            "pairs of images of one shape (N, C, H, W), N at least 1"
        )
    # Mirroring 5 pixels at each border needs 6 pixels.
    if min(original.shape[-2:]) < 6:
        raise HQDMError(f"SSIM of images of shape {tuple(original.shape)}: expected 6x6 or more")
    return (as_float(original) + 1) / 2, (as_float(restored) + 1) / 2
