r"""Exponential moving average (EMA) of the weights.

    average <- decay average + (1 - decay) weights

at every `every`-th step after step `start`; up to step `start` the average is a copy of the
weights.
"""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hqdm.utils.checks import finite, whole
from hqdm.utils.errors import HQDMError


class EMA(AveragedModel):
    """The averaged weights of a module, held by a copy of the module (`ema.module`).

    Args:
        module: The module to average.
        decay: Decay at each update, in [0, 1).
        every: Steps between updates.
        start: The step up to which the average is a copy of the weights.

    Raises:
        HQDMError: If a number is out of range.
    """

    def __init__(
        self, module: nn.Module, decay: float = 0.995, every: int = 10, start: int = 100
    ) -> None:
        if not 0 <= finite("ema_decay", decay) < 1:
            raise HQDMError(f"ema_decay needs a number in [0, 1), got {decay}")
        whole("ema_every", every, 1)
        whole("ema_start", start)
        super().__init__(module, multi_avg_fn=partial(_move_average, decay=decay))
        self.requires_grad_(False)
        self.decay, self.every, self.start = decay, every, start

    def after_step(self, module: nn.Module, step: int) -> None:
        """Update the averages if an update is due.

        Args:
            module: The trained module.
            step: Optimiser steps so far, including this one.
        """
        if step <= self.start:
            self.n_averaged.zero_()
        if step <= self.start or step % self.every == 0:
            self.update_parameters(module)


def _move_average(
    averages: Sequence[Tensor], weights: Sequence[Tensor], updates: object, decay: float
) -> None:
    """Set each average to `decay * average + (1 - decay) * weight`.

    Unlike torch's own function, which is a closure, it can be pickled.
    """
    for average, weight in zip(averages, weights, strict=True):
        average.lerp_(weight, 1 - decay)
