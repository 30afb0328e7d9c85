r"""tAB-DEIS (Zhang and Chen 2022): the noise is a polynomial in t, the integral is exact.

    x_s / alpha_s = x_t / alpha_t + int eps d(sigma / alpha)    over [t, s],

with eps replaced by the polynomial of degree k - 1 in t through the k newest evaluations (tAB of
degree r in the paper has order k = r + 1). Its moments

    moment_k = alpha_s int theta^k d(sigma / alpha),     theta = (t' - t) / (s - t),

are integrals over lambda, where sigma / alpha = exp(-lambda), by Gauss-Legendre quadrature, whose
error is that of rounding.
"""

from collections.abc import Sequence
from functools import partial

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


@register_sampler("deis")
class DEIS(LinearMultistep):
    """tAB-DEIS of order 1 to 4: one evaluation per step; order 1 is DDIM.

    Args:
        steps: Number of steps; 10 by default.
        grid: See `Sampler`.
        order: The order, 1 to 4, one more than the degree of the polynomial.

    Raises:
        HQDMError: If there is no such order; otherwise as for `Sampler`.
    """

    name = "deis"
    title = "DEIS"
    orders = (1, 2, 3, 4)

    def coefficients(
        self, schedule: Schedule, a: NoiseLevel, b: NoiseLevel, nodes: Sequence[NoiseLevel]
    ) -> Coefficients:
        """See `LinearMultistep.coefficients`."""

        def powers(lam: Tensor) -> Tensor:
            theta = (schedule.inverse(lam) - a.t) / (b.t - a.t)
            return torch.stack([-(-lam).exp() * theta**k for k in range(len(nodes))])

        theta = torch.stack([(node.t - a.t) / (b.t - a.t) for node in nodes])
        moments = b.alpha * integral(powers, a.lam, b.lam)
        return Coefficients(b.alpha / a.alpha, interpolation_weights(theta, moments))


for _order in DEIS.orders:
    SAMPLERS.register(f"deis{_order}", SamplerEntry(partial(DEIS, order=_order)))
