"""`hqdm inspect`: parameters by part, circuits with gates and depth, and simulators of a model."""

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from typing import cast

from rich.console import Console
from torch import nn

from hqdm.cli.options import Parser, add_model, class_ranges
from hqdm.data.batches import BatchDataModule
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.loading import checkpoint_in, find_model, load_any
from hqdm.diffusion.model import Model
from hqdm.nn.parts import (
    QuantumModule,
    classical_parameters,
    count,
    quantum_layers,
    quantum_modules,
    quantum_parameters,
)
from hqdm.storage.checkpoint import read_checkpoint
from hqdm.storage.run_files import CONFIG
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError
from hqdm.utils.tables import Sheet

MAX_CLASS = 99_999
IMAGES = 1024  # of --importance and --gradients


def run(args: Sequence[str]) -> None:
    """Show a model: layers, parameter counts, circuits with depth and gates."""
    parser = Parser("hqdm inspect", description=run.__doc__)
    parser.add_argument(
        "--config", help="a training configuration; options of `hqdm fit` may follow"
    )
    add_model(parser, required=False)
    parser.add_argument(
        "--batch", type=int, default=128, help="images per training step, for the simulators (128)"
    )
    parser.add_argument(
        "--data",
        help="a data set, to show the error of one step of a network of amplitudes on it, and that "
        "of the best unitary",
    )
    parser.add_argument(
        "--importance",
        action="store_true",
        help="with --data: the change of the test loss when one place of the network is silenced, "
        "or its circuits get random angles",
    )
    parser.add_argument(
        "--gradients",
        action="store_true",
        help="with --data: norms and variances of the gradients of angles, circuit by circuit, in "
        "batches of --batch test images",
    )
    parser.add_argument(
        "--angles",
        action="store_true",
        help="with --checkpoint of a run: the distances of the angles from their random start, "
        "circuit by circuit",
    )
    parser.add_argument(
        "--spectrum", action="store_true", help="the Fourier series of the circuits' outputs"
    )
    parser.add_argument(
        "--n", type=int, help=f"test images of --importance and --gradients ({IMAGES})"
    )
    parser.add_argument(
        "--classes", type=class_ranges, help="classes of --data: 3 or 0,1 or 0-9 (all)"
    )
    options, changes = parser.parse_known_args(args)
    if options.batch < 1:
        raise HQDMError(f"batch needs 1 or more, got {options.batch}")
    if bool(options.config) == bool(options.checkpoint):
        raise HQDMError("inspect needs one of --config and --checkpoint")
    if options.classes and not options.data:
        raise HQDMError("--classes are those of --data: give both, or neither")
    for flag, given in (("importance", options.importance), ("gradients", options.gradients)):
        if given and not options.data:
            raise HQDMError(f"--{flag} is measured on the images of --data: name a data set")
    if options.angles and not options.checkpoint:
        raise HQDMError("--angles is of a trained model: give --checkpoint")
    if options.n is not None and not (options.importance or options.gradients):
        raise HQDMError("--n is of --importance and --gradients: give one of them, or leave it out")
    least = 2 if options.importance else 1  # the mean over one image is the image itself
    options.n = IMAGES if options.n is None else whole("--n", options.n, least)
    for ends in options.classes or ():  # before a long range becomes a list
        whole("--classes", ends[-1], 0, MAX_CLASS)
    classes = None if options.classes is None else list(chain(*options.classes))
    if changes and not options.config:
        parser.error(f"unrecognized arguments: {' '.join(changes)}")
    if options.config:
        from hqdm.cli.commands.fit import TrainingCLI  # Lightning is slow to import

        configured = TrainingCLI(["--config", options.config, *changes])
        denoiser, data = configured.model.denoiser.eval(), configured.datamodule
    else:
        denoiser, data = load_any(options.checkpoint), None
    if not isinstance(denoiser, Denoiser):
        parser.refuse_others(args, ("config", "checkpoint"), denoiser.noun)
        report_states(denoiser, data, options.checkpoint, Console())
        return
    if options.importance or options.gradients or options.spectrum or options.angles:
        sheets = list(diagnostic_sheets(denoiser, options, classes))
    else:
        sheets = [bound_sheet(denoiser, options.data, classes)] if options.data else []
    console = Console()  # nothing is printed before all data is known to be usable
    report(denoiser, console, options.batch)
    for sheet in sheets:
        console.print(sheet.rich())


def report_states(
    model: Model, data: BatchDataModule | None, checkpoint: str | None, console: Console
) -> None:
    """Print the parts of a model of quantum states, its circuits, and what formulas reach.

    Args:
        model: The model.
        data: The data of its configuration; None for those of the run of the checkpoint.
        checkpoint: The checkpoint, if there is no configuration.
        console: The console to print to.

    Raises:
        HQDMError: If the data of the run cannot be used, or the model is of another kind.
    """
    from hqdm.cli import states  # imports PennyLane and the simulators

    controls = states.controls_of(model, data, checkpoint)
    for line in states.description(model):
        console.print(line, soft_wrap=True, highlight=False)
    console.print(parameter_sheet(model).rich())
    states.report_circuits(model, console)
    console.print(controls)


