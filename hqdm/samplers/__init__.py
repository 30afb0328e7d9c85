"""Samplers: from noise to images through a denoiser."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from hqdm.errors import HQDMError, unknown
from hqdm.samplers.adaptive import AdaptiveDPMSolver
from hqdm.samplers.ancestral import DDPM
from hqdm.samplers.base import Result, Sampler
from hqdm.samplers.ddim import DDIM
from hqdm.samplers.dpm_solver import ORDERS, DPMSolver, DPMSolverExact, DPMSolverPP
from hqdm.samplers.grids import GRIDS
from hqdm.samplers.noise import ImageNoise
from hqdm.samplers.repaint import RePaint
from hqdm.samplers.runge_kutta import RK4, Heun
from hqdm.samplers.unipc import UniPC

if TYPE_CHECKING:
    from hqdm.samplers.carleman_fit import CarlemanFit

SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "ddpm": partial(DDPM),
    "ddim": partial(DDIM),
    "dpm": partial(DPMSolver),
    **{f"dpm{k}": partial(DPMSolver, order=k) for k in ORDERS},
    **{f"dpm-exact{k}": partial(DPMSolverExact, order=k) for k in ORDERS},
    "dpm++2m": partial(DPMSolverPP),
    "dpm++2m-sde": partial(DPMSolverPP, sde=True),
    "unipc": partial(UniPC),
    **{f"unipc{k}": partial(UniPC, order=k) for k in ORDERS},
    "heun": partial(Heun),
    "rk4": partial(RK4),
}
"""Samplers of a number of steps, by name; a digit is the order, without it 3, or 2 for UniPC."""

ADAPTIVE: dict[str, Callable[..., Sampler]] = {"dpm-adaptive": partial(AdaptiveDPMSolver)}
"""Samplers that take a tolerance and choose their steps."""

CARLEMAN, GAUSSIAN = "carleman", "gaussian"
"""Samplers without a network; followed by + and a name of `SAMPLERS`, that one finishes.

The second takes the data for Gaussian: it is what the first has to beat.
"""
FITTED = CARLEMAN, GAUSSIAN

__all__ = [
    "ADAPTIVE",
    "CARLEMAN",
    "DDIM",
    "DDPM",
    "FITTED",
    "GAUSSIAN",
    "GRIDS",
    "RK4",
    "SAMPLERS",
    "AdaptiveDPMSolver",
    "DPMSolver",
    "DPMSolverExact",
    "DPMSolverPP",
    "Heun",
    "ImageNoise",
    "RePaint",
    "Result",
    "Sampler",
    "UniPC",
    "build_sampler",
]


def build_sampler(
    name: str,
    steps: int | None = None,
    grid: str | Sequence[float] | None = None,
    tolerance: float | None = None,
    fit: "CarlemanFit | None" = None,
) -> Sampler:
    """The sampler of that name.

    Args:
        name: A key of `SAMPLERS` or `ADAPTIVE`, or one of `FITTED`, or that, + and a key of
            `SAMPLERS`.
        steps: Number of steps; the sampler's own default where None. Of carleman the segments, of
            carleman+NAME the steps of the other sampler.
        grid: A key of `GRIDS`, or decreasing times; the sampler's own default where None.
        tolerance: Relative error of a step of an adaptive sampler; its own default where None.
        fit: What was fitted to the model, for `FITTED`.

    Returns:
        The sampler, called by that name.

    Raises:
        HQDMError: If the name is unknown, an option is not one of that sampler's or is out of its
            range.
    """
    check_name(name)
    options = {"steps": steps, "grid": grid, "tolerance": tolerance}
    given = {option: value for option, value in options.items() if value is not None}
    takes = takes_of(name)
    for option in given:
        if option not in takes:
            raise HQDMError(f"{name} takes no {option}: it takes {' and '.join(takes)}")
    if is_fitted(name):
        if fit is None:
            raise HQDMError(f"{name} needs a fit to the model: run `hqdm carleman fit` first")
        from hqdm.samplers.carleman import build_carleman  # scipy's solvers are slow to import

        sampler: Sampler = build_carleman(name, fit, steps)
    else:
        sampler = {**SAMPLERS, **ADAPTIVE}[name](**given)
    sampler.name = name
    return sampler


def is_fitted(name: str) -> bool:
    """Whether the sampler of that name needs a fit to the model."""
    return name.partition("+")[0] in FITTED


def takes_of(name: str) -> tuple[str, ...]:
    """The options of `build_sampler` that the sampler of that name takes."""
    if is_fitted(name):
        return ("steps",)
    return ("tolerance",) if name in ADAPTIVE else ("steps", "grid")


def check_name(name: str) -> None:
    """Refuse what no sampler is called.

    Raises:
        HQDMError: If the name is unknown; the line suggests one.
    """
    first, plus, then = name.partition("+")
    if first in FITTED and plus:
        if then not in SAMPLERS:
            raise unknown(f"sampler after {first}", then, SAMPLERS)
    elif name not in (known := (*SAMPLERS, *ADAPTIVE, *FITTED)):
        raise unknown("sampler", name, known)
