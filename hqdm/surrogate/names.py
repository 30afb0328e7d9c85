"""The names of the samplers of this room: `carleman` and, as its control, `gaussian`.

Importing this file registers them; the solvers themselves are imported when one is made.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hqdm.diffusion.denoiser import Denoiser
from hqdm.samplers.base import Sampler
from hqdm.samplers.registry import SAMPLERS, STEPS, SamplerEntry
from hqdm.utils.errors import HQDMError

if TYPE_CHECKING:
    from hqdm.surrogate.fit import CarlemanFit

CARLEMAN, GAUSSIAN = "carleman", "gaussian"
"""The second takes the data for Gaussian: the first has to do better than that."""


def make(
    name: str, *, fit: "CarlemanFit | None" = None, steps: int | None = None, then: str = ""
) -> Sampler:
    """The sampler of that name.

    Args:
        name: `CARLEMAN` or `GAUSSIAN`.
        fit: The polynomial that was fitted to the model.
        steps: Segments; where another sampler finishes, its steps.
        then: The name of the sampler that finishes with the network, or none.

    Raises:
        HQDMError: If there is no fit, or as for `hqdm.surrogate.sampler.Carleman`.
    """
    from hqdm.surrogate.sampler import build_carleman  # scipy's solvers are slow to import

    if fit is None:
        raise HQDMError(f"{name} needs a fit to the model: run `hqdm carleman fit` first")
    if name == GAUSSIAN:
        return build_carleman(fit.gaussian(), steps, then, order=1)
    return build_carleman(fit, steps, then)


def load(checkpoint: Path, denoiser: Denoiser) -> dict[str, Any]:
    """The fit beside a checkpoint, as an argument of `make`.

    Raises:
        HQDMError: If it is missing, damaged, or of another model.
    """
    from hqdm.surrogate.fit import load_fit  # scipy is slow to import

    return {"fit": load_fit(checkpoint, denoiser)}


for _name in (CARLEMAN, GAUSSIAN):
    SAMPLERS.register(
        _name, SamplerEntry(partial(make, _name), (STEPS,), load, network=False, hybrid=True)
    )
