"""The commands of models of images for those of quantum states."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from hqdm.diffusion.loading import checkpoint_in, find_model, model_digest
from hqdm.diffusion.model import Model
from hqdm.states.models.denoiser import StateDenoiser
from hqdm.states.runs.data import StateDataModule, data_of_run
from hqdm.states.runs.evaluation import METRICS_FILE, score_page, write_report
from hqdm.states.runs.evaluation import evaluate as score
from hqdm.states.runs.sampling import FILES, sample_states, write_states
from hqdm.storage.checkpoint import read_checkpoint
from hqdm.storage.claims import claim
from hqdm.utils.errors import HQDMError
from hqdm.utils.progress import progress_bar
from hqdm.utils.tables import counted, show

COMMON = ("checkpoint", "weights", "n", "seed", "device", "overwrite", "out")
"""The options of `sample` and `evaluate` that apply to models of quantum states."""

N_SAMPLED, N_SCORED = 64, 1000
"""Numbers of states if `--n` is not given."""


def of_states(model: Model) -> StateDenoiser:
    """The model, if it is one of quantum states.

    Raises:
        HQDMError: If it is of another kind.
    """
    if not isinstance(model, StateDenoiser):
        raise HQDMError(f"the command is not for {model.noun}: expected {StateDenoiser.noun}")
    return model


def data_of(checkpoint: str, configuration: str | None) -> StateDataModule:
    """The data of a model: those of a configuration, or else those of the run.

    Args:
        checkpoint: The model, see `hqdm.diffusion.loading.find_model`.
        configuration: A configuration of `hqdm fit`, a file or a name.

    Raises:
        HQDMError: If the configuration is not of states, or none is given for an exported model.
    """
    if configuration is not None:
        return configured(["--config", configuration])[1]
    path = checkpoint_in(find_model(checkpoint))
    if path.is_dir():
        raise HQDMError(
            f"{path} is an exported model, which does not name the ensemble of its run: name the "
            "configuration of the run with --data"
        )
    return data_of_run(read_checkpoint(path))


def configured(args: Sequence[str]) -> tuple[StateDenoiser, StateDataModule]:
    """The untrained model and the data of a configuration.

    Args:
        args: Arguments of `hqdm fit`.

    Raises:
        HQDMError: If the configuration is not of states.
    """
    from hqdm.cli.commands.fit import TrainingCLI  # Lightning is slow to import

    run = TrainingCLI(args)
    model = of_states(run.model.denoiser)
    assert isinstance(run.datamodule, StateDataModule)
    return model, run.datamodule


def sample(model: Model, options: Namespace) -> None:
    """Generate states, see `hqdm.states.runs.sampling`.

    Args:
        model: The model.
        options: The options of `hqdm sample`, of which those in `COMMON` apply.

    Raises:
        HQDMError: If an option is out of range, or a file would be replaced.
    """
    model, out = of_states(model), Path(options.out)
    n = N_SAMPLED if options.n is None else options.n
    given = {name: vars(options)[name] for name in COMMON}
    settings = {**given, "n": n, "checkpoint_sha256": model_digest(options.checkpoint)}
    with claim(out, FILES, options.overwrite):
        with progress_bar() as progress:
            samples = sample_states(model, n, options.seed, progress)
        written = write_states(samples, out, settings)
    print(f"{counted(n, 'state')}: {written}")


def evaluate(model: Model, options: Namespace, source: Mapping[str, str], out: Path) -> None:
    """Score generated states, see `hqdm.states.runs.evaluation`.

    Args:
        model: The model.
        options: The options of `hqdm evaluate`, of which those in `COMMON` and `data` apply.
        source: The file of the model and its digest, for the report.
        out: The folder.

    Raises:
        HQDMError: If an option is out of range, the data cannot be used, or a file would be
            replaced.
    """
    model = of_states(model)
    data = data_of(options.checkpoint, options.data)
    n = N_SCORED if options.n is None else options.n
    with claim(out, (METRICS_FILE,), options.overwrite):
        with progress_bar() as progress:
            report = score(model, data, n, options.seed, progress)
        written = write_report({**source, **report}, out)
    show(score_page(report))
    print(f"wrote {written}")
