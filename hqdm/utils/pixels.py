"""Conversion of pixels between floats in [-1, 1], for networks, and uint8, for files."""

import torch
from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """Map uint8 pixels 0..255 to float32 in [-1, 1]: `x / 127.5 - 1`, any shape."""
    return images.to(torch.float32) / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """Map pixels in [-1, 1] to uint8 0..255, any shape: clamped, then rounded.

    It inverts `to_float` exactly. Pixels in half precision are converted to float32 before.
    """
    images = images.to(torch.promote_types(images.dtype, torch.float32))
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
