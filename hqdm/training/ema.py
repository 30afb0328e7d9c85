r"""Exponential moving average (EMA) of the weights.

    average <- beta average + (1 - beta) weights

at every `every`-th step after step `start`; up to step `start` the average is a copy of the
weights. Either beta is a constant, the decay, so that the average reaches back over a constant
number of updates, or it follows the run (power-function EMA, Karras et al. 2024, arXiv 2312.02696,
section 3.1): from the update at step s to that at step t

    beta_t = (s / t)^(gamma + 1),   with every = 1:   beta_t = (1 - 1 / t)^(gamma + 1),

which weights the weights of step tau proportionally to tau^gamma. The relative width of this
profile, its standard deviation divided by t, is the same at every step:

    sigma_rel = sqrt((gamma + 1) / ((gamma + 2)^2 (gamma + 3))).

The average is in float32 if the weights are in half precision, where a change of 1 - beta of the
difference would vanish in rounding.
"""

from collections.abc import Callable
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hqdm.utils.checks import finite, whole
from hqdm.utils.errors import HQDMError

DECAY = 0.995
MIN_SIGMA_REL = 1e-6  # an average of the last step
MAX_SIGMA_REL = 12**-0.5
"""The relative width of the mean of all steps, gamma = 0."""


class EMA(AveragedModel):
    """The averaged weights of a module, held by a copy of the module (`ema.module`).

    Args:
        module: The module to average.
        decay: Constant decay at each update, in [0, 1); None is 0.995. Excludes `sigma_rel`.
        every: Steps between updates.
        start: The step up to which the average is a copy of the weights.
        sigma_rel: Relative width of an average that follows the run, in [1e-6, 0.288]; None is a
            constant decay.

    Raises:
        HQDMError: If a number is out of range, or `decay` and `sigma_rel` are given.
    """

    def __init__(
        self,
        module: nn.Module,
        decay: float | None = None,
        every: int = 10,
        start: int = 100,
        sigma_rel: float | None = None,
    ) -> None:
        if decay is not None and sigma_rel is not None:
            raise HQDMError(
                "ema_decay is of an average with constant decay, ema_sigma_rel of one that follows "
                f"the run, got {decay} and {sigma_rel}: set one of them to null"
            )
        if decay is None and sigma_rel is None:
            decay = DECAY
        if decay is not None and not 0 <= finite("ema_decay", decay) < 1:
            raise HQDMError(f"ema_decay needs a number in [0, 1), got {decay}")
        whole("ema_every", every, 1)
        whole("ema_start", start)
        self.exponent = None if sigma_rel is None else exponent(sigma_rel)
        super().__init__(module)
        self.requires_grad_(False)
        for tensor in (*self.module.parameters(), *self.module.buffers()):
            tensor.data = tensor.data.to(_wide(tensor.dtype))
        self.decay, self.every, self.start, self.sigma_rel = decay, every, start, sigma_rel

    def decay_at(self, step: int) -> float:
        """The factor beta of the average in the update at a step after `start`.

        It depends on the step only, so that a resumed run has the average of one in one piece.
        """
        if self.decay is not None:
            return self.decay
        assert self.exponent is not None
        last = max(self.start, step - self.every)
        return float((last / step) ** (self.exponent + 1))

    def after_step(self, module: nn.Module, step: int) -> None:
        """Update the averages if an update is due.

        Args:
            module: The trained module.
            step: Optimiser steps so far, including this one.
        """
        if step <= self.start:
            self.n_averaged.zero_()
            self.update_parameters(module)
        elif step % self.every == 0:
            self.update_parameters(module, self.decay_at(step))

    @torch.no_grad()
    def update_parameters(self, model: nn.Module, decay: float = 0.0) -> None:
        """Set each average to `decay * average + (1 - decay) * weight`; the first is a copy.

        Buffers are copied.
        """
        averages = list(self.module.parameters())
        first = self.n_averaged == 0  # a tensor, since reading it would wait for a GPU
        shares = {
            dtype: first.to(dtype).clamp_min(1 - decay) for dtype in {p.dtype for p in averages}
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


def exponent(sigma_rel: float) -> float:
    """The exponent gamma >= 0 of the profile of a relative width.

    It is the largest root of gamma^3 + 7 gamma^2 + (16 - sigma_rel^-2) gamma + 12 - sigma_rel^-2.

    Raises:
        HQDMError: If the width is not in [1e-6, 0.288].
    """
    if not MIN_SIGMA_REL <= finite("ema_sigma_rel", sigma_rel) <= MAX_SIGMA_REL:
        raise HQDMError(
            f"ema_sigma_rel needs a number from {MIN_SIGMA_REL} to 12^(-1/2), such as 0.1, "
            f"got {sigma_rel}"
        )
    inverse = sigma_rel**-2
    return max(0.0, float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max()))


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype of the average of a tensor: not in half precision."""
    return torch.promote_types(dtype, torch.float32) if dtype.is_floating_point else dtype
