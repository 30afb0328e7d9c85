"""The command line: `hqdm fit | sample | evaluate | study | ...`.

Every command refuses bad input with a one-line message and exit code 2, and overwrites files only
with `--overwrite`.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from hqdm.utils.errors import HQDMError, Interrupted, first_line, unknown
from hqdm.utils.plugins import load_plugin
from hqdm.utils.versions import VERSION

EXIT_BAD_INPUT = 2
EXIT_SIGNAL = 128
PLUGIN = "--plugin"

COMMANDS = {
    "fit": "Train a model.",
    "sample": "Generate images, or quantum states, with a trained model.",
    "evaluate": "Score a model: FID, KID, IS, SSIM, PSNR of images; fidelity, MMD of states.",
    "compare-samplers": "Compare samplers: FID against network evaluations and seconds.",
    "optimise-grid": "Fit a sampler's grid of times to a trained model.",
    "interpolate": "Interpolate between two images through their noise.",
    "inpaint": "Fill a masked part of an image with a trained model.",
    "carleman": "Sample without the network: Carleman linearisation, its errors and costs.",
    "study": "Compare models over data sets and random seeds, with intervals.",
    "inspect": "Show a model: layers, parameter counts, circuits with depth and gates.",
    "export": "Write a model as safetensors and config.json, without pickle.",
    "demo": "Train a hybrid U-Net on 8x8 digits, sample it and score it, in under 5 minutes.",
}
"""Each command is the function `run` of a file in `hqdm/cli/commands`, imported on demand."""


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    hints = [
        "`hqdm COMMAND --help` lists the options of a command.",
        "--plugin FILE, with any command and repeatable, first loads a Python file that defines",
        "circuits, networks, samplers or data sets.",
    ]
    return "\n".join(["usage: hqdm COMMAND [options]", "", *lines, "", *hints])


def split_plugins(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command line without `--plugin FILE`, and the files.

    Raises:
        HQDMError: If the file is missing.
    """
    rest, plugins = [], []
    words = iter(argv)
    for word in words:
        if word == PLUGIN:
            file = next(words, None)
            if file is None:
                raise HQDMError(f"{PLUGIN} needs a Python file")
            plugins.append(file)
        elif word.startswith(f"{PLUGIN}="):
            plugins.append(word.partition("=")[2])
        else:
            rest.append(word)
    return rest, plugins


def with_home(word: str) -> str:
    """An argument with `~` for the home folder at its start, or after `=`, expanded."""
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{flag}{equals}{Path(value).expanduser()}" if value.startswith("~") else word


def wait_passively() -> None:
    """Let idle threads of OpenMP sleep, if torch is not loaded and the user chose nothing else.

    By default they occupy their cores while they wait, the threads of torch and those of Numba
    alike, which slows both down beside another busy process.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def dispatch(argv: Sequence[str]) -> None:
    """Run one command.

    Raises:
        HQDMError: On bad input.
    """
    argv, plugins = split_plugins([with_home(word) for word in argv])
    for plugin in plugins:
        load_plugin(plugin)
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
    elif argv[0] == "--version":
        print(f"hqdm {VERSION}")
    elif argv[0] not in COMMANDS:
        raise unknown("command", argv[0], COMMANDS)
    else:
        command = import_module(f"hqdm.cli.commands.{argv[0].replace('-', '_')}")
        command.run(argv[1:])


def _note(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning without its position in the source code."""
    print(f"note: {' '.join(str(message).split())}", file=sys.stderr)


def _out_of_memory(error: BaseException) -> bool:
    """True for the errors of Python, NumPy and torch about memory, also that of a GPU."""
    said = str(error).lower()
    full = "out of memory" in said or "can't allocate memory" in said
    return isinstance(error, MemoryError) or full


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0, or 2 after bad input, or 128 + the number of the signal that stopped it.
    """
    wait_passively()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _note
            dispatch(sys.argv[1:] if argv is None else argv)
    except HQDMError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        print(
            f"error: the memory is full ({first_line(error)}): use fewer images, a smaller batch "
            "or a smaller model",
            file=sys.stderr,
        )
        return EXIT_BAD_INPUT
    except Interrupted as stop:
        print(str(stop), file=sys.stderr)
        return EXIT_SIGNAL + stop.signum
    except KeyboardInterrupt as stop:
        print(str(stop) or "stopped", file=sys.stderr)
        return EXIT_SIGNAL + 2
    return 0
