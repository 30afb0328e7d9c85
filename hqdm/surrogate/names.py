"""Registration of the sampler `carleman` and of its control `gaussian`.

Importing this module registers them; the entry point group `hqdm.plugins` imports it when a name is
not found, so that the rooms below need not import it. The solvers are imported on demand.
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
    from hqdm.surrogate.learned import ClassFits

CARLEMAN, GAUSSIAN = "carleman", "gaussian"
"""`gaussian` assumes Gaussian data, as a baseline for `carleman`."""


def make(
    name: str,
    *,
    fit: "CarlemanFit | ClassFits | None" = None,
    steps: int | None = None,
    then: str = "",
) -> Sampler:
    """Build the sampler of a given name.

    Args:
        name: `CARLEMAN` or `GAUSSIAN`.
        fit: The fit to the model.
        steps: Number of segments, or with `then` the number of steps of that sampler.
        then: The name of a sampler that takes the last steps with the network; empty for none.

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
    """Load the fit next to a checkpoint, as an argument of `make`.

    Raises:
        HQDMError: If it is missing or damaged, or belongs to another model.
    """
    from hqdm.surrogate.learned import load_fit  # scipy is slow to import

    return {"fit": load_fit(checkpoint, denoiser)}


for _name in (CARLEMAN, GAUSSIAN):
    SAMPLERS.register(
        _name, SamplerEntry(partial(make, _name), (STEPS,), load, network=False, hybrid=True)
    )
