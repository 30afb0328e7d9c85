r"""Denoising diffusion implicit models (Song, Meng and Ermon 2021), eq. 12.

    x_s = alpha_s x_0 + sqrt(sigma_s^2 - std^2) eps + std z,
    std = eta sigma_s / sigma_t sqrt(1 - alpha_t^2 / alpha_s^2).

eta = 0 is deterministic and a first-order solver of the probability-flow ODE; eta = 1 is DDPM.
"""

from collections.abc import Sequence

from torch import Tensor

from hqdm.samplers.base import Evaluator, Sampler
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise


class DDIM(Sampler):
    """DDIM sampling; deterministic by default.

    Args:
        steps: Number of steps; 50 by default.
        eta: Fraction of the standard deviation of DDPM's noise, in [0, 1].
        grid: See `Sampler`.

    Raises:
        HQDMError: If eta is outside [0, 1]; otherwise as for `Sampler`.
    """

    name = "ddim"
    default_steps = 50

    def __init__(
        self,
        steps: int | None = None,
        eta: float = 0.0,
        grid: str | Sequence[float] | None = None,
    ) -> None:
        super().__init__(steps, grid)
        if not 0 <= eta <= 1:
            raise HQDMError(f"DDIM needs eta in [0, 1], got {eta}")
        self.eta = eta
        self.reversible = eta == 0

    def step(
        self, denoise: Evaluator, x: Tensor, t: Tensor, s: Tensor, state: None, noise: ImageNoise
    ) -> tuple[Tensor, None]:
        """See `Sampler.step`."""
        alpha_t, sigma_t = denoise.schedule(t)
        alpha_s, sigma_s = denoise.schedule(s)
        x0, eps = denoise(x, t)
        if self.eta == 0:
            return alpha_s * x0 + sigma_s * eps, None
        std = self.eta * sigma_s / sigma_t * (1 - (alpha_t / alpha_s) ** 2).sqrt()
        mean = alpha_s * x0 + (sigma_s**2 - std**2).clamp_min(0).sqrt() * eps
        return mean + std * noise.draw_like(x), None
