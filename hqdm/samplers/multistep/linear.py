r"""Linear multistep methods: combinations of the evaluations at this time and at earlier ones.

With y = eps or x_0 and nodes t_j where it is known, the step from t to s is

    x_s = scale x_t + sum_j weight_j y_j + std z,

in which y is replaced by the polynomial through the nodes, and its integral in the solution of the
flow, or of a reverse-time SDE with noise z, is exact. For a polynomial in a variable theta, the
weights follow from the integrals of its powers, the moments:

    sum_j weight_j theta_j^k = moment_k,     k = 0, ..., number of nodes - 1.

A predictor has nodes at t and earlier times. A corrector takes the step again with the same z and
with s as a node: the evaluation there is that of the next step.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hqdm.diffusion.schedule import Schedule
from hqdm.samplers.base import Evaluator, Sampler
from hqdm.samplers.dpm_solver import check_order
from hqdm.samplers.exponential import NoiseLevel, level_at
from hqdm.utils.seeds import ImageNoise

_POINTS, _WEIGHTS = map(torch.from_numpy, np.polynomial.legendre.leggauss(64))

Node = tuple[NoiseLevel, Tensor]
"""A level and the evaluation at it."""


@dataclass(frozen=True)
class Coefficients:
    """The coefficients of a step, in float64.

    Attributes:
        scale: Of the images, `()`.
        weights: Of the evaluations, one for each node.
        std: Standard deviation of the added noise, `()`.
    """

    scale: Tensor
    weights: Tensor
    std: Tensor = field(default_factory=lambda: torch.tensor(0.0))

    def combine(self, x: Tensor, nodes: Sequence[Node], noise: Tensor | None) -> Tensor:
        """The images after the step from images `x`, with evaluations at the nodes."""
        x_s = self.scale * x
        for weight, (_, value) in zip(self.weights, nodes, strict=True):
            x_s = x_s + weight * value
        return x_s if noise is None else x_s + noise


@dataclass(frozen=True)
class History:
    """The state that a step passes to the next one.

    Attributes:
        nodes: Levels and the evaluations at them, the newest first.
        x: The images at the newest level, after correction.
        noise: The noise that was added in the step from there; None in a deterministic one.
    """

    nodes: tuple[Node, ...]
    x: Tensor
    noise: Tensor | None


class LinearMultistep(Sampler):
    """A linear multistep method: one evaluation per step, lower orders in the first steps.

    Args:
        steps: See `Sampler`.
        grid: See `Sampler`.
        order: The number of nodes of the predictor; one more in each of the first steps.

    Attributes:
        title: The name in messages.
        predict: The quantity that is interpolated, "eps" or "x0".
        orders: The orders that there are.
        corrector: The number of nodes of the corrector; 0 for none.

    Raises:
        HQDMError: If there is no such order; otherwise as for `Sampler`.
    """

    title: str
    default_steps = 10
    predict: Literal["eps", "x0"] = "eps"
    orders: tuple[int, ...]
    order: int
    corrector: int = 0

    def __init__(
        self, steps: int | None = None, grid: str | Sequence[float] | None = None, order: int = 3
    ) -> None:
        super().__init__(steps, grid)
        check_order(self.title, order, self.orders)
        self.order = order

    @abstractmethod
    def coefficients(
        self, schedule: Schedule, a: NoiseLevel, b: NoiseLevel, nodes: Sequence[NoiseLevel]
    ) -> Coefficients:
        """The coefficients of the step from level a to level b, where lambda is finite."""

    def step(
        self,
        denoise: Evaluator,
        x: Tensor,
        t: Tensor,
        s: Tensor,
        state: History | None,
        noise: ImageNoise,
    ) -> tuple[Tensor, History]:
        """See `Sampler.step`: evaluate, correct the previous step, predict."""
        a, b = (level_at(denoise.schedule, time) for time in (t, s))
        prediction = denoise(x, t)
        nodes: tuple[Node, ...] = ((a, getattr(prediction, self.predict)),)
        if state is not None:
            nodes = (*nodes, *state.nodes)[: max(self.order, self.corrector)]
            if self.corrector:
                before, _ = state.nodes[0]
                used = nodes[: self.corrector]
                step = self.coefficients(denoise.schedule, before, a, levels_of(used))
                x = step.combine(state.x, used, state.noise)
        if b.is_data:
            return prediction.x0, History(nodes, x, None)
        used = nodes[: self.order]
        step = self.coefficients(denoise.schedule, a, b, levels_of(used))
        added = step.std * noise.draw_like(x) if step.std > 0 else None
        return step.combine(x, used, added), History(nodes, x, added)


def levels_of(nodes: Sequence[Node]) -> list[NoiseLevel]:
    """The levels of nodes."""
    return [level for level, _ in nodes]


def interpolation_weights(theta: Tensor, moments: Tensor) -> Tensor:
    """The weights of the nodes `theta` `(n,)` that integrate powers to `moments` `(n,)`."""
    powers = torch.stack([theta**k for k in range(len(theta))])
    return torch.linalg.solve(powers, moments)


def integral(function: Callable[[Tensor], Tensor], start: Tensor, end: Tensor) -> Tensor:
    """The integral of a function of `(n,)` numbers, by Gauss-Legendre quadrature of 64 points."""
    half = (end - start) / 2
    return half * (_WEIGHTS * function(start + half * (1 + _POINTS))).sum(-1)
