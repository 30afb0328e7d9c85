r"""Functions of exponential integrators: noise levels, and the exact linear part of a step.

In lambda = log(alpha / sigma), with h = lambda_s - lambda_t, the flow from t to s is (Lu et al.
2022)

    x_s = alpha_s / alpha_t x_t - alpha_s int exp(-lambda) eps dlambda
        = sigma_s / sigma_t x_t + alpha_s int exp(lambda) x_0 dlambda    over [lambda_t, lambda_s],

and the coefficients of x and of a constant eps or x_0 are exact.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hqdm.diffusion.schedule import Schedule

SMALL, TERMS = 0.5, 16  # the first omitted term of the series is at most 0.5^16 / 17! = 4e-20


@dataclass(frozen=True)
class NoiseLevel:
    """Signal, noise and half log-SNR at a time, scalars in float64.

    Attributes:
        t: The time.
        alpha: Signal level.
        sigma: Noise level.
        lam: log(alpha / sigma); infinite at t = 0.
    """

    t: Tensor
    alpha: Tensor
    sigma: Tensor
    lam: Tensor

    @property
    def is_data(self) -> bool:
        """True if there is no noise, so that lambda is infinite."""
        return bool(self.sigma == 0)


def level_at(schedule: Schedule, t: Tensor) -> NoiseLevel:
    """The noise level at a time."""
    alpha, sigma = schedule(t)
    return NoiseLevel(t, alpha, sigma, schedule.lam(t))


def level_of(schedule: Schedule, lam: Tensor) -> NoiseLevel:
    """The noise level at a half log-SNR."""
    t = schedule.inverse(lam)
    alpha, sigma = schedule(t)
    return NoiseLevel(t, alpha, sigma, lam)


def transfer(x: Tensor, eps: Tensor, a: NoiseLevel, b: NoiseLevel) -> Tensor:
    """The flow from a to b for constant eps: a step of DDIM, of first order.

    sigma_b (e^h - 1) is written without lambda, so that it is also valid for b = data.
    """
    return b.alpha / a.alpha * x - (b.alpha * a.sigma / a.alpha - b.sigma) * eps


def phi(n: int, h: Tensor) -> Tensor:
    """phi_n(h) = (phi_{n-1}(h) - 1 / (n-1)!) / h, phi_0 = exp; the power series for small h."""
    series = torch.stack([h**k / math.factorial(k + n) for k in range(TERMS)]).sum(0)
    small = h.abs() < SMALL
    h = torch.where(small, 1, h)
    value = h.exp()
    for k in range(n):
        value = (value - 1 / math.factorial(k)) / h
    return torch.where(small, series, value)
