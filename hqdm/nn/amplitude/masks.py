"""The inputs of labels: a mask of convolutions, a number of dense layers.

Source: Koelle et al., arXiv 2401.07049.
"""

import torch
from torch import Tensor

from hqdm.utils.memory import to_device

AMPLITUDE, ROWS = 0.1, 20
"""The amplitude of the mask, and the rows in which its phase grows by 1."""


def label_mask(y: Tensor, n_classes: int, like: Tensor) -> Tensor:
    """The mask of a label, 0.1 sin(y + row / 20), that is added to the pixels of an image.

    Args:
        y: Class labels `(B,)`.
        n_classes: Number of class labels; this label, "no label", has the mask 0.
        like: Images `(B, C, H, W)`.

    Returns:
        The masks `(B, 1, H, 1)` in the dtype of the images.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    rows = to_device(torch.arange(like.shape[-2], dtype=dtype), like.device) / ROWS
    mask = AMPLITUDE * torch.sin(y.to(dtype)[:, None] + rows)
    return mask.masked_fill((y == n_classes)[:, None], 0).to(like.dtype)[:, None, :, None]


def label_number(y: Tensor | None, n_classes: int, like: Tensor) -> Tensor:
    """The number of a label, y / (n_classes - 1), that is one more input of a dense layer.

    Args:
        y: Class labels `(B,)`; None is "no label" for all.
        n_classes: Number of class labels; this label, "no label", has the number -1.
        like: The other inputs `(B, n)`.

    Returns:
        The numbers `(B, 1)` in the dtype of the other inputs.
    """
    if y is None:
        return like.new_full((len(like), 1), -1)
    number = y.to(like.dtype) / max(1, n_classes - 1)
    return number.masked_fill(y == n_classes, -1)[:, None]
