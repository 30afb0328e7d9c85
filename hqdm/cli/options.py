"""What the commands of the command line share: their parser, and options that several take."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hqdm.utils.errors import HQDMError

if TYPE_CHECKING:
    import torch

    from hqdm.diffusion.denoiser import Denoiser
    from hqdm.evaluation.protocol import ScoringProtocol
    from hqdm.samplers import Sampler


class Parser(argparse.ArgumentParser):
    """A parser that refuses in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise what `main` prints.

        Raises:
            HQDMError: Always.
        """
        raise HQDMError(f"{message} (`{self.prog} --help` lists the options)")


def add_checkpoint(parser: Parser, required: bool = True) -> None:
    """The option `--checkpoint`."""
    parser.add_argument(
        "--checkpoint", required=required, help="a .ckpt file or a folder that `export` wrote"
    )


def add_sampler(parser: Parser, n: int, sampler: str = "ddim") -> None:
    """The choice of a sampler, and what `add_drawing` adds."""
    names = f"such as ddpm, ddim, dpm3, unipc3, carleman ({sampler})"
    parser.add_argument("--sampler", default=sampler, help=names)
    parser.add_argument("--steps", type=int, help="sampler steps (ddpm 1000, ddim 50, others 10)")
    parser.add_argument("--tolerance", type=float, help="error of a step of dpm-adaptive (0.05)")
    add_drawing(parser, n)


def add_drawing(parser: Parser, n: int) -> None:
    """How images are drawn, whichever the sampler."""
    parser.add_argument("--grid", help="time, lambda, karras or FILE.json (the sampler's)")
    add_noise(parser, n)
    parser.add_argument("--batch-size", type=int, default=256, help="images at a time (256)")


def add_noise(parser: Parser, n: int) -> None:
    """How many images, from which noise, and how they are guided."""
    parser.add_argument("--n", type=int, default=n, help=f"number of images ({n})")
    parser.add_argument("--seed", type=int, default=0, help="key of all noise (0)")
    parser.add_argument("--guidance", type=float, default=1.0, help="guidance scale; 1 is none")


def add_output(parser: Parser, out: str | None, what: str = "folder to write to") -> None:
    """Where a command runs and writes; `out` is the default of `--out`."""
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (auto)")
    parser.add_argument("--overwrite", action="store_true", help="replace files in --out")
    parser.add_argument("--out", default=out, help=f"{what} ({out})" if out else what)


def add_scores(parser: Parser) -> None:
    """What images are compared with."""
    parser.add_argument("--data", required=True, help="the data set to compare with")
    parser.add_argument("--extractor", help="digits, mnist, fashion_mnist, cifar10 or inception")
    parser.add_argument("--fid-weights", help="file of the Inception weights")
    parser.add_argument("--offline", action="store_true", help="never touch the network")


def device_named(name: str) -> "torch.device":
    """The device that `--device` names.

    Raises:
        HQDMError: If it is not there.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name).cpu()  # some devices have a name but hold no numbers
        return torch.device(name)
    except (RuntimeError, AssertionError):
        raise HQDMError(f"device {name!r} is not there: use auto, cpu or cuda") from None


def load_model(options: argparse.Namespace) -> "Denoiser":
    """The model of `--checkpoint` on `--device`.

    Raises:
        HQDMError: If either cannot be used.
    """
    from hqdm.diffusion.loading import load_denoiser

    device = device_named(options.device)
    return load_denoiser(options.checkpoint).to(device)


def grid_of(options: argparse.Namespace, sampler: str, denoiser: "Denoiser") -> Any:
    """The grid of `--grid` for that sampler: a name, times, or None for the sampler's own.

    Raises:
        HQDMError: If a file of times cannot be used.
    """
    if options.grid is None or not options.grid.endswith(".json"):
        return options.grid
    from hqdm.samplers.optimised import read_grid

    return read_grid(Path(options.grid), sampler, denoiser.schedule)


def sampler_of(options: argparse.Namespace, denoiser: "Denoiser") -> "Sampler":
    """The sampler of `--sampler`, `--steps`, `--grid` and `--tolerance`.

    Raises:
        HQDMError: If there is no such sampler, or it takes other options.
    """
    from hqdm import surrogate as surrogate  # registers the samplers without a network
    from hqdm.samplers.registry import build_sampler, sampler_entry

    sampler_entry(options.sampler)  # refuses an unknown name before anything is read
    grid = grid_of(options, options.sampler, denoiser)
    loaded = loaded_for(options.sampler, options, denoiser)
    return build_sampler(options.sampler, options.steps, grid, options.tolerance, **loaded)


def loaded_for(name: str, options: argparse.Namespace, denoiser: "Denoiser") -> dict[str, Any]:
    """What the sampler of that name reads beside `--checkpoint`, such as a fit to the model.

    Raises:
        HQDMError: If it is missing or of another model, or guidance is asked of it.
    """
    from hqdm.samplers.registry import sampler_entry

    load = sampler_entry(name).load
    if load is None:
        return {}
    if options.guidance != 1:
        raise HQDMError(f"{name} was fitted without guidance: leave --guidance out")
    return load(Path(options.checkpoint), denoiser)


def protocol_of(options: argparse.Namespace) -> "ScoringProtocol":
    """The protocol of a comparison with real images."""
    from hqdm.evaluation.protocol import ScoringProtocol

    given = vars(options)
    return ScoringProtocol(
        **{f.name: given[f.name] for f in fields(ScoringProtocol) if f.name in given}
    )
