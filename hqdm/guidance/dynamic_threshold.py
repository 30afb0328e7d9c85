"""Dynamic thresholding of the predicted clean images (Saharia et al. 2022, section 2.3)."""

import torch
from torch import Tensor

from hqdm.diffusion.denoiser import Denoising
from hqdm.diffusion.objective import expand
from hqdm.guidance.correction import DataCorrection
from hqdm.utils.errors import HQDMError


class DynamicThreshold(DataCorrection):
    r"""Dynamic thresholding (Saharia et al. 2022, section 2.3), for strong guidance.

        s = max(percentile of |x0|, 1) per image,     x0 <- clamp(x0, -s, s) / s.

    `Clip` saturates all pixels that guidance drives out of range; dynamic thresholding rescales the
    image instead.

    Args:
        denoiser: The denoiser to wrap.
        percentile: Fraction of the pixels of an image that are not clamped, in (0, 1].

    Raises:
        HQDMError: If the percentile is out of range.
    """

    def __init__(self, denoiser: Denoising, percentile: float = 0.995) -> None:
        super().__init__(denoiser)
        if not 0 < percentile <= 1:
            raise HQDMError(f"dynamic thresholding needs a percentile in (0, 1], got {percentile}")
        self.percentile = percentile

    def correct(self, x0: Tensor) -> Tensor:
        """See `DataCorrection.correct`."""
        size = x0.abs().flatten(1)
        size = size.to(torch.promote_types(x0.dtype, torch.float32))  # quantile has no half
        bound = expand(size.quantile(self.percentile, dim=1).clamp_min(1).to(x0.dtype), x0)
        return x0.clamp(-bound, bound) / bound
