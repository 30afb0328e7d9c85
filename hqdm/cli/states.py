"""The commands of models of images for those of quantum states."""

from argparse import Namespace
from pathlib import Path

from hqdm.diffusion.loading import model_digest
from hqdm.diffusion.model import Model
from hqdm.states.models.denoiser import StateDenoiser
from hqdm.states.runs.sampling import FILES, sample_states, write_states
from hqdm.storage.claims import claim
from hqdm.utils.errors import HQDMError
from hqdm.utils.progress import progress_bar
from hqdm.utils.tables import counted

COMMON = ("checkpoint", "weights", "n", "seed", "device", "overwrite", "out")
"""The options of `sample` and `evaluate` that apply to models of quantum states."""


def of_states(model: Model) -> StateDenoiser:
    """The model, if it is one of quantum states.

    Raises:
        HQDMError: If it is of another kind.
    """
    if not isinstance(model, StateDenoiser):
        raise HQDMError(f"the command is not for {model.noun}: expected {StateDenoiser.noun}")
    return model


def sample(model: Model, options: Namespace) -> None:
    """Generate states, see `hqdm.states.runs.sampling`.

    Args:
        model: The model.
        options: The options of `hqdm sample`, of which those in `COMMON` apply.

    Raises:
        HQDMError: If an option is out of range, or a file would be replaced.
    """
    model, out = of_states(model), Path(options.out)
    n = 64 if options.n is None else options.n
    given = {name: vars(options)[name] for name in COMMON}
    settings = {**given, "n": n, "checkpoint_sha256": model_digest(options.checkpoint)}
    with claim(out, FILES, options.overwrite):
        with progress_bar() as progress:
            samples = sample_states(model, n, options.seed, progress)
        written = write_states(samples, out, settings)
    print(f"{counted(n, 'state')}: {written}")
