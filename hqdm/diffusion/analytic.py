r"""Denoisers in closed form, for data whose distribution is known.

For x_0 ~ N(mean, variance) in every coordinate, x_t ~ N(alpha mean, alpha^2 variance + sigma^2) and

    E[x_0 | x_t] = mean + alpha variance / (alpha^2 variance + sigma^2) (x_t - alpha mean).

The probability-flow ODE preserves standardised coordinates: (x_t - alpha mean) / sqrt(alpha^2
variance + sigma^2) is constant along its solutions. Both formulas serve as references in tests of
samplers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hqdm.diffusion.objective import Prediction, expand
from hqdm.diffusion.schedule import Schedule

BRACKET, BISECTIONS = 20.0, 80  # 20 / 2^80 is below the precision of float64


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
        """See `hqdm.diffusion.denoiser.Denoising`."""
        alpha, sigma = (expand(level, x_t) for level in self.schedule(t))
        marginal = alpha**2 * self.variance + sigma**2
        centred = x_t - alpha * self.mean
        x0 = self.mean + alpha * self.variance / marginal * centred
        return Prediction(x0, sigma / marginal * centred)

    def flow(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """The exact solution at time `s` of the probability-flow ODE from `x_t` at time `t`."""
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.schedule(t), self.schedule(s)
        std_t = (alpha_t**2 * self.variance + sigma_t**2).sqrt()
        std_s = (alpha_s**2 * self.variance + sigma_s**2).sqrt()
        return alpha_s * self.mean + std_s * (x_t - alpha_t * self.mean) / std_t


@dataclass
class MixtureDenoiser:
    r"""The exact denoiser of data with independent coordinates from a mixture of Gaussians.

    With x_0 ~ sum_k w_k N(m_k, v_k), x_t is a mixture of N(alpha m_k, alpha^2 v_k + sigma^2), and
    E[x_0 | x_t] is the mean of the components' posterior means, weighted by their posterior
    probabilities. In one dimension the flow preserves the distribution function:
    F_s(x_s) = F_t(x_t).

    Attributes:
        weights: Weights w of the components, `(K,)`, with sum 1.
        means: Means m, `(K,)`.
        variances: Variances v, `(K,)`.
        schedule: The noise schedule.
    """

    weights: Tensor
    means: Tensor
    variances: Tensor
    schedule: Schedule

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Prediction:
        """See `hqdm.diffusion.denoiser.Denoising`."""
        alpha, sigma = (expand(level, x_t).unsqueeze(-1) for level in self.schedule(t))
        marginal = alpha**2 * self.variances + sigma**2
        centred = x_t.unsqueeze(-1) - alpha * self.means
        logits = self.weights.log() - marginal.log() / 2 - centred**2 / (2 * marginal)
        posterior = logits.softmax(-1)
        eps = (posterior * sigma / marginal * centred).sum(-1)
        x0 = (posterior * (self.means + alpha * self.variances / marginal * centred)).sum(-1)
        return Prediction(x0, eps)

    def cdf(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The distribution function of x_t at time `t` `()`."""
        alpha, sigma = self.schedule(t)
        std = (alpha**2 * self.variances + sigma**2).sqrt()
        z = (x_t.unsqueeze(-1) - alpha * self.means) / std
        return (self.weights * torch.special.ndtr(z)).sum(-1)

    def flow(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """The solution at time `s` of the probability-flow ODE from `x_t` at `t`, by bisection."""
        target = self.cdf(x_t, t)
        low, high = torch.full_like(x_t, -BRACKET), torch.full_like(x_t, BRACKET)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            below = self.cdf(middle, s) < target
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2
