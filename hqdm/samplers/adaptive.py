r"""DPM-Solver with adaptive step size (Lu et al. 2022, appendix C).

Solvers of orders k - 1 and k share their evaluations; their difference estimates the error,

    E = rms( (x_low - x_high) / max(atol, rtol max(|x_low|, |x_before|)) ),

and a step of size h in lambda is accepted if E <= 1. The next step size is 0.9 h E^(-1/k). The step
size is controlled per image, so that an image does not depend on the others of its batch.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hqdm.diffusion.objective import Prediction
from hqdm.diffusion.schedule import Schedule
from hqdm.samplers.base import Evaluator, FiniteCheck, SingleStep
from hqdm.samplers.dpm_solver import check_order, embedded_step
from hqdm.samplers.exponential import NoiseLevel, level_of
from hqdm.samplers.grids import T_CUT
from hqdm.utils.checks import finite
from hqdm.utils.errors import HQDMError

SAFETY = 0.9
FIRST_STEP = 0.05  # in lambda
GROWTH = 0.2, 5.0  # smallest and largest ratio of consecutive step sizes
DEFAULT_TOLERANCE = 0.05
ABSOLUTE_SHARE = 0.0078 / DEFAULT_TOLERANCE  # one of 256 grey levels in [-1, 1] at the default
MAX_TRIALS = 10_000
SMALLEST_STEP = 1e-9  # in lambda; a smaller remainder is a rounding error


@dataclass
class ByImage:
    """A denoiser for times `(B, 1, 1, 1)` and images in float64, evaluated in another precision.

    Attributes:
        denoise: The denoiser.
        dtype: The precision of its input images.
    """

    denoise: Evaluator
    dtype: torch.dtype

    @property
    def schedule(self) -> Schedule:
        """The denoiser's schedule."""
        return self.denoise.schedule

    def __call__(self, x: Tensor, t: Tensor) -> Prediction:
        """Evaluate at times `t` `(B, 1, 1, 1)`."""
        return self.denoise(x.to(self.dtype), t.flatten().to(x.device))


class AdaptiveDPMSolver(SingleStep):
    """DPM-Solver-12 or -23 with an error tolerance instead of a number of steps.

    `Result.rejected` is the number of rejected steps per image.

    Args:
        tolerance: Relative error per step, above 0.
        order: The order k, 2 or 3.
        absolute: Absolute error per step; by default in proportion to the relative one, and 0.0078,
            one of 256 grey levels in [-1, 1], at a tolerance of 0.05.

    Raises:
        HQDMError: If a tolerance is not positive, or the order is neither 2 nor 3.
    """

    name = "dpm-adaptive"
    default_steps = 2  # intervals of the grid: to the cut, and from there to t = 0
    reversible = False

    def __init__(
        self,
        tolerance: float = DEFAULT_TOLERANCE,
        order: int = 3,
        absolute: float | None = None,
    ) -> None:
        super().__init__()
        if absolute is None:
            absolute = ABSOLUTE_SHARE * finite("tolerance", tolerance)
        check_order("adaptive DPM-Solver", order, (2, 3))
        if not (finite("tolerance", tolerance) > 0 and finite("absolute", absolute) > 0):
            raise HQDMError(f"a tolerance needs more than 0, got {tolerance} and {absolute}")
        self.tolerance = tolerance
        self.absolute = absolute
        self.order = order

    @property
    def settings(self) -> dict[str, Any]:
        """See `Sampler`: there is no number of steps."""
        return {
            "sampler": self.name,
            "tolerance": self.tolerance,
            "absolute": self.absolute,
            "order": self.order,
        }

    def grid(self, schedule: Schedule, t_start: float, t_end: float) -> Tensor:
        """Start, cut and end."""
        times = [t_start, T_CUT, t_end] if t_end < T_CUT < t_start else [t_start, t_end]
        return torch.tensor(times, dtype=torch.float64)

    def advance(self, denoise: Evaluator, x: Tensor, a: NoiseLevel, b: NoiseLevel) -> Tensor:
        """See `SingleStep.advance`; takes as many steps as the tolerance requires.

        Raises:
            HQDMError: If the tolerances are below the rounding error of the images, the end is not
                reached within `MAX_TRIALS` steps, or values are not finite.
        """
        rounding = torch.finfo(x.dtype).eps
        if max(self.tolerance, self.absolute) < rounding:
            raise HQDMError(
                f"tolerance {self.tolerance:g} is below the rounding error of the images, "
                f"{rounding:.1e} ({str(x.dtype).removeprefix('torch.')}): use a larger one"
            )
        evaluate = ByImage(denoise, x.dtype)
        lam = a.lam.to(x.device).expand(x.shape[0], 1, 1, 1)
        h = torch.full_like(lam, FIRST_STEP)
        now = before = x.double()
        for _ in range(MAX_TRIALS):
            left = b.lam - lam
            going = left > SMALLEST_STEP
            if not going.any():
                return now.to(x.dtype)
            h = torch.minimum(h, left)
            here, there = (level_of(denoise.schedule, level) for level in (lam, lam + h))
            low, high = embedded_step(evaluate, self.order, now, here, there)
            error = self._error(low, high, before)
            if bad := error.isnan().flatten().nonzero().flatten().tolist():
                check = FiniteCheck()
                check.add((low + high)[bad], here.t[bad[0]], there.t[bad[0]])
                check.end()
            taken = going & (error <= 1)
            denoise.rejected = denoise.rejected + (going & ~taken).flatten().cpu()
            now, before = torch.where(taken, high, now), torch.where(taken, low, before)
            lam = torch.where(taken, lam + h, lam)
            h = h * (SAFETY * error ** (-1 / self.order)).clamp(*GROWTH)
        raise HQDMError(
            f"tolerance {self.tolerance} was not met in {MAX_TRIALS:,} steps: use a larger one"
        )

    def _error(self, low: Tensor, high: Tensor, before: Tensor) -> Tensor:
        """The error estimate E, `(B, 1, 1, 1)`."""
        size = torch.maximum(low.abs(), before.abs())
        scale = (self.tolerance * size).clamp_min(self.absolute)
        return ((low - high) / scale).square().mean((1, 2, 3), keepdim=True).sqrt()
