"""Exponential moving average (EMA) of the weights."""

from collections.abc import Sequence

from torch import Tensor


def _move_average(
    averages: Sequence[Tensor], weights: Sequence[Tensor], updates: object, decay: float
) -> None:
    """Set each average to `decay * average + (1 - decay) * weight`; unlike torch's, it pickles."""
    for average, weight in zip(averages, weights, strict=True):
        average.lerp_(weight, 1 - decay)
