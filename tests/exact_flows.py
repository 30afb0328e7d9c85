"""Flows that are known exactly, and the errors of solvers on them."""

import numpy as np
import torch

from hqdm.diffusion.analytic import GaussianDenoiser, MixtureDenoiser

T_START, T_END = 0.7, 0.15  # where lambda is finite; the step to t = 0 is first order for all


def problems(schedule):
    gaussian = GaussianDenoiser(torch.tensor(0.3).double(), torch.tensor(0.6).double(), schedule)
    mixture = MixtureDenoiser(
        torch.tensor([0.4, 0.6]).double(),
        torch.tensor([-0.7, 0.5]).double(),
        torch.tensor([0.09, 0.16]).double(),
        schedule,
    )
    return {"gaussian": gaussian, "mixture": mixture}


def warm_grid(schedule, n, widths=(1,)):
    """Of n steps in lambda, the first in n pieces: multistep solvers start with lower orders.

    The steps are equal, or of the given widths in turn.
    """
    start, end = schedule.lam(torch.tensor([T_START, T_END]).double())
    edges = torch.tensor([0, *widths * (n // len(widths))]).double().cumsum(0)
    edges = edges / edges[-1]
    first = edges[1] * torch.linspace(0, 1, n + 1).double()
    lam = start + torch.cat([first, edges[2:]]) * (end - start)
    return schedule.inverse(lam).tolist()


def errors_of(make, denoiser, grids):
    x = torch.linspace(-2, 2, 9).double().view(9, 1, 1, 1)
    errors = []
    for grid in grids:
        sampler = make(None)
        sampler.times, sampler.steps = grid, len(grid) - 1
        start, end = (torch.tensor(t).double() for t in (grid[0], grid[-1]))
        exact = denoiser.flow(x, start, end)
        walked = sampler.run(denoiser, x, t_start=grid[0], t_end=grid[-1]).x0
        errors.append((walked - exact).square().mean().sqrt().item())
    return errors


def even_grid(schedule, n):
    """Of n equal steps in lambda."""
    start, end = schedule.lam(torch.tensor([T_START, T_END]).double())
    return schedule.inverse(start + torch.linspace(0, 1, n + 1).double() * (end - start)).tolist()


def slope_of(errors, steps):
    """The order in 1 / steps of a least-squares fit to the errors."""
    return np.polyfit(-np.log(steps), np.log(errors), 1)[0]
