r"""Grids by Powell's method: the error of the sampler itself is minimised.

The steps from t = 1 to the cut are fractions of the interval in lambda,

    lambda_i = lambda_0 + (lambda_cut - lambda_0) sum_{j <= i} softmax(w)_j,

so that any w gives decreasing times and w = 0 the grid uniform in lambda; the last step leads from
the cut to 0. Powell's method minimises the distance from a reference solution with many steps and
the same noise over w.
"""

from collections.abc import Callable
from typing import Any

import torch
from scipy.optimize import minimize
from torch import Tensor

from hqdm.diffusion.schedule import Schedule
from hqdm.samplers.grids import T_CUT

SPREAD = 3.0  # bound of |w|: the fractions differ at most by a factor of e^6


def times_of(schedule: Schedule, w: Tensor) -> list[float]:
    """The grid of weights `(steps - 1,)`."""
    start, cut = schedule.lam(torch.tensor([1.0, T_CUT], dtype=torch.float64))
    lam = start + (cut - start) * w.softmax(0).cumsum(0)[:-1]
    return [1.0, *schedule.inverse(lam).tolist(), T_CUT, 0.0]


def search(
    schedule: Schedule,
    steps: int,
    error: Callable[[list[float]], float],
    trials: int,
    done: Callable[[], None],
) -> tuple[list[float], int]:
    """The best grid of those that Powell's method tries, the one uniform in lambda first.

    Args:
        schedule: The noise schedule.
        steps: Number of steps, 3 or more.
        error: The error of the sampler on a grid.
        trials: Number of grids to try.
        done: Called after each grid.

    Returns:
        The times, and the number of grids that were tried.
    """
    even = torch.zeros(steps - 1, dtype=torch.float64)
    best = error(times_of(schedule, even)), even
    tried = 1
    done()

    def objective(free: Any) -> float:
        nonlocal best, tried
        if tried >= trials:
            raise StopIteration
        w = torch.cat([torch.as_tensor(free, dtype=torch.float64), even[:1]])
        found = error(times_of(schedule, w))
        tried += 1
        if found < best[0]:
            best = found, w
        done()
        return found

    try:
        bounds = [(-SPREAD, SPREAD)] * (steps - 2)
        minimize(objective, even[1:].numpy(), method="Powell", bounds=bounds)
    except StopIteration:
        pass  # Powell's own limit is checked between line searches only
    return times_of(schedule, best[1]), tried
