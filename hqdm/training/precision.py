"""The precisions of Lightning's trainer, and the dtypes of the weights that are trained in them.

    64-true              float64
    32-true              float32
    bf16-mixed           float32; operations of the network in bfloat16 by autocast
    16-mixed             float32; operations of the network in float16, with a scaled loss
    bf16-true            bfloat16

The others are refused: Adam's squared gradients vanish in float16 without a scaled loss, and
Transformer Engine replaces layers of the network by its own.
"""

import torch
from torch import nn

from hqdm.utils.errors import HQDMError

WEIGHTS = {
    "64-true": torch.float64,
    "32-true": torch.float32,
    "bf16-mixed": torch.float32,
    "16-mixed": torch.float32,
    "bf16-true": torch.bfloat16,
}
"""The dtype of the weights by Lightning's name of the precision."""

SHORT = {"64": "64-true", "32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}
"""Lightning's short names."""

REFUSED = {
    "16-true": "in float16 Adam's squared gradients vanish",
    "transformer-engine": "Transformer Engine replaces layers of the network",
    "transformer-engine-float16": "Transformer Engine replaces layers of the network",
}
"""Precisions in which models cannot be trained, with the reason."""


def weights_dtype(precision: str | int | None) -> torch.dtype:
    """The dtype of the weights in a precision.

    Args:
        precision: A value of the trainer's `precision`; None is "32-true".

    Raises:
        HQDMError: If a model cannot be trained in it.
    """
    given = "32-true" if precision is None else str(precision)
    name = SHORT.get(given, given)
    if name not in WEIGHTS:
        reason = f" ({REFUSED[name]})" if name in REFUSED else ""
        raise HQDMError(
            f"trainer.precision {name} cannot be used{reason}: expected one of {', '.join(WEIGHTS)}"
        )
    return WEIGHTS[name]


def set_precision(module: nn.Module, precision: str | int | None) -> None:
    """Convert a module to the dtype of the weights, before any weights are loaded into it.

    Lightning converts it later, when the digits of weights that were loaded are lost. The dtype of
    a module is kept in precisions that convert no weights.

    Raises:
        HQDMError: If the module cannot be trained in the precision.
    """
    dtype = weights_dtype(precision)
    if dtype != torch.float32:
        module.to(dtype)
