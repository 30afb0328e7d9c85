r"""RePaint (Lugmayr et al. 2022): go back to the noise and repeat each step.

Known pixels that are put into every prediction (`hqdm.guidance.replacement`) are seen by the other
pixels one step late. After a step from t to s the images are therefore noised again,

    x_t = alpha_ts x_s + sqrt(sigma_t^2 - alpha_ts^2 sigma_s^2) z,     alpha_ts = alpha_t / alpha_s,

and the step repeated, so that both have time to agree at each level of noise.
"""

from typing import Any

from torch import Tensor

from hqdm.diffusion.schedule import Schedule
from hqdm.samplers.base import Evaluator, Sampler
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise


class RePaint(Sampler):
    """A sampler that takes each of another sampler's steps several times; the one to t = 0 once.

    Args:
        sampler: The other sampler.
        resamplings: How often each step is taken; 1 is the other sampler itself.

    Raises:
        HQDMError: If there are no resamplings.
    """

    def __init__(self, sampler: Sampler, resamplings: int = 10) -> None:
        super().__init__(sampler.steps, sampler.times)
        if resamplings < 1:
            raise HQDMError(f"RePaint takes each step 1 time or more, got {resamplings}")
        self.sampler = sampler
        self.resamplings = resamplings
        self.name = f"repaint-{sampler.name}"
        self.evaluations_per_step = resamplings * sampler.evaluations_per_step
        self.reversible = resamplings == 1 and sampler.reversible
        self.variance_preserving_only = sampler.variance_preserving_only

    @property
    def settings(self) -> dict[str, Any]:
        """See `Sampler.settings`."""
        return {**self.sampler.settings, "resamplings": self.resamplings}

    def grid(self, schedule: Schedule, t_start: float, t_end: float) -> Tensor:
        """The other sampler's."""
        return self.sampler.grid(schedule, t_start, t_end)

    def init(self, x: Tensor) -> Any:
        """The other sampler's."""
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
            # What a multistep sampler remembers is of another path than the one that begins here.
            x_s, after = self.sampler.step(denoise, x, t, s, self.init(x), noise)
        return x_s, after


def noise_again(schedule: Schedule, x_s: Tensor, t: Tensor, s: Tensor, noise: ImageNoise) -> Tensor:
    """Images at time `s` brought back to the later time `t`, a draw from q(x_t | x_s)."""
    alpha_t, sigma_t = schedule(t)
    alpha_s, sigma_s = schedule(s)
    alpha_ts = alpha_t / alpha_s
    std = (sigma_t**2 - (alpha_ts * sigma_s) ** 2).sqrt()
    return alpha_ts * x_s + std * noise.draw_like(x_s)
