r"""UniPC (Zhao et al. 2023): a multistep predictor and corrector.

With h = lambda_s - lambda_t, r_m = (lambda_m - lambda_t) / h for earlier points m, and differences
D_m = (eps_m - eps_t) / r_m, both have the form

    x_s = alpha_s / alpha_t x_t - sigma_s (e^h - 1) eps_t - sigma_s B(h) sum_m rho_m D_m,

where rho solves  sum_m rho_m r_m^(n-1) = n! h phi_{n+1}(h) / B(h), n = 1, 2, ...  The predictor of
order p uses p - 1 earlier points. The corrector also uses the prediction at s itself (r = 1), which
is the evaluation of the next step, and has order p + 1. For data prediction replace eps by x_0,
exchange alpha and sigma, and replace h by -h in e^h, phi and B.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hqdm.samplers.base import Evaluator, Sampler
from hqdm.samplers.dpm_solver import check_order
from hqdm.samplers.exponential import NoiseLevel, level_at, phi
from hqdm.utils.errors import unknown
from hqdm.utils.seeds import ImageNoise

PREDICTIONS = ("eps", "x0")
B_FUNCTIONS = ("h", "expm1")


@dataclass(frozen=True)
class MultistepState:
    """The state that a step passes to the next one.

    Attributes:
        points: Levels and the evaluations at them, the newest first.
        x: The images at the newest level, after correction.
    """

    points: tuple[tuple[NoiseLevel, Tensor], ...]
    x: Tensor


class UniPC(Sampler):
    """UniPC-p: one evaluation per step.

    Args:
        steps: Number of steps; 10 by default.
        grid: See `Sampler`.
        order: The order p, 1, 2 or 3.
        predict: The quantity that is expanded, "eps" or "x0".
        b: The function B(h), "h" or "expm1".
        corrector: Apply the corrector.

    Raises:
        HQDMError: If an option is out of range; otherwise as for `Sampler`.
    """

    name = "unipc"
    default_steps = 10

    def __init__(
        self,
        steps: int | None = None,
        grid: str | Sequence[float] | None = None,
        order: int = 2,
        predict: Literal["eps", "x0"] = "x0",
        b: Literal["h", "expm1"] = "expm1",
        corrector: bool = True,
    ) -> None:
        super().__init__(steps, grid)
        check_order("UniPC", order)
        if predict not in PREDICTIONS:
            raise unknown("prediction", predict, PREDICTIONS)
        if b not in B_FUNCTIONS:
            raise unknown("B(h)", b, B_FUNCTIONS)
        self.order = order
        self.predict = predict
        self.b = b
        self.corrector = corrector

    def step(
        self,
        denoise: Evaluator,
        x: Tensor,
        t: Tensor,
        s: Tensor,
        state: MultistepState | None,
        noise: ImageNoise,
    ) -> tuple[Tensor, MultistepState]:
        """See `Sampler.step`: evaluate, correct the previous step, predict."""
        a, b = (level_at(denoise.schedule, time) for time in (t, s))
        prediction = denoise(x, t)
        value = getattr(prediction, self.predict)
        if state is not None and self.corrector:
            x = self._advance(state.x, state.points, a, (a, value))
        points = ((a, value), *(state.points if state else ()))[: self.order]
        if b.is_data:
            data = value if self.predict == "x0" else (x - a.sigma * value) / a.alpha
            return data, MultistepState(points, x)
        return self._advance(x, points, b, None), MultistepState(points, x)

    def _advance(
        self,
        x: Tensor,
        points: tuple[tuple[NoiseLevel, Tensor], ...],
        b: NoiseLevel,
        new: tuple[NoiseLevel, Tensor] | None,
    ) -> Tensor:
        """Step from the newest point to b: predict, or correct if `new` is the evaluation at b."""
        (a, value), *earlier = points
        h = b.lam - a.lam
        others = [*earlier, *([new] if new else [])]
        r = torch.stack([(level.lam - a.lam) / h for level, _ in others]) if others else None
        signed = h if self.predict == "eps" else -h
        scale = signed if self.b == "h" else torch.expm1(signed)
        if self.predict == "eps":
            base, factor = b.alpha / a.alpha * x, b.sigma
        else:
            base, factor = b.sigma / a.sigma * x, b.alpha
        x_s = base - factor * torch.expm1(signed) * value
        if r is None:
            return x_s
        rho = self._weights(r, signed, scale)
        for weight, ratio, (_, other) in zip(rho, r, others, strict=True):
            x_s = x_s - factor * scale * weight / ratio * (other - value)
        return x_s

    def _weights(self, r: Tensor, h: Tensor, scale: Tensor) -> Tensor:
        """The weights rho."""
        n = len(r)
        if n == 1:  # the limit for small h, as in the paper
            return torch.tensor([0.5], dtype=r.dtype)
        rows = torch.stack([r**k for k in range(n)])
        sides = [math.factorial(k) * h * phi(k + 1, h) / scale for k in range(1, n + 1)]
        return torch.linalg.solve(rows, torch.stack(sides))
