r"""Exponential moving average (EMA) of the weights.

    average <- decay average + (1 - decay) weights

at every `every`-th step after step `start`; up to step `start` the average is a copy of the
weights.

The average is in float32 if the weights are in half precision, where a change of 1 - decay of the
difference would vanish in rounding.
"""

from collections.abc import Callable
from typing import Self

import torch
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
        super().__init__(module)
        self.requires_grad_(False)
        for tensor in (*self.module.parameters(), *self.module.buffers()):
            tensor.data = tensor.data.to(_wide(tensor.dtype))
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

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Set each average to `decay * average + (1 - decay) * weight`; the first is a copy.

        Buffers are copied.
        """
        averages = list(self.module.parameters())
        first = self.n_averaged == 0  # a tensor, since reading it would wait for a GPU
        shares = {
            dtype: first.to(dtype).clamp_min(1 - self.decay)
            for dtype in {p.dtype for p in averages}
        }
        for average, weight in zip(averages, model.parameters(), strict=True):
            average.lerp_(weight.detach().to(average), shares[average.dtype])
        for own, value in zip(self.module.buffers(), model.buffers(), strict=True):
            own.copy_(value)
        self.n_averaged += 1

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Apply a conversion, such as `to` of a module that contains this one, except to half."""

        def converted(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            if result.dtype == _wide(result.dtype):
                return result
            return tensor.to(result.device, _wide(result.dtype))  # with the digits that `fn` drops

        return super()._apply(converted, recurse)


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype of the average of a tensor: not in half precision."""
    return torch.promote_types(dtype, torch.float32) if dtype.is_floating_point else dtype
