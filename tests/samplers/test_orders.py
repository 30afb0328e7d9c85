"""Every deterministic solver reaches its order on problems whose flow is known exactly."""

import numpy as np
import pytest
import torch
from marks import slow

from hqdm.diffusion.analytic import GaussianDenoiser, MixtureDenoiser
from hqdm.diffusion.schedule import CosineSchedule, LinearSchedule
from hqdm.samplers import (
    DDIM,
    RK4,
    DPMSolver,
    DPMSolverExact,
    DPMSolverPP,
    Heun,
    UniPC,
)

T_START, T_END = 0.7, 0.15  # where lambda is finite; the step to t = 0 is first order for all

SOLVERS = {
    "ddim": (1, lambda n: DDIM(n, grid="lambda")),
    "dpm1": (1, lambda n: DPMSolver(n, order=1)),
    "dpm2": (2, lambda n: DPMSolver(n, order=2)),
    "dpm3": (3, lambda n: DPMSolver(n, order=3)),
    "exact1": (1, lambda n: DPMSolverExact(n, order=1)),
    "exact2": (2, lambda n: DPMSolverExact(n, order=2)),
    "exact3": (3, lambda n: DPMSolverExact(n, order=3)),
    "dpm++2m": (2, lambda n: DPMSolverPP(n)),
    "heun": (2, lambda n: Heun(n)),
    "rk4": (4, lambda n: RK4(n)),
    **{
        f"unip{p}-{predict}-{b}": (
            p,
            lambda n, p=p, predict=predict, b=b: UniPC(
                n, order=p, predict=predict, b=b, corrector=False
            ),
        )
        for p in (1, 2, 3)
        for predict in ("eps", "x0")
        for b in ("h", "expm1")
    },
    # The corrector raises the order by one.
    **{
        f"unipc{p}-{predict}-{b}": (
            p + 1,
            lambda n, p=p, predict=predict, b=b: UniPC(n, order=p, predict=predict, b=b),
        )
        for p in (1, 2, 3)
        for predict in ("eps", "x0")
        for b in ("h", "expm1")
    },
}


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


@pytest.mark.parametrize(
    ("problem", "schedule"),
    [
        slow("gaussian", CosineSchedule()),  # linear, and some solvers are better on it
        ("mixture", LinearSchedule()),
        slow("gaussian", LinearSchedule()),
        slow("mixture", CosineSchedule()),
    ],
    ids=["gaussian-cosine", "mixture-linear", "gaussian-linear", "mixture-cosine"],
)
@pytest.mark.parametrize("name", SOLVERS)
def test_the_error_falls_with_the_order(name, problem, schedule):
    order, make = SOLVERS[name]
    denoiser = problems(schedule)[problem]
    # Exact derivatives cost more, and show their order on coarser grids.
    steps = np.array([12, 18, 27] if name.startswith("exact") else [32, 48, 72, 108])
    errors = errors_of(make, denoiser, [warm_grid(schedule, n) for n in steps])
    slope = np.polyfit(np.log(1 / steps), np.log(errors), 1)[0]
    assert slope > order - 0.2, (slope, errors)
    assert slope < order + 0.2 or problem == "gaussian", (slope, errors)


@pytest.mark.parametrize("name", ["unip3-x0-expm1", "unipc2-x0-expm1", "unipc3-x0-expm1"])
def test_multistep_solvers_know_the_widths_of_their_steps(name):
    """Steps of widths 1, 2, 1, 2, ...: their ratios, all one on an even grid, matter in each."""
    order, make = SOLVERS[name]
    schedule = CosineSchedule()
    steps = np.array([32, 48, 72])
    grids = [warm_grid(schedule, n, (1, 2)) for n in steps]
    errors = errors_of(make, problems(schedule)["mixture"], grids)
    slope = np.polyfit(np.log(1 / steps), np.log(errors), 1)[0]
    assert abs(slope - order) < 0.25, (slope, errors)


@pytest.mark.parametrize("name", ["unipc3-x0-expm1", "dpm++2m"])
def test_without_a_warm_start_the_first_step_decides(name):
    """From an even grid, a first step of order one leaves an error of order two behind."""
    schedule = CosineSchedule()
    _, make = SOLVERS[name]
    start, end = schedule.lam(torch.tensor([T_START, T_END]).double())
    steps = [32, 48, 72, 108]
    grids = [
        schedule.inverse(start + torch.linspace(0, 1, n + 1).double() * (end - start)).tolist()
        for n in steps
    ]
    errors = errors_of(make, problems(schedule)["mixture"], grids)
    slope = np.polyfit(-np.log(steps), np.log(errors), 1)[0]
    assert slope > 1.8
