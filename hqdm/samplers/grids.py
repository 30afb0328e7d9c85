r"""Grids of times for a sampler, from noise to data.

As a function of lambda = log(alpha / sigma) the flow of a diffusion model changes at a nearly
uniform rate, so that a grid uniform in lambda is more accurate for few steps (Lu et al. 2022). At
t = 0 lambda is infinite: grids in lambda end at `T_CUT`, and every solver takes one further step
from there to 0 with first order, x_0 = (x - sigma eps) / alpha.

    time        t uniform
    lambda      lambda uniform
    karras      (sigma / alpha)^(1 / rho) uniform, rho = 7 (Karras et al. 2022, eq. 5)
    power:p     t^(1 / p) uniform; power alone is p = 0.7, with longer steps near the data
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from hqdm.diffusion.schedule import Schedule
from hqdm.utils.errors import HQDMError, unknown

T_CUT = 1e-2  # the time at which the last step to 0 begins
RHO = 7.0
POWER = 0.7
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


def power_grid(
    schedule: Schedule, t_start: float, t_end: float, steps: int, power: float = POWER
) -> Tensor:
    """A grid uniform in a power of t, t_i = ((n - i) / n)^power from 1 to 0; reaches 0 uncut."""
    start, end = torch.tensor([t_start, t_end], dtype=torch.float64) ** (1 / power)
    return even(start, end, steps) ** power


GRIDS: dict[str, Callable[[Schedule, float, float, int], Tensor]] = {
    "time": time_grid,
    "lambda": lambda_grid,
    "karras": karras_grid,
    "power": power_grid,
}
UNCUT = ("time", "power")  # grids that reach 0 by themselves
MAX_POWER = 10.0  # and the least is its inverse; times near 0 are equal in float64 beyond


def named_grid(grid: str) -> Callable[[Schedule, float, float, int], Tensor]:
    """The function of a grid by its name.

    Raises:
        HQDMError: If the name is unknown, or the number after it is not a power in [0.1, 10].
    """
    name, colon, number = grid.partition(":")
    if name not in GRIDS or (colon and name != "power"):
        raise unknown("grid", grid, GRIDS)
    if not colon:
        return GRIDS[name]
    try:
        power = float(number)
    except ValueError:
        power = math.nan
    if not 1 / MAX_POWER <= power <= MAX_POWER:
        raise HQDMError(
            f"the grid 'power' needs a number in [0.1, 10], such as power:0.7, got {grid!r}"
        )
    return partial(power_grid, power=power)


def check_grid(grid: str | Sequence[float]) -> None:
    """Refuse a grid that is neither a name nor decreasing times.

    Raises:
        HQDMError: If the name is unknown, or the times do not decrease within [0, 1].
    """
    if isinstance(grid, str):
        named_grid(grid)
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
        grid: A name, see the head of this module, or the times themselves.
        schedule: The noise schedule.
        t_start: First time, in (0, 1].
        t_end: Last time, in [0, t_start).
        steps: Number of steps.
    """
    if not isinstance(grid, str):
        return torch.as_tensor(grid, dtype=torch.float64)
    times_of = named_grid(grid)
    if grid.partition(":")[0] in UNCUT or t_end > 0:
        times = times_of(schedule, t_start, t_end, steps)
    elif steps == 1 or t_start <= T_CUT:
        times = time_grid(schedule, t_start, 0, steps)
    else:
        cut = times_of(schedule, t_start, T_CUT, steps - 1)
        times = torch.cat([cut, torch.zeros(1, dtype=torch.float64)])
    times[0], times[-1] = t_start, t_end
    return times
