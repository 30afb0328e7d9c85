"""SSIM and PSNR of pairs of images: an original and its restoration."""

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
    if original.shape != restored.shape or len(original) == 0:
        raise HQDMError(
            f"SSIM and PSNR of {tuple(original.shape)} against {tuple(restored.shape)}: expected "
            "pairs of images of one shape (N, C, H, W), N at least 1"
        )
    # Mirroring 5 pixels at each border needs 6 pixels.
    if min(original.shape[-2:]) < 6:
        raise HQDMError(f"SSIM of images of shape {tuple(original.shape)}: expected 6x6 or more")
    x, y = (as_float(original) + 1) / 2, (as_float(restored) + 1) / 2
    ssim: Any = structural_similarity_index_measure(y, x, data_range=1.0)
    psnr = peak_signal_noise_ratio(y, x, data_range=1.0, dim=(1, 2, 3))
    return {"ssim": ssim.item(), "psnr": psnr.item()}
