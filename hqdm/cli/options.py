"""The parser of the commands, and the options that several of them have."""

import argparse
import re
from collections.abc import Collection, Sequence
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from hqdm.utils.checks import device_named
from hqdm.utils.errors import HQDMError

if TYPE_CHECKING:
    from hqdm.diffusion.denoiser import Denoiser
    from hqdm.diffusion.model import Model
    from hqdm.evaluation.protocol import ScoringProtocol
    from hqdm.samplers import Sampler


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """See `argparse`; the name of a shipped model or of one on the hub becomes its folder.

        Raises:
            HQDMError: As in `error`, or if a model on the hub cannot be downloaded.
        """
        options, rest = super().parse_known_args(args, namespace)
        if getattr(options, "checkpoint", None):
            from hqdm.diffusion.loading import find_model

            options.checkpoint = str(find_model(options.checkpoint))
        return options, rest

    def refuse_others(self, args: Sequence[str], taken: Collection[str], noun: str) -> None:
        """Refuse options that do not apply to the model of `--checkpoint` or `--config`.

        Args:
            args: The arguments, which were parsed without an error.
            taken: The names of the options that apply.
            noun: The kind of the model.

        Raises:
            HQDMError: For the first of them that is given.
        """
        unset = object()
        blank = argparse.Namespace(**{action.dest: unset for action in self._actions})
        found, _ = super().parse_known_args(list(args), blank)
        for action in self._actions:
            if action.dest not in taken and getattr(found, action.dest) is not unset:
                raise HQDMError(
                    f"{action.option_strings[0]} does not apply to {noun}: leave it out"
                )

    def error(self, message: str) -> NoReturn:
        """Raise the error that `main` prints.

        Raises:
            HQDMError: Always.
        """
        raise HQDMError(f"{message} (`{self.prog} --help` lists the options)")


def add_checkpoint(parser: Parser) -> None:
    """Add the choice of a model and of its weights."""
    add_model(parser)
    parser.add_argument(
        "--weights",
        default="averaged",
        choices=("averaged", "raw"),
        help="weights of a training checkpoint: averaged or raw (averaged)",
    )


def add_model(parser: Parser, required: bool = True) -> None:
    """Add the option `--checkpoint`."""
    parser.add_argument(
        "--checkpoint",
        required=required,
        help="a .ckpt file, the folder of a run, a folder that `export` wrote, a model that ships "
        "with hqdm (mnist, qdense_digits, qunet_digits, uss_digits), or one on the Hugging Face "
        "hub (owner/name)",
    )


def add_sampler(parser: Parser, n: int, sampler: str = "ddim") -> None:
    """Add the choice of a sampler, and the options of `add_drawing`."""
    names = f"such as ddpm, ddim, dpm3, unipc3, iterate, carleman ({sampler})"
    parser.add_argument("--sampler", default=sampler, help=names)
    steps = "sampler steps (ddpm 1000, ddim 50, heun 20, carleman 8, others 10)"
    parser.add_argument("--steps", type=int, help=steps)
    error = "error per step of dpm-adaptive"
    parser.add_argument("--tolerance", type=float, help=f"relative {error} (0.05)")
    parser.add_argument("--absolute", type=float, help=f"absolute {error} (0.156 of --tolerance)")
    add_own(parser)
    add_drawing(parser, n)


def add_own(parser: Parser) -> None:
    """Add the options that a sampler alone has."""
    parser.add_argument(
        "--sampler-options",
        nargs="+",
        default=[],
        type=key_and_value,
        metavar="KEY=VALUE",
        help="options of this sampler only; sa-solver: order, corrector, tau; er-sde: order, "
        "noise_scale; rex: tau; uss: scale, method, trajectories, device, shots, depolarising, "
        "readout",
    )


def key_and_value(text: str) -> tuple[str, Any]:
    """A name and a value in a text such as `shots=100`; the value as in YAML.

    Raises:
        argparse.ArgumentTypeError: If it is written in another way.
    """
    key, equals, value = text.partition("=")
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError:
        read = None
    if not key or not equals or not isinstance(read, str | int | float):
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE such as shots=100, got {text!r}")
    return key, read


def add_drawing(parser: Parser, n: int) -> None:
    """Add the options of sampling that do not depend on the sampler."""
    parser.add_argument(
        "--grid",
        help="time, lambda, karras, power, power:NUMBER or FILE.json (that of the sampler)",
    )
    add_noise(parser, n)
    parser.add_argument("--batch-size", type=int, default=256, help="images per batch (256)")


def add_noise(parser: Parser, n: int) -> None:
    """Add the options of the number of images, the random seed and guidance."""
    parser.add_argument("--n", type=int, default=n, help=f"number of images ({n})")
    parser.add_argument("--seed", type=int, default=0, help="random seed (0)")
    parser.add_argument("--guidance", type=float, default=1.0, help="guidance scale; 1 is none")


def add_label(parser: Parser) -> None:
    """Add the option `--label`."""
    parser.add_argument(
        "--label",
        type=class_ranges,
        help="classes of the images, taken in turn: 3 or 3,7 or 0-9 (all classes)",
    )


def class_ranges(text: str) -> list[range]:
    """The classes in a text such as `3`, `3,7` or `0-4,9`.

    Raises:
        argparse.ArgumentTypeError: If it is written in another way.
    """
    ranges = []
    for part in text.split(","):
        written = re.fullmatch(r"\s*([0-9]+)(?:-([0-9]+))?\s*", part)
        first, last = (written[1], written[2] or written[1]) if written else ("1", "0")
        if int(first) > int(last):
            raise argparse.ArgumentTypeError(
                f"expected classes such as 3 or 3,7 or 0-9, got {text!r}"
            )
        ranges.append(range(int(first), int(last) + 1))
    return ranges


