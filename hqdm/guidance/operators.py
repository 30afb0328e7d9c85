"""Linear measurement operators for `hqdm.guidance.posterior`: a mask and a blur."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hqdm.utils.errors import HQDMError

BLUR_REACH = 3  # truncation of the Gaussian in standard deviations, which omits 0.3 % of its mass


class Masked(nn.Module):
    """The known pixels of images, zero elsewhere.

    Args:
        mask: True or 1 at known pixels, broadcastable to `(C, H, W)`.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask.bool(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Set the unknown pixels of images `(B, C, H, W)` to zero."""
        return x * self.mask.to(x)


class Blur(nn.Module):
    """A Gaussian blur with edge pixels replicated beyond the border.

    Args:
        std: Standard deviation in pixels, above 0.

    Raises:
        HQDMError: If the standard deviation is not above 0.
    """

    kernel: Tensor

    def __init__(self, std: float) -> None:
        super().__init__()
        if not std > 0:
            raise HQDMError(f"a blur needs a standard deviation above 0, got {std}")
        reach = max(1, round(BLUR_REACH * std))
        offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
        self.register_buffer("kernel", (-(offsets**2) / (2 * std**2)).softmax(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Blur images `(B, C, H, W)` or `(C, H, W)` along rows, then columns; same shape."""
        reach, channels = len(self.kernel) // 2, x.shape[-3]
        row = self.kernel.to(x).expand(channels, 1, 1, -1)
        padded = F.pad(x, (reach,) * 4, mode="replicate")
        return F.conv2d(F.conv2d(padded, row, groups=channels), row.mT, groups=channels)
