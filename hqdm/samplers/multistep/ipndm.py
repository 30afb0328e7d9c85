r"""iPNDM (Zhang and Chen 2022, appendix): Adams-Bashforth coefficients in a step of DDIM.

    x_s / alpha_s = x_t / alpha_t + (rho_s - rho_t) sum_j c_j eps_j,     rho = sigma / alpha,

with the coefficients c of equal steps, such as (55, -59, 37, -9) / 24 for order 4. They are exact
in rho, so that the order k is reached on grids with equal steps in rho. On other grids the method
has order 2 at most: the coefficients do not depend on the widths of the steps.
"""

from collections.abc import Sequence
from functools import partial

import torch

from hqdm.diffusion.schedule import Schedule
from hqdm.samplers.exponential import NoiseLevel
from hqdm.samplers.multistep.linear import Coefficients, LinearMultistep
from hqdm.samplers.registry import SAMPLERS, SamplerEntry, register_sampler

ADAMS_BASHFORTH = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}
"""The coefficients of equal steps by order, the newest evaluation first."""


@register_sampler("ipndm")
class IPNDM(LinearMultistep):
    """iPNDM of order 1 to 4: one evaluation per step; order 1 is DDIM.

    Args:
        steps: Number of steps; 10 by default.
        grid: See `Sampler`.
        order: The order, 1 to 4, on equal steps in sigma / alpha.

    Raises:
        HQDMError: If there is no such order; otherwise as for `Sampler`.
    """

    name = "ipndm"
    title = "iPNDM"
    orders = tuple(ADAMS_BASHFORTH)

    def __init__(
        self, steps: int | None = None, grid: str | Sequence[float] | None = None, order: int = 4
    ) -> None:
        super().__init__(steps, grid, order)

    def coefficients(
        self, schedule: Schedule, a: NoiseLevel, b: NoiseLevel, nodes: Sequence[NoiseLevel]
    ) -> Coefficients:
        """See `LinearMultistep.coefficients`."""
        scale = b.alpha / a.alpha
        equal = torch.tensor(ADAMS_BASHFORTH[len(nodes)], dtype=torch.float64)
        return Coefficients(scale, (b.sigma - scale * a.sigma) * equal)


for _order in IPNDM.orders:
    SAMPLERS.register(f"ipndm{_order}", SamplerEntry(partial(IPNDM, order=_order)))
