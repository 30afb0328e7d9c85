r"""Restart sampling (Xu et al. 2023): a deterministic solver repeats an interval from new noise.

At t_min the images are noised again to t_max,

    x_max = alpha x_min + sqrt(sigma_max^2 - alpha^2 sigma_min^2) z,  alpha = alpha_max / alpha_min,

and the solver takes its steps from t_max to t_min once more. The noise contracts the errors of all
steps before, while each step remains one of the solver.
"""

from typing import Any

import torch
from torch import Tensor

from hqdm.diffusion.denoiser import Denoising
from hqdm.diffusion.schedule import Schedule
from hqdm.samplers.base import Evaluator, Sampler
from hqdm.samplers.repaint import noise_again
from hqdm.utils.checks import finite, whole
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise

MAX_RESTARTS = 1000  # the paper has 1 to 20


class Restart(Sampler):
    """Repeats the steps of another sampler between two times, each time from new noise.

    The ends of the interval are the nearest times of the other sampler's grid. The times of a
    result rise where images are noised again.

    Args:
        sampler: The other sampler, deterministic and with fixed steps.
        t_max: The time to which images are noised.
        t_min: The time at which they are noised, in (0, `t_max`).
        restarts: Number of repetitions; 0 is equivalent to the other sampler.

    Raises:
        HQDMError: If the sampler is stochastic or adaptive, the times are not in order within
            (0, 1], or `restarts` is not in [0, `MAX_RESTARTS`].
    """

    def __init__(self, sampler: Sampler, t_max: float, t_min: float, restarts: int = 1) -> None:
        super().__init__(sampler.steps, sampler.times)
        if not sampler.reversible:
            raise HQDMError(
                f"Restart needs a deterministic solver with fixed steps, got {sampler.name}: use "
                "one such as ddim, dpm or unipc"
            )
        if not 0 < finite("t_min", t_min) < finite("t_max", t_max) <= 1:
            raise HQDMError(f"Restart needs 0 < t_min < t_max <= 1, got {t_min} and {t_max}")
        self.sampler = sampler
        self.t_max = t_max
        self.t_min = t_min
        self.restarts = whole("restarts", restarts, 0, MAX_RESTARTS)
        self.name = f"restart-{sampler.name}"
        self.reversible = False
        self.variance_preserving_only = sampler.variance_preserving_only

    @property
    def settings(self) -> dict[str, Any]:
        """See `Sampler.settings`."""
        own = {"t_max": self.t_max, "t_min": self.t_min, "restarts": self.restarts}
        return {**self.sampler.settings, **own}

    def grid(self, schedule: Schedule, t_start: float, t_end: float) -> Tensor:
        """The grid of the other sampler, in which the interval stands again for each restart.

        Raises:
            HQDMError: If the interval has no step before the last time of the grid.
        """
        times = self.sampler.grid(schedule, t_start, t_end)
        first, last = (int((times - t).abs().argmin()) for t in (self.t_max, self.t_min))
        if not first < last < len(times) - 1:
            raise HQDMError(
                f"the grid has no step from t = {self.t_max:g} to {self.t_min:g} that another one "
                "follows: take more steps or a longer interval"
            )
        again = [times[first : last + 1]] * self.restarts
        return torch.cat([times[: last + 1], *again, times[last + 1 :]])

    def evaluator(self, denoiser: Denoising, y: Tensor | None) -> Evaluator:
        """The denoiser as the other sampler calls it."""
        return self.sampler.evaluator(denoiser, y)

    def init(self, x: Tensor) -> Any:
        """The initial state of the other sampler."""
        return self.sampler.init(x)

    def step(
        self, denoise: Evaluator, x: Tensor, t: Tensor, s: Tensor, state: Any, noise: ImageNoise
    ) -> tuple[Tensor, Any]:
        """See `Sampler.step`; to a later time `s`, the images are noised."""
        if s > t:
            x = noise_again(denoise.schedule, x, s, t, noise)
            # The history of a multistep sampler belongs to the path before the new noise.
            return x, self.init(x)
        return self.sampler.step(denoise, x, t, s, state, noise)
