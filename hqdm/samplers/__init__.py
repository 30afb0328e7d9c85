"""Samplers: from noise to images through a denoiser."""

from collections.abc import Callable, Sequence
from functools import partial

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

__all__ = [
    "ADAPTIVE",
    "DDIM",
    "DDPM",
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
) -> Sampler:
    """The sampler of that name.

    Args:
        name: A key of `SAMPLERS` or `ADAPTIVE`.
        steps: Number of steps; the sampler's own default where None.
        grid: A key of `GRIDS`, or decreasing times; the sampler's own default where None.
        tolerance: Relative error of a step of an adaptive sampler; its own default where None.

    Returns:
        The sampler, called by that name.

    Raises:
        HQDMError: If the name is unknown, an option is not one of that sampler's or is out of its
            range.
    """
    known = {**SAMPLERS, **ADAPTIVE}
    if name not in known:
        raise unknown("sampler", name, known)
    options = {"steps": steps, "grid": grid, "tolerance": tolerance}
    given = {option: value for option, value in options.items() if value is not None}
    takes = ("tolerance",) if name in ADAPTIVE else ("steps", "grid")
    for option in given:
        if option not in takes:
            raise HQDMError(f"{name} takes no {option}: it takes {' and '.join(takes)}")
    sampler = known[name](**given)
    sampler.name = name
    return sampler