def diagnostic_sheets(
    denoiser: Denoiser, options: Namespace, classes: Sequence[int] | None
) -> Iterator[Sheet]:
    """The diagnostics of `hqdm.cli.diagnostics` that are asked for.

    Args:
        denoiser: The model.
        options: The options of the command.
        classes: See `hqdm.data.load_images`.

    Raises:
        HQDMError: If the data cannot be used, the model has no circuits of this kind, or its start
            is not known.
    """
    from hqdm.cli import diagnostics  # imports PennyLane and the simulators

    if options.angles:
        yield diagnostics.angle_sheet(start_of(options.checkpoint), denoiser)
    if options.spectrum:
        yield diagnostics.spectrum_sheet(denoiser)
    if not options.data:
        return
    x0, y = diagnostics.images_of(denoiser, options.data, classes, options.n)
    if options.importance:
        yield diagnostics.importance_sheet(denoiser, x0, y)
    if options.gradients:
        yield diagnostics.gradient_sheet(denoiser, x0, y, options.batch)


def start_of(checkpoint: str) -> Denoiser:
    """The model of a run of `hqdm fit` before its first step, from its configuration and its seed.

    Args:
        checkpoint: See `hqdm.diffusion.loading.find_model`.

    Raises:
        HQDMError: If there is no such run, its configuration is of another one, or it did not start
            from random weights.
    """
    from hqdm.cli.commands.fit import TrainingCLI  # Lightning is slow to import

    path = checkpoint_in(find_model(checkpoint))
    file = path.parent / CONFIG
    if path.is_dir() or not file.is_file():
        raise HQDMError(
            "--angles needs the start of the run, from the config.yaml beside a checkpoint of "
            f"`hqdm fit`: {path} has none"
        )
    saved = read_checkpoint(path)
    run = TrainingCLI(["--config", str(file)])
    if run.config["init_from"]:
        raise HQDMError(
            f"--angles: the run started from the weights of {run.config['init_from']}, not from "
            "its random seed: leave it out"
        )
    if (run.model.seed, run.model.denoiser.config) != (saved.seed, saved.denoiser):
        raise HQDMError(f"--angles: {file} is not the configuration of {path}: leave it out")
    denoiser: Denoiser = run.model.denoiser
    return denoiser


def bound_sheet(denoiser: Denoiser, data: str, classes: Sequence[int] | None = None) -> Sheet:
    """The errors of `hqdm.evaluation.unitary_bound` on the training images of a data set.

    Args:
        denoiser: The model.
        data: The name of the data set.
        classes: See `hqdm.data.load_images`.

    Raises:
        HQDMError: If the network is not one of amplitudes, or the data cannot be used.
    """
    from hqdm.data.images import load_images
    from hqdm.evaluation.unitary_bound import bound_rows, unitary_bound
    from hqdm.utils.pixels import to_float

    channels, size, _ = denoiser.image_shape
    images = load_images(data, size=size, channels=channels, classes=classes)
    found = unitary_bound(denoiser, to_float(images.images), images.labels)
    if found is None:
        raise HQDMError(
            f"--data is for networks of amplitudes (USS, BestUnitary), got "
            f"{type(denoiser.network).__name__}: leave it out"
        )
    return Sheet(f"one step, {data}", ("error", "per pixel"), bound_rows(asdict(found)))


def report(denoiser: Denoiser, console: Console, batch: int) -> None:
    """Print the model's parts, layers, simulators and circuits.

    Args:
        denoiser: The model.
        console: The console to print to.
        batch: Images per training step, for the choice of simulators.
    """
    shape = "x".join(map(str, denoiser.sample_shape))
    console.print(
        f"{type(denoiser.network).__name__} for samples of shape {shape}, predicts "
        f"{denoiser.predict}, {denoiser.schedule}, classes: {denoiser.n_classes or 'none'}"
    )
    options = {k: v for k, v in denoiser.network.config.items() if not isinstance(v, Mapping)}
    if options:
        console.print("options:", ", ".join(f"{k} {v}" for k, v in options.items()), soft_wrap=True)
    console.print(parameter_sheet(denoiser).rich())
    layers = quantum_layers(denoiser)
    others = {name: m for name, m in quantum_modules(denoiser).items() if name not in layers}
    for name, module in others.items():
        angles = count(cast(QuantumModule, module).quantum_parameters())
        console.print(f"{name}: {type(module).__name__} with {angles:,} circuit angles")
    if not layers:
        if not others:
            console.print("no quantum layers: the network is classical")
        return
    from hqdm.cli.circuit_report import report_circuits  # imports PennyLane and the simulators

    report_circuits(denoiser, layers, console, batch)


def parameter_sheet(denoiser: Model) -> Sheet:
    """Numbers of classical and quantum parameters by part of the network."""
    numbers = (classical_parameters, quantum_parameters, nn.Module.parameters)
    counts = {
        name: [count(select(module)) for select in numbers]
        for name, module in denoiser.network.parts.items()
    }
    total = [count(select(denoiser)) for select in numbers]
    outside = [whole - sum(own) for whole, *own in zip(total, *counts.values(), strict=True)]
    if any(outside):
        counts["outside parts"] = outside
    counts["total"] = total
    rows = [(name, *(f"{number:,}" for number in row)) for name, row in counts.items()]
    return Sheet("parameters", ("part", "classical", "quantum", "all"), rows)
