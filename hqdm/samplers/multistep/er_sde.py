r"""ER-SDE-Solver (Cui et al. 2023): extended reverse-time SDEs, data prediction.

With rho = sigma / alpha and a noise scale function phi(rho) = rho g(rho), g increasing, the
extended SDE has the marginals of the process, and from rho_t to the smaller rho_s the solution

    x_s = alpha_s phi_s / phi_t x_t / alpha_t + alpha_s phi_s int phi' / phi^2 x_0 drho
          + sigma_s sqrt(1 - g_s^2 / g_t^2) z    over [rho_s, rho_t].

g = 1 is the flow, g = rho the usual reverse-time SDE, and "er-sde-5" the recommended function of
the paper. x_0 is replaced by its polynomial in rho. The moments of the powers of theta =
(rho - rho_t) / (rho_s - rho_t) are, integrated by parts and with lambda = -log rho,

    alpha_s (1 - phi_s / phi_t),     alpha_s (1 - k phi_s int theta^(k-1) / g dlambda /
                                              (rho_t - rho_s))    over [lambda_t, lambda_s].

The published solver of order 3 has a Taylor polynomial in place of the interpolating one. Its first
derivative is the difference of the last two evaluations, whose error limits the solver to order 2
for g = 1; orders 1 and 2 are the published ones.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hqdm.diffusion.schedule import Schedule
from hqdm.samplers.exponential import NoiseLevel
from hqdm.samplers.multistep.linear import (
    Coefficients,
    LinearMultistep,
    integral,
    interpolation_weights,
)
from hqdm.samplers.registry import SAMPLERS, SamplerEntry, register_sampler
from hqdm.utils.errors import unknown

NOISE_SCALES: dict[str, Callable[[Tensor], Tensor]] = {
    "ode": torch.ones_like,
    "sde": lambda rho: rho,
    "er-sde-5": lambda rho: (rho**0.3).exp() + 10,
}
"""The functions g by name."""


@register_sampler("er-sde", own=("order", "noise_scale"))
class ERSDESolver(LinearMultistep):
    """ER-SDE-Solver of order 1, 2 or 3: one evaluation per step.

    Args:
        steps: Number of steps; 10 by default.
        grid: See `Sampler`.
        order: The order, 1, 2 or 3.
        noise_scale: A key of `NOISE_SCALES`: "ode" is the flow, "sde" the reverse-time SDE.

    Raises:
        HQDMError: If there is no such order or noise scale function; otherwise as for `Sampler`.
    """

    name = "er-sde"
    title = "ER-SDE-Solver"
    orders = (1, 2, 3)
    predict = "x0"
    noise_scale: str

    def __init__(
        self,
        steps: int | None = None,
        grid: str | Sequence[float] | None = None,
        order: int = 3,
        noise_scale: str = "er-sde-5",
    ) -> None:
        super().__init__(steps, grid, order)
        if noise_scale not in NOISE_SCALES:
            raise unknown("noise scale function", noise_scale, NOISE_SCALES)
        self.noise_scale = noise_scale
        self.reversible = noise_scale == "ode"

    @property
    def settings(self) -> dict[str, Any]:
        """See `Sampler.settings`."""
        return super().settings | {"order": self.order, "noise_scale": self.noise_scale}

    def coefficients(
        self, schedule: Schedule, a: NoiseLevel, b: NoiseLevel, nodes: Sequence[NoiseLevel]
    ) -> Coefficients:
        """See `LinearMultistep.coefficients`."""
        g = NOISE_SCALES[self.noise_scale]
        rho_a, rho_b = a.sigma / a.alpha, b.sigma / b.alpha
        shrinkage = g(rho_b) / g(rho_a)
        change = rho_b - rho_a

        def integrands(lam: Tensor) -> Tensor:
            rho = (-lam).exp()
            theta = (rho - rho_a) / change
            return torch.stack([k * theta ** (k - 1) / g(rho) for k in range(1, len(nodes))])

        moments = (1 - rho_b / rho_a * shrinkage).reshape(1)
        if len(nodes) > 1:
            inner = integral(integrands, a.lam, b.lam)
            moments = torch.cat([moments, 1 + rho_b * g(rho_b) * inner / change])
        theta = torch.stack([(node.sigma / node.alpha - rho_a) / change for node in nodes])
        return Coefficients(
            b.sigma / a.sigma * shrinkage,
            b.alpha * interpolation_weights(theta, moments),
            b.sigma * (1 - shrinkage**2).sqrt(),
        )


for _order in ERSDESolver.orders:
    SAMPLERS.register(f"er-sde{_order}", SamplerEntry(partial(ERSDESolver, order=_order)))
