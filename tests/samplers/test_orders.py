"""Every deterministic solver reaches its order on problems whose flow is known exactly."""

import pytest
from exact_flows import errors_of, even_grid, problems, slope_of, warm_grid
from marks import slow, thinned

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
@pytest.mark.parametrize("name", thinned(SOLVERS, every=5))
def test_the_error_falls_with_the_order(name, problem, schedule):
    order, make = SOLVERS[name]
    denoiser = problems(schedule)[problem]
    # Exact derivatives cost more, and show their order on coarser grids.
    steps = [12, 18, 27] if name.startswith("exact") else [32, 48, 72, 108]
    errors = errors_of(make, denoiser, [warm_grid(schedule, n) for n in steps])
    slope = slope_of(errors, steps)
    assert slope > order - 0.2, (slope, errors)
    assert slope < order + 0.2 or problem == "gaussian", (slope, errors)


@pytest.mark.parametrize(
    "name", thinned(["unip3-x0-expm1", "unipc2-x0-expm1", "unipc3-x0-expm1"], every=2)
)
def test_multistep_solvers_know_the_widths_of_their_steps(name):
    """Steps of widths 1, 2, 1, 2, ...: their ratios, all one on an even grid, matter in each."""
    order, make = SOLVERS[name]
    schedule = CosineSchedule()
    steps = [32, 48, 72]
    grids = [warm_grid(schedule, n, (1, 2)) for n in steps]
    errors = errors_of(make, problems(schedule)["mixture"], grids)
    slope = slope_of(errors, steps)
    assert abs(slope - order) < 0.25, (slope, errors)


@pytest.mark.parametrize("name", ["unipc3-x0-expm1", "dpm++2m"])
def test_without_a_warm_start_the_first_step_decides(name):
    """From an even grid, a first step of order one leaves an error of order two behind."""
    schedule = CosineSchedule()
    _, make = SOLVERS[name]
    steps = [32, 48, 72, 108]
    grids = [even_grid(schedule, n) for n in steps]
    errors = errors_of(make, problems(schedule)["mixture"], grids)
    assert slope_of(errors, steps) > 1.8
