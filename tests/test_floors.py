"""The rooms of the package: each imports from rooms below it only, and holds a dozen files."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hqdm"
MAX_FILES = 12

FLOORS = (
    *("utils", "circuits"),
    *("simulators.program", "simulators.compiled", "simulators.experimental", "simulators"),
    *("device", "states", "nn.compiled", "nn", "nn.amplitude", "nn.autoencoders", "nn.baselines"),
    *("storage", "diffusion", "states.models", "guidance"),
    *("samplers", "samplers.multistep", "samplers.stochastic", "samplers.recursive"),
    "samplers.optimised",
    *("carleman", "carleman.qlss", "carleman.lchs", "carleman.schrodingerisation"),
    *("carleman.waves", "carleman.costs", "surrogate", "surrogate.waves"),
    *("data", "metrics", "generation", "evaluation", "training"),
    *("states.runs", "study.scores", "study", "study.report"),
    *("cli", "cli.commands", ""),
)
"""From the ground to the roof, where `hqdm.__main__` is.

The files of a folder are one room, its sub-folders others.
"""


def room(file: Path) -> str:
    return ".".join(file.parent.relative_to(PACKAGE).parts)


def module(file: Path) -> str:
    parts = ("hqdm", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def imported(file: Path) -> set[str]:
    """Modules of the package that a file imports anywhere, for types and inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{name.name}" for name in node.names}
            found |= {name if name in FILES else node.module for name in inner}
    return found & set(FILES)


@pytest.mark.parametrize("name", [name for name in FILES if name != "hqdm"])
def test_imports_go_down(name):
    here = FLOORS.index(room(FILES[name]))
    assert "hqdm" not in imported(FILES[name]), f"{name} imports the public face"
    for other in imported(FILES[name]):
        assert FLOORS.index(room(FILES[other])) <= here, f"{name} imports {other}, which is above"


def test_no_circle():
    below = {name: imported(file) - {name} for name, file in FILES.items()}
    while free := {name for name, others in below.items() if not others}:
        below = {name: others - free for name, others in below.items() if name not in free}
    assert below == {}


def test_rooms_are_small():
    for folder in {file.parent for file in FILES.values()}:
        files = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
        assert len(files) <= MAX_FILES, folder
