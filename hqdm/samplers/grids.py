r"""Grids of times for a sampler, from noise to data.

As a function of lambda = log(alpha / sigma) the flow of a diffusion model changes at a nearly
uniform rate, so that a grid uniform in lambda is more accurate for few steps (Lu et al. 2022). At
t = 0 lambda is infinite: grids in lambda end at `T_CUT`, and every solver takes one further step
from there to 0 with first order, x_0 = (x - sigma eps) / alpha.

    time        t uniform
    lambda      lambda uniform
    karras      (sigma / alpha)^(1 / rho) uniform, rho = 7 (Karras et al. 2022, eq. 5)
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hqdm.diffusion.schedule import Schedule
from hqdm.utils.errors import HQDMError, unknown

T_CUT = 1e-2  # the time at which the last step to 0 begins
RHO = 7.0
END_TOLERANCE = 1e-9  # of the ends of a grid, for times that were written with fewer digits


def even(start: Tensor, end: Tensor, n: int) -> Tensor:
    """The n + 1 equidistant numbers from start to end."""
    share = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    return start + share * (end - start)


def time_grid(schedule: Schedule, t_start: float, t_end: float, steps: int) -> Tensor:
    """A grid uniform in t, which reaches 0 without a cut."""
    return torch.linspace(t_start, t_end, steps + 1, dtype=torch.float64)


def lambda_grid(schedule: Schedule, t_start: float, t_end: float, steps: int) -> Tensor:
    """A grid uniform in lambda."""
    start, end = schedule.lam(torch.tensor([t_start, t_end], dtype=torch.float64))
    return schedule.inverse(even(start, end, steps))


def karras_grid(schedule: Schedule, t_start: float, t_end: float, steps: int) -> Tensor:
    """A grid uniform in a power of the noise-to-signal ratio."""
    lam = schedule.lam(torch.tensor([t_start, t_end], dtype=torch.float64))
    start, end = (-lam / RHO).exp()
    return schedule.inverse(-RHO * even(start, end, steps).log())


GRIDS: dict[str, Callable[[Schedule, float, float, int], Tensor]] = {
    "time": time_grid,
    "lambda": lambda_grid,
    "karras": karras_grid,
}


def check_grid(grid: str | Sequence[float]) -> None:
    """Refuse a grid that is neither a name nor decreasing times.

    Raises:
        HQDMError: If the name is unknown, or the times do not decrease within [0, 1].
    """
    if isinstance(grid, str):
        if grid not in GRIDS:
            raise unknown("grid", grid, GRIDS)
        return
    try:
        times = torch.as_tensor(grid, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise HQDMError(f"a grid needs a name or decreasing times, got {grid!r}") from None
    if times.ndim != 1 or len(times) < 2 or not (times.diff() < 0).all():
        raise HQDMError("a grid needs two times or more, each smaller than the previous one")
    if times[-1] < 0 or times[0] > 1:
        raise HQDMError(
            f"a grid needs times in [0, 1], got {float(times[0])} to {float(times[-1])}"
        )


def check_ends(times: Tensor, t_start: float, t_end: float) -> None:
    """Refuse a grid that does not run from the first to the last time of a sampling.

    Raises:
        HQDMError: If it starts or ends at another time.
    """
    first, last = float(times[0]), float(times[-1])
    if abs(first - t_start) > END_TOLERANCE or abs(last - t_end) > END_TOLERANCE:
        raise HQDMError(
            f"the grid runs from t = {first:g} to {last:g}, expected {t_start:g} to {t_end:g}"
        )


def build_grid(
    grid: str | Sequence[float], schedule: Schedule, t_start: float, t_end: float, steps: int
) -> Tensor:
    """The grid of times, `(steps + 1,)` in float64.

    Args:
        grid: A key of `GRIDS`, or the times themselves.
        schedule: The noise schedule.
        t_start: First time, in (0, 1].
        t_end: Last time, in [0, t_start).
        steps: Number of steps.
    """
    if not isinstance(grid, str):
        return torch.as_tensor(grid, dtype=torch.float64)
    if grid == "time" or t_end > 0:
        times = GRIDS[grid](schedule, t_start, t_end, steps)
    elif steps == 1 or t_start <= T_CUT:
        times = time_grid(schedule, t_start, 0, steps)
    else:
        cut = GRIDS[grid](schedule, t_start, T_CUT, steps - 1)
        times = torch.cat([cut, torch.zeros(1, dtype=torch.float64)])
    times[0], times[-1] = t_start, t_end
    return times
