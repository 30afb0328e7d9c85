r"""DPM-Solver-k (Lu et al. 2022): Taylor expansion of eps in lambda, exact linear part.

    x_s = alpha_s / alpha_t x_t - sigma_s sum_{n < k} h^(n+1) phi_{n+1}(h) d^n eps / dlambda^n

with total derivatives along the flow. `DPMSolver` estimates them from k evaluations within a step;
`DPMSolverExact` computes them by forward-mode differentiation of the network (Wang et al., arXiv
2502.14252).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import jvp

from hqdm.diffusion.denoiser import Denoising, differentiable
from hqdm.samplers.base import Evaluating, Evaluator, Sampler, SingleStep
from hqdm.samplers.exponential import NoiseLevel, level_at, level_of, phi, transfer
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise

ORDERS = (1, 2, 3)


def check_order(name: str, order: int, orders: Sequence[int] = ORDERS) -> None:
    """Refuse an order that a solver does not have.

    Raises:
        HQDMError: If the order is not among `orders`.
    """
    if order not in orders:
        expected = ", ".join(map(str, orders))
        raise HQDMError(f"{name} needs an order of {expected}, got {order}")


class DPMSolver(SingleStep):
    """DPM-Solver-1, -2 or -3, singlestep: k evaluations per step, one in the step to t = 0.

    Args:
        steps: Number of steps; 10 by default.
        grid: See `Sampler`.
        order: The order k, 1, 2 or 3.

    Raises:
        HQDMError: If the order is not 1, 2 or 3; otherwise as for `Sampler`.
    """

    name = "dpm"
    default_steps = 10

    def __init__(
        self, steps: int | None = None, grid: str | Sequence[float] | None = None, order: int = 3
    ) -> None:
        super().__init__(steps, grid)
        check_order("DPM-Solver", order)
        self.order = order
        self.evaluations_per_step = self.evaluations(order)

    def evaluations(self, order: int) -> int:
        """The number of evaluations per step of a given order."""
        return order

    def advance(self, denoise: Evaluator, x: Tensor, a: NoiseLevel, b: NoiseLevel) -> Tensor:
        """See `SingleStep.advance`."""
        if self.order == 1:
            return transfer(x, denoise(x, a.t).eps, a, b)
        return embedded_step(denoise, self.order, x, a, b)[1]


def embedded_step(
    denoise: Evaluating, order: int, x: Tensor, a: NoiseLevel, b: NoiseLevel
) -> tuple[Tensor, Tensor]:
    """Steps of orders k - 1 and k that share k evaluations, for k = 2 or 3.

    The intermediate points in lambda are at 1/2 for k = 2, and at 1/3 and 2/3 for k = 3 (Lu et al.
    2022, algorithms 1, 2).
    """
    h = b.lam - a.lam
    eps = denoise(x, a.t).eps
    first_order = transfer(x, eps, a, b)
    share = 1 / order
    point = between(denoise, a, b, share)
    change = denoise(transfer(x, eps, a, point), point.t).eps - eps
    second_order = first_order - b.sigma * torch.expm1(h) / (2 * share) * change
    if order == 2:
        return first_order, second_order
    point = between(denoise, a, b, 2 / 3)
    gap = 2 / 3 * h
    x_point = transfer(x, eps, a, point) - 2 * point.sigma * gap * phi(2, gap) * change
    change = denoise(x_point, point.t).eps - eps
    return second_order, first_order - 3 / 2 * b.sigma * h * phi(2, h) * change


def between(denoise: Evaluating, a: NoiseLevel, b: NoiseLevel, share: float) -> NoiseLevel:
    """The level at a given fraction of the interval in lambda."""
    return level_of(denoise.schedule, a.lam + share * (b.lam - a.lam))


class DPMSolverExact(DPMSolver):
    """DPM-Solver-k with exact total derivatives, by forward-mode differentiation.

    Derivative n takes n + 1 evaluations of the network, all but one of them differentiated: without
    autocast, and in float32 for a network in half precision.
    """

    name = "dpm-exact"
    variance_preserving_only = True

    def evaluator(self, denoiser: Denoising, y: Tensor | None) -> Evaluator:
        """See `Sampler.evaluator`."""
        return Evaluator(differentiable(denoiser), y)

    def evaluations(self, order: int) -> int:
        """The number of evaluations per step of a given order."""
        return order * (order + 1) // 2

    def advance(self, denoise: Evaluator, x: Tensor, a: NoiseLevel, b: NoiseLevel) -> Tensor:
        """See `SingleStep.advance`."""
        # The second derivative of some operations requires the formulas used with gradients on.
        with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
            derivatives = total_derivatives(denoise, x, a, self.order)
        eps, *derivatives = (derivative.detach() for derivative in derivatives)
        x_b, h = transfer(x, eps, a, b), b.lam - a.lam
        for n, derivative in enumerate(derivatives, start=1):
            x_b = x_b - b.sigma * h ** (n + 1) * phi(n + 1, h) * derivative
        return x_b


def total_derivatives(denoise: Evaluating, x: Tensor, a: NoiseLevel, k: int) -> list[Tensor]:
    """The noise eps and its first k - 1 total derivatives with respect to lambda along the flow.

    Along dx/dlambda = sigma^2 x - sigma eps, the total derivative of g(x, lambda) is its
    directional derivative in (dx/dlambda, 1).
    """
    schedule = denoise.schedule

    def eps(x: Tensor, lam: Tensor) -> Tensor:
        return denoise(x, schedule.inverse(lam)).eps

    def drift(x: Tensor, lam: Tensor) -> Tensor:
        sigma = torch.sigmoid(-2 * lam).sqrt().to(x)
        return sigma**2 * x - sigma * eps(x, lam)

    def derivative(g: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        def along_the_flow(x: Tensor, lam: Tensor) -> Tensor:
            return jvp(g, (x, lam), (drift(x, lam), torch.ones_like(lam)))[1]

        return along_the_flow

    functions: list[Callable[[Tensor, Tensor], Tensor]] = [eps]
    for _ in range(k - 1):
        functions.append(derivative(functions[-1]))
    return [function(x, a.lam) for function in functions]


class DPMSolverPP(Sampler):
    r"""DPM-Solver++ 2M (Lu et al. 2022b): data prediction, two-step, one evaluation per step.

        x_s = sigma_s / sigma_t x_t - alpha_s (e^-h - 1) (D + D' / 2),
        D' = (D - D_before) h / h_before,

    with D the predicted data; `sde=True` is the solver of the reverse-time SDE,

        x_s = sigma_s / sigma_t e^-h x_t + alpha_s (1 - e^-2h) (D + D' / 2)
              + sigma_s sqrt(1 - e^-2h) z.

    Args:
        steps: Number of steps; 10 by default.
        grid: See `Sampler`.
        sde: Solve the reverse-time SDE instead of the probability-flow ODE.
    """

    name = "dpm++2m"
    default_steps = 10

    def __init__(
        self,
        steps: int | None = None,
        grid: str | Sequence[float] | None = None,
        sde: bool = False,
    ) -> None:
        super().__init__(steps, grid)
        self.sde = sde
        self.reversible = not sde

    def step(
        self,
        denoise: Evaluator,
        x: Tensor,
        t: Tensor,
        s: Tensor,
        state: tuple[NoiseLevel, Tensor] | None,
        noise: ImageNoise,
    ) -> tuple[Tensor, tuple[NoiseLevel, Tensor]]:
        """See `Sampler.step`; the state is the level and data prediction of the previous step."""
        a, b = (level_at(denoise.schedule, time) for time in (t, s))
        data = denoise(x, t).x0
        now = a, data
        if b.is_data:
            return data, now
        h = b.lam - a.lam
        if state is not None:
            before, data_before = state
            data = data + h / (a.lam - before.lam) * (data - data_before) / 2
        if not self.sde:
            return b.sigma / a.sigma * x - b.alpha * torch.expm1(-h) * data, now
        spread = -torch.expm1(-2 * h)
        mean = b.sigma / a.sigma * (-h).exp() * x + b.alpha * spread * data
        return mean + b.sigma * spread.sqrt() * noise.draw_like(x), now
