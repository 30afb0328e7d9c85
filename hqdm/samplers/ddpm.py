r"""Ancestral sampling (Ho et al. 2020): each step draws from the posterior.

With alpha_ts = alpha_t / alpha_s and sigma_ts^2 = sigma_t^2 - alpha_ts^2 sigma_s^2,

    q(x_s | x_t, x_0) = N( (alpha_ts sigma_s^2 x_t + alpha_s sigma_ts^2 x_0) / sigma_t^2,
                           sigma_ts^2 sigma_s^2 / sigma_t^2 ).
"""

from torch import Tensor

from hqdm.samplers.base import Evaluator, Sampler
from hqdm.utils.seeds import ImageNoise


class DDPM(Sampler):
    """Denoising diffusion probabilistic model sampling; stochastic, 1,000 steps by default."""

    name = "ddpm"
    default_steps = 1000
    reversible = False

    def step(
        self, denoise: Evaluator, x: Tensor, t: Tensor, s: Tensor, state: None, noise: ImageNoise
    ) -> tuple[Tensor, None]:
        """See `Sampler.step`; the last step returns the posterior mean, which is x_0."""
        alpha_t, sigma_t = denoise.schedule(t)
        alpha_s, sigma_s = denoise.schedule(s)
        alpha_ts = alpha_t / alpha_s
        var_ts = sigma_t**2 - (alpha_ts * sigma_s) ** 2
        x0 = denoise(x, t).x0
        if s == 0:
            return x0, None
        mean = (alpha_ts * sigma_s**2 * x + alpha_s * var_ts * x0) / sigma_t**2
        std = var_ts.sqrt() * sigma_s / sigma_t
        return mean + std * noise.draw_like(x), None
