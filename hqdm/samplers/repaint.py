r"""RePaint (Lugmayr et al. 2022): each step is repeated after noising the images again.

Known pixels that replace those of every prediction (`hqdm.guidance.replacement`) affect the other
pixels one step later. After a step from t to s the images are therefore noised again,

    x_t = alpha_ts x_s + sqrt(sigma_t^2 - alpha_ts^2 sigma_s^2) z,     alpha_ts = alpha_t / alpha_s,

and the step is repeated, which harmonises both at each noise level.
"""

from typing import Any

from torch import Tensor

from hqdm.diffusion.schedule import Schedule
from hqdm.samplers.base import Evaluator, Sampler
from hqdm.utils.checks import whole
from hqdm.utils.seeds import ImageNoise

MAX_RESAMPLINGS = 1000  # the paper has 10


class RePaint(Sampler):
    """Repeats each step of another sampler, except the step to t = 0.

    Args:
        sampler: The other sampler.
        resamplings: Number of times that each step is taken; 1 is equivalent to the other sampler.

    Raises:
        HQDMError: If `resamplings` is not in [1, `MAX_RESAMPLINGS`].
    """

    def __init__(self, sampler: Sampler, resamplings: int = 10) -> None:
        super().__init__(sampler.steps, sampler.times)
        self.sampler = sampler
        self.resamplings = resamplings = whole("resamplings", resamplings, 1, MAX_RESAMPLINGS)
        self.name = f"repaint-{sampler.name}"
        self.evaluations_per_step = resamplings * sampler.evaluations_per_step
        self.reversible = resamplings == 1 and sampler.reversible
        self.variance_preserving_only = sampler.variance_preserving_only

    @property
    def settings(self) -> dict[str, Any]:
        """See `Sampler.settings`."""
        return {**self.sampler.settings, "resamplings": self.resamplings}

    def grid(self, schedule: Schedule, t_start: float, t_end: float) -> Tensor:
        """The grid of the other sampler."""
        return self.sampler.grid(schedule, t_start, t_end)

    def init(self, x: Tensor) -> Any:
        """The initial state of the other sampler."""
        return self.sampler.init(x)

    def step(
        self, denoise: Evaluator, x: Tensor, t: Tensor, s: Tensor, state: Any, noise: ImageNoise
    ) -> tuple[Tensor, Any]:
        """See `Sampler.step`."""
        x_s, after = self.sampler.step(denoise, x, t, s, state, noise)
        if s == 0:
            return x_s, after
        for _ in range(self.resamplings - 1):
            x = noise_again(denoise.schedule, x_s, t, s, noise)
            # The history of a multistep sampler belongs to the path before the new noise.
            x_s, after = self.sampler.step(denoise, x, t, s, self.init(x), noise)
        return x_s, after


def noise_again(schedule: Schedule, x_s: Tensor, t: Tensor, s: Tensor, noise: ImageNoise) -> Tensor:
    """A draw from q(x_t | x_s): images at time `s` noised to the later time `t`."""
    alpha_t, sigma_t = schedule(t)
    alpha_s, sigma_s = schedule(s)
    alpha_ts = alpha_t / alpha_s
    std = (sigma_t**2 - (alpha_ts * sigma_s) ** 2).sqrt()
    return alpha_ts * x_s + std * noise.draw_like(x_s)
