"""The commands of models of images for those of quantum states."""

from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console, RenderableType

from hqdm.cli.circuit_report import print_circuit
from hqdm.data.batches import BatchDataModule
from hqdm.diffusion.loading import checkpoint_in, find_model, model_digest
from hqdm.diffusion.model import Model
from hqdm.states.models.backward import Circuits
from hqdm.states.models.denoiser import StateDenoiser
from hqdm.states.runs.controls import Controls, control_sheet
from hqdm.states.runs.data import StateDataModule, data_of_run
from hqdm.states.runs.evaluation import METRICS_FILE, fresh_states, score_page, write_report
from hqdm.states.runs.evaluation import evaluate as score
from hqdm.states.runs.pictures import picture_files, state_pictures
from hqdm.states.runs.sampling import FILES, sample_states, write_states
from hqdm.storage.checkpoint import read_checkpoint
from hqdm.storage.claims import claim
from hqdm.utils.errors import HQDMError
from hqdm.utils.pictures import save_figure
from hqdm.utils.progress import progress_bar
from hqdm.utils.seeds import generator
from hqdm.utils.tables import counted, show

COMMON = ("checkpoint", "weights", "n", "seed", "device", "overwrite", "out")
"""The options of `sample` and `evaluate` that apply to models of quantum states."""

PICTURE_STREAM = 12
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


def data_of(checkpoint: str | None, given: BatchDataModule | None) -> StateDataModule | None:
    """The data of a model: those that are given, or else those of its run.

    Args:
        checkpoint: The model, see `hqdm.diffusion.loading.find_model`, if no data are given.
        given: The data of a configuration.

    Returns:
        None for an exported model, which does not name the ensemble of its run.

    Raises:
        HQDMError: If the given data are of images, or the run has none.
    """
    if given is None:
        path = checkpoint_in(find_model(str(checkpoint)))
        return None if path.is_dir() else data_of_run(read_checkpoint(path))
    if not isinstance(given, StateDataModule):
        raise HQDMError("--data is a configuration of images: name one of quantum states")
    return given


def sample(model: Model, options: Namespace) -> None:
    """Generate states, see `hqdm.states.runs.sampling`, and draw them beside the data of the run.

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
    data = data_of(options.checkpoint, None)
    pictures = picture_files(model.n_qubits) if data else ()
    with claim(out, (*FILES, *pictures), options.overwrite):
        with progress_bar() as progress:
            samples = sample_states(model, n, options.seed, progress)
        written = [write_states(samples, out, settings)]
        if data:
            real = fresh_states(model, data, n, options.seed, 0)
            path = [*samples.path[:-1], samples.states]
            draws = generator(options.seed, PICTURE_STREAM)
            for name, figure in state_pictures(model, path, real, draws).items():
                save_figure(figure, out / name)
                written.append(str(out / name))
    print(f"{counted(n, 'state')}: {', '.join(written)}")
    if not data:
        print("no pictures: an exported model does not name the ensemble of its run")


def evaluate(
    model: Model,
    given: BatchDataModule | None,
    options: Namespace,
    source: Mapping[str, str],
    out: Path,
) -> None:
    """Score generated states, see `hqdm.states.runs.evaluation`.

    Args:
        model: The model.
        given: The data of `--data`, if any.
        options: The options of `hqdm evaluate`, of which those in `COMMON` apply, too.
        source: The file of the model and its digest, for the report.
        out: The folder.

    Raises:
        HQDMError: If an option is out of range, the data cannot be used, or a file would be
            replaced.
    """
    model = of_states(model)
    data = data_of(options.checkpoint, given)
    if data is None:
        raise HQDMError(
            f"{options.checkpoint} is an exported model, which does not name the ensemble of its "
            "run: name the configuration of the run with --data"
        )
    n = N_SCORED if options.n is None else options.n
    with claim(out, (METRICS_FILE,), options.overwrite):
        with progress_bar() as progress:
            report = score(model, data, n, options.seed, progress)
        written = write_report({**source, **report}, out)
    show(score_page(report))
    print(f"wrote {written}")


def description(model: Model) -> Iterator[str]:
    """Lines about a model: its qubits and steps, options, channel and objective.

    Raises:
        HQDMError: If it is not of quantum states.
    """
    network, config = of_states(model).network, model.config
    use = "measured" if network.collapses else "traced out"
    yield (
        f"{type(network).__name__} for states of {counted(network.n_qubits, 'qubit')}, "
        f"{counted(network.n_steps, 'step')} with {counted(network.n_auxiliary, 'auxiliary qubit')}"
        f", {use}"
    )
    for part in ("network", "channel", "objective"):
        fields = (f"{key} {value}" for key, value in config[part].items() if key != "name")
        yield f"{part}: {', '.join((config[part]['name'], *fields))}"


def report_circuits(model: Model, console: Console) -> None:
    """Print the circuits of a model: their numbers, gates and depth.

    Args:
        model: The model.
        console: The console to print to.

    Raises:
        HQDMError: If it is not of quantum states.
    """
    for name, part in of_states(model).network.parts.items():
        if isinstance(part, Circuits):
            number = counted(len(part.theta), "circuit")
            console.print(f"\n{name}: {number} of {part.theta[0].numel()} angles")
            print_circuit(part.circuit, console)


def controls_of(
    model: Model, given: BatchDataModule | None, checkpoint: str | None
) -> RenderableType:
    """The controls on the training data, see `hqdm.states.runs.controls`.

    Args:
        model: The model.
        given: The data of its configuration; None for those of the run of the checkpoint.
        checkpoint: The checkpoint, if there is no configuration.

    Returns:
        A table; for an exported model a line that it does not name its data.

    Raises:
        HQDMError: If the data cannot be used, or the model is not of quantum states.
    """
    data = data_of(checkpoint, given)
    if data is None:
        return "controls: unknown, an exported model does not name the ensemble of its run"
    data.setup()
    return control_sheet(Controls.of(of_states(model), data.train_set)).rich()
