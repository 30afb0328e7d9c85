r"""SA-Solver (Xue et al. 2023): stochastic Adams methods, predictor and corrector, in x_0.

The reverse-time SDE with tau times the noise of the usual one has the same marginals for every tau;
tau = 0 is the flow. With c = 1 + tau^2 and h = lambda_s - lambda_t, its solution is

    x_s = sigma_s / sigma_t e^(-tau^2 h) x_t + alpha_s int c e^(-c (lambda_s - lambda)) x_0 dlambda
          + sigma_s sqrt(1 - e^(-2 tau^2 h)) z    over [lambda_t, lambda_s],

and x_0 is replaced by its polynomial in lambda. The moments of the powers of theta =
(lambda - lambda_t) / h are alpha_s c h k! phi_{k+1}(-c h), see `hqdm.samplers.exponential`.

For tau = 0 the order of a predictor with p nodes and a corrector with q is min(p + 1, q), and p
without a corrector; p = 3 and q = 4 are UniPC-3 in x_0, which replaces the weight of a single
difference by 1 / 2. For tau > 0 the variance of Gaussian data has an error of order 2, and of order
1 for p = 1 without a corrector, which is ancestral sampling at tau = 1.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hqdm.diffusion.schedule import Schedule
from hqdm.samplers.exponential import NoiseLevel, phi
from hqdm.samplers.multistep.linear import Coefficients, LinearMultistep, interpolation_weights
from hqdm.samplers.registry import register_sampler
from hqdm.utils.checks import finite, whole
from hqdm.utils.errors import HQDMError

MAX_CORRECTOR = 4


@register_sampler("sa-solver", own=("order", "corrector", "tau"))
class SASolver(LinearMultistep):
    """SA-Solver: one evaluation per step.

    Args:
        steps: Number of steps; 10 by default.
        grid: See `Sampler`.
        order: The number of nodes of the predictor, 1, 2 or 3.
        corrector: The number of nodes of the corrector, 1 to 4, of which one is the time that the
            step reaches; 0 for none.
        tau: The noise as a multiple of that of the reverse-time SDE, 0 or more; 0 is the flow.

    Raises:
        HQDMError: If an option is out of range; otherwise as for `Sampler`.
    """

    name = "sa-solver"
    title = "SA-Solver"
    orders = (1, 2, 3)
    predict = "x0"
    tau: float

    def __init__(
        self,
        steps: int | None = None,
        grid: str | Sequence[float] | None = None,
        order: int = 3,
        corrector: int = 4,
        tau: float = 1.0,
    ) -> None:
        super().__init__(steps, grid, order)
        self.corrector = whole("corrector", corrector, 0, MAX_CORRECTOR)
        self.tau = check_tau(self.title, tau)
        self.reversible = tau == 0

    @property
    def settings(self) -> dict[str, Any]:
        """See `Sampler.settings`."""
        own = {"order": self.order, "corrector": self.corrector, "tau": self.tau}
        return super().settings | own

    def coefficients(
        self, schedule: Schedule, a: NoiseLevel, b: NoiseLevel, nodes: Sequence[NoiseLevel]
    ) -> Coefficients:
        """See `LinearMultistep.coefficients`."""
        h, share = b.lam - a.lam, self.tau**2
        theta = torch.stack([(node.lam - a.lam) / h for node in nodes])
        moments = b.alpha * _moments(len(nodes), (1 + share) * h)
        std = b.sigma * (-torch.expm1(-2 * share * h)).sqrt()
        scale = b.sigma / a.sigma * (-share * h).exp()
        return Coefficients(scale, interpolation_weights(theta, moments), std)


def check_tau(title: str, tau: float) -> float:
    """The noise as a multiple of that of the reverse-time SDE.

    Args:
        title: The name of the sampler, for messages.
        tau: The multiple.

    Raises:
        HQDMError: If it is not a finite number of 0 or more.
    """
    if finite("tau", tau) < 0:
        raise HQDMError(f"{title} needs tau of 0 or more, got {tau}")
    return tau


def _moments(n: int, h: Tensor) -> Tensor:
    """The integrals of h e^(-h (1 - theta)) theta^k over [0, 1], for k < n."""
    return torch.stack([h * math.factorial(k) * phi(k + 1, -h) for k in range(n)])