def label_of(options: argparse.Namespace, denoiser: "Denoiser") -> int | list[int] | None:
    """The classes of `--label`, of which a single one is a number; None for all classes.

    Raises:
        HQDMError: If the model does not have one of them.
    """
    if options.label is None:
        return None
    from hqdm.diffusion.denoiser import class_labels

    for ends in options.label:  # before a long range becomes a list
        class_labels(denoiser, 1, ends[-1])
    labels = [label for ends in options.label for label in ends]
    return labels[0] if len(labels) == 1 else labels


def add_kinds(parser: Parser) -> None:
    """Add the option `--save`."""
    parser.add_argument(
        "--save",
        nargs="+",
        default=[],
        metavar="KIND",
        choices=("png", "npz", "gif", "webp"),
        help="files beside the grid, the strip and the safetensors: png (each image), npz (arr_0, "
        "as tools for FID read it), gif or webp (the strip as an animation)",
    )


def add_output(parser: Parser, out: str | None, what: str = "folder to write to") -> None:
    """Add the options of the device and of output files; `out` is the default of `--out`."""
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (auto)")
    parser.add_argument("--overwrite", action="store_true", help="replace files in --out")
    parser.add_argument("--out", default=out, help=f"{what} ({out})" if out else what)


def add_data(parser: Parser, what: str, required: bool = True) -> None:
    """Add the options of a data set; `what` is the help of `--data`."""
    parser.add_argument("--data", required=required, help=what)
    parser.add_argument("--offline", action="store_true", help="do not access the network")
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out images that cannot be read"
    )


def add_scores(parser: Parser, states: bool = False) -> None:
    """Add the options of the comparison with real images.

    Args:
        parser: The parser.
        states: Whether the command is of quantum states, too.
    """
    what = "the data set to compare with"
    of_states = (
        "; of states: a configuration of `hqdm fit`, for an exported model (that of the run)"
    )
    add_data(parser, what + (of_states if states else ""), required=not states)
    parser.add_argument(
        "--classes",
        type=class_ranges,
        help="classes of the real images, the labels 0, 1, ... of the model: 0,1 or 0-4 (all)",
    )
    parser.add_argument(
        "--extractor", help="digits, mnist, fashion_mnist, cifar10, inception, dinov2"
    )
    parser.add_argument(
        "--fid-weights", help="file of the weights of inception, or folder of those of dinov2"
    )


def load_model(options: argparse.Namespace) -> "Denoiser":
    """The model of images of `--checkpoint` on `--device`.

    Raises:
        HQDMError: If either cannot be used, or it is a model of another kind.
    """
    from hqdm.diffusion.loading import load_denoiser

    device = device_named(options.device)
    return load_denoiser(options.checkpoint, options.weights).to(device)


def load_any_model(options: argparse.Namespace) -> "Model":
    """The model of `--checkpoint`, of any kind, on `--device`.

    Raises:
        HQDMError: If either cannot be used.
    """
    from hqdm.diffusion.loading import load_any

    device = device_named(options.device)
    return load_any(options.checkpoint, options.weights).to(device)


def grid_of(options: argparse.Namespace, sampler: str, denoiser: "Denoiser") -> Any:
    """The grid of `--grid` for a sampler: a name, times, or None for the sampler's default.

    Raises:
        HQDMError: If a file of times cannot be used.
    """
    if options.grid is None or not options.grid.endswith(".json"):
        return options.grid
    from hqdm.samplers.optimised import read_grid

    return read_grid(Path(options.grid), sampler, denoiser.schedule)


def sampler_of(options: argparse.Namespace, denoiser: "Denoiser") -> "Sampler":
    """The sampler of `--sampler` and its options.

    Raises:
        HQDMError: If there is no such sampler, or it does not accept one of the options.
    """
    from hqdm.samplers.registry import build_sampler, sampler_entry

    sampler_entry(options.sampler)  # refuses an unknown name before files are read
    grid = grid_of(options, options.sampler, denoiser)
    loaded = loaded_for(options.sampler, options, denoiser)
    tolerances = options.tolerance, options.absolute
    own = own_of(options)
    return build_sampler(options.sampler, options.steps, grid, *tolerances, own, **loaded)


def own_of(options: argparse.Namespace) -> dict[str, Any]:
    """The options of `--sampler-options`.

    Raises:
        HQDMError: If one of them stands twice.
    """
    own = dict(options.sampler_options)
    if len(own) < len(options.sampler_options):
        raise HQDMError("--sampler-options: one option stands twice")
    return own


def loaded_for(name: str, options: argparse.Namespace, denoiser: "Denoiser") -> dict[str, Any]:
    """Arguments of a sampler from files next to `--checkpoint`, such as a fit to the model.

    Raises:
        HQDMError: If a file is missing or belongs to another model, or guidance is requested.
    """
    from hqdm.samplers.registry import load_arguments

    return load_arguments(name, Path(options.checkpoint), denoiser, options.guidance)


def drawing_of(options: argparse.Namespace, denoiser: "Denoiser") -> dict[str, Any]:
    """The options of sampling as arguments of `sample_images`, beside n.

    Raises:
        HQDMError: If the model does not have a class of `--label`.
    """
    options.label = label_of(options, denoiser)  # as the record has it
    return {key: vars(options)[key] for key in ("seed", "label", "guidance", "batch_size")}


def protocol_of(options: argparse.Namespace) -> "ScoringProtocol":
    """The protocol of a comparison with real images."""
    from hqdm.evaluation.protocol import ScoringProtocol

    given = dict(vars(options))
    if given.get("classes") is not None:
        given["classes"] = tuple(chain(*given["classes"]))
    return ScoringProtocol(
        **{f.name: given[f.name] for f in fields(ScoringProtocol) if f.name in given}
    )
