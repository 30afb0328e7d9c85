"""Samplers by name: `build_sampler("unipc3", steps=10)`.

A sampler that was fitted to a model may be followed by another one that takes the last steps with
the network: `carleman+unipc` is the sampler `carleman` with `then="unipc"`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from hqdm.diffusion.denoiser import Denoiser
from hqdm.samplers.adaptive import AdaptiveDPMSolver
from hqdm.samplers.base import Sampler
from hqdm.samplers.ddim import DDIM
from hqdm.samplers.ddpm import DDPM
from hqdm.samplers.dpm_solver import ORDERS, DPMSolver, DPMSolverExact, DPMSolverPP
from hqdm.samplers.runge_kutta import RK4, Heun
from hqdm.samplers.unipc import UniPC
from hqdm.utils.checks import check_types
from hqdm.utils.errors import HQDMError, check_names, unknown
from hqdm.utils.registry import Registry

STEPS, GRID, TOLERANCE, ABSOLUTE = "steps", "grid", "tolerance", "absolute"


@dataclass(frozen=True)
class SamplerEntry:
    """The factory and the options of a named sampler.

    Attributes:
        make: Builds the sampler from its options.
        options: The options of `build_sampler` that the sampler accepts.
        load: Reads further arguments of `make` from files next to a checkpoint, if any.
        network: True if the sampler's own steps evaluate the network.
        hybrid: True if +NAME may follow, for a sampler that takes the last steps with the network.
        objective: The only objective whose models it takes; None for all.
        own: Names of arguments of `make` beside these options, of plain values.
    """

    make: Callable[..., Sampler]
    options: tuple[str, ...] = (STEPS, GRID)
    load: Callable[[Path, Denoiser], dict[str, Any]] | None = None
    network: bool = True
    hybrid: bool = False
    objective: str | None = None
    own: tuple[str, ...] = ()

    @property
    def adaptive(self) -> bool:
        """True if the sampler chooses its steps by a tolerance."""
        return TOLERANCE in self.options


SAMPLERS: Registry[SamplerEntry] = Registry("sampler")
"""Samplers by name; a digit is the order, by default 3, 2 for UniPC and 4 for iPNDM."""

SamplerType = TypeVar("SamplerType", bound=type[Sampler])


def register_sampler(name: str, **entry: Any) -> Callable[[SamplerType], SamplerType]:
    """Class decorator: make a sampler available by a name.

    Args:
        name: The name.
        **entry: Fields of `SamplerEntry` other than `make`.
    """

    def register(cls: SamplerType) -> SamplerType:
        SAMPLERS.register(name, SamplerEntry(cls, **entry))
        return cls

    return register


_BUILT_IN: dict[str, Callable[..., Sampler]] = {
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
for _name, _make in _BUILT_IN.items():
    SAMPLERS.register(_name, SamplerEntry(_make))
SAMPLERS.register("dpm-adaptive", SamplerEntry(AdaptiveDPMSolver, (TOLERANCE, ABSOLUTE)))


def sampler_entry(name: str) -> SamplerEntry:
    """The entry of a named sampler; for `FIRST+THEN` that of the first one.

    Raises:
        HQDMError: If the name is unknown; the message suggests a similar one.
    """
    first, plus, then = name.partition("+")
    if not plus or first not in SAMPLERS or not SAMPLERS[first].hybrid:
        return SAMPLERS[name]
    finishing = [key for key, entry in SAMPLERS.items() if GRID in entry.options]
    if then not in finishing:
        raise unknown(f"sampler after {first}", then, finishing)
    return SAMPLERS[first]


def load_arguments(
    name: str, source: Path, denoiser: Denoiser, guidance: float = 1.0
) -> dict[str, Any]:
    """Arguments of a sampler from files next to a model, such as a fit; empty for most samplers.

    Args:
        name: The name of the sampler.
        source: The file or folder of the model.
        denoiser: The model.
        guidance: The scale of guidance that is requested; 1 is none.

    Raises:
        HQDMError: If a file is missing or belongs to another model, or guidance is requested.
    """
    load = sampler_entry(name).load
    if load is None:
        return {}
    if guidance != 1:
        raise HQDMError(f"{name} was fitted without guidance: omit the guidance scale")
    return load(source, denoiser)


def build_sampler(
    name: str,
    steps: int | None = None,
    grid: str | Sequence[float] | None = None,
    tolerance: float | None = None,
    absolute: float | None = None,
    own: Mapping[str, Any] | None = None,
    **loaded: Any,
) -> Sampler:
    """Build a sampler by name.

    Args:
        name: A key of `SAMPLERS`, or FIRST+THEN with a hybrid sampler and another key.
        steps: Number of steps; None is the sampler's default. For a fitted sampler the number of
            segments, for FIRST+THEN the number of steps of the second sampler.
        grid: A name, see `hqdm.samplers.grids`, or decreasing times; None is the sampler's
            default.
        tolerance: Relative error per step of an adaptive sampler; None is its default.
        absolute: Absolute error per step of an adaptive sampler; None is its default.
        own: Options of this sampler only, by name, see `SamplerEntry`.
        **loaded: The arguments that `load_arguments` returns.

    Returns:
        The sampler, with `name` as its name.

    Raises:
        HQDMError: If the name is unknown, or the sampler does not accept an option, or an option is
            out of range.
    """
    entry = sampler_entry(name)
    options = {STEPS: steps, GRID: grid, TOLERANCE: tolerance, ABSOLUTE: absolute}
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        if option not in entry.options:
            raise HQDMError(f"{name} takes no {option}: it takes {' and '.join(entry.options)}")
    if own:
        check_own(name, entry, own)
    _, plus, then = name.partition("+")
    if plus and entry.hybrid:
        loaded["then"] = then
    sampler = entry.make(**given, **(own or {}), **loaded)
    sampler.name = name
    return sampler


def check_own(name: str, entry: SamplerEntry, own: Mapping[str, Any]) -> None:
    """Refuse options that are not those of a sampler, or of another type.

    Raises:
        HQDMError: If there is one.
    """
    if not entry.own:
        raise HQDMError(f"{name} has no options of its own: leave {', '.join(own)} out")
    check_names(f"option of the sampler {name!r}", own, entry.own)
    check_types(own, get_type_hints(entry.make))
