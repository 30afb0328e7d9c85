r"""Denoisers in closed form, for data whose distribution is known.

For x_0 ~ N(mean, variance) in every coordinate, x_t ~ N(alpha mean, alpha^2 variance + sigma^2) and

    E[x_0 | x_t] = mean + alpha variance / (alpha^2 variance + sigma^2) (x_t - alpha mean).

The probability-flow ODE keeps standardised coordinates: (x_t - alpha mean) / sqrt(alpha^2
variance + sigma^2) is constant along it. Samplers are tested against both facts.
"""

from dataclasses import dataclass

from torch import Tensor

from hqdm.denoiser import Prediction, expand
from hqdm.schedule import Schedule


@dataclass
class GaussianDenoiser:
    """The exact denoiser of Gaussian data.

    Attributes:
        mean: Mean of the data, broadcastable to images.
        variance: Variance of the data, broadcastable to images.
        schedule: The noise schedule.
    """

    mean: Tensor
    variance: Tensor
    schedule: Schedule

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Prediction:
        """See `hqdm.denoiser.Denoising`."""
        alpha, sigma = (expand(level, x_t) for level in self.schedule(t))
        marginal = alpha**2 * self.variance + sigma**2
        centred = x_t - alpha * self.mean
        x0 = self.mean + alpha * self.variance / marginal * centred
        return Prediction(x0, sigma / marginal * centred)

    def flow(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Where the probability-flow ODE takes `x_t` from time `t` to time `s`, exactly."""
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.schedule(t), self.schedule(s)
        std_t = (alpha_t**2 * self.variance + sigma_t**2).sqrt()
        std_s = (alpha_s**2 * self.variance + sigma_s**2).sqrt()
        return alpha_s * self.mean + std_s * (x_t - alpha_t * self.mean) / std_t
