r"""Runge-Kutta methods on the probability-flow ODE in lambda, as references.

    dx/dlambda = sigma^2 x - sigma eps(x, lambda)        (alpha^2 + sigma^2 = 1)

Unlike exponential integrators, they approximate the linear part as well.
"""

from torch import Tensor

from hqdm.samplers.base import Evaluator, SingleStep
from hqdm.samplers.exponential import NoiseLevel, level_of


def slope(denoise: Evaluator, x: Tensor, level: NoiseLevel) -> Tensor:
    """dx/dlambda."""
    return level.sigma**2 * x - level.sigma * denoise(x, level.t).eps


class Heun(SingleStep):
    """Heun's method: order 2, two evaluations per step."""

    name = "heun"
    default_steps = 20
    variance_preserving_only = True
    evaluations_per_step = 2

    def advance(self, denoise: Evaluator, x: Tensor, a: NoiseLevel, b: NoiseLevel) -> Tensor:
        """See `SingleStep.advance`."""
        h = b.lam - a.lam
        first = slope(denoise, x, a)
        return x + h / 2 * (first + slope(denoise, x + h * first, b))


class RK4(SingleStep):
    """The classical Runge-Kutta method: order 4, four evaluations per step."""

    name = "rk4"
    default_steps = 10
    variance_preserving_only = True
    evaluations_per_step = 4

    def advance(self, denoise: Evaluator, x: Tensor, a: NoiseLevel, b: NoiseLevel) -> Tensor:
        """See `SingleStep.advance`."""
        h = b.lam - a.lam
        middle = level_of(denoise.schedule, a.lam + h / 2)
        first = slope(denoise, x, a)
        second = slope(denoise, x + h / 2 * first, middle)
        third = slope(denoise, x + h / 2 * second, middle)
        fourth = slope(denoise, x + h * third, b)
        return x + h / 6 * (first + 2 * second + 2 * third + fourth)
