"""The layout of the compiled kernels: lane l of group g is sample `L g + l` of a batch.

    (B, C, H, W) -> (G, C, H, W, L),        G = ceil(B / L)

The last group is filled up with zeros.
"""

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from hqdm.simulators.compiled.lanes import n_lanes

# Names of the kernels in messages.
VALUE, GRADIENT = "kernels of the U-Net", "gradient kernels of the U-Net"


def to_lanes(x: Tensor) -> Tensor:
    """From `(B, ...)` to `(G, ..., L)`."""
    lanes = n_lanes(x.element_size())
    missing = -len(x) % lanes
    if missing:
        x = F.pad(x, (0, 0) * (x.ndim - 1) + (0, missing))
    return x.unflatten(0, (-1, lanes)).movedim(1, -1).contiguous()


def from_lanes(x: Tensor, n: int) -> Tensor:
    """From `(G, ..., L)` to `(n, ...)`."""
    return x.movedim(-1, 1).flatten(0, 1)[:n].contiguous()


def flat(x: Tensor) -> np.ndarray:
    """The numbers of a tensor as a flat array, for kernels."""
    return x.detach().contiguous().view(-1).numpy()


def check_shapes(operation: str, **shapes: tuple[Tensor, tuple[int, ...]]) -> None:
    """Refuse tensors beyond whose ends kernels would read.

    Args:
        operation: The name of the operation.
        **shapes: For each tensor its expected shape.

    Raises:
        RuntimeError: If a tensor has another shape, as torch raises.
    """
    for name, (tensor, expected) in shapes.items():
        if tuple(tensor.shape) != tuple(expected):
            raise RuntimeError(
                f"{operation}: expected {name} of shape {tuple(expected)}, "
                f"got {tuple(tensor.shape)}"
            )
