"""The tests mirror the package: what stands in a file is tested in the file of its name."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "hqdm"
TRIVIAL = 20  # statements in functions; shorter files are tested where they are used

ELSEWHERE = {
    "circuits/qfunc.py": "circuits/test_qnode.py",  # recordings are what a QNode is translated from
    "cli/options.py": "cli/test_main.py",  # options show in the commands that take them
    "cli/circuit_report.py": "cli/commands/test_inspect.py",  # which prints it
    "cli/commands/sample.py": "cli/test_main.py",  # and so do the commands' own lines
    "cli/commands/evaluate.py": "cli/test_main.py",
    "cli/commands/inpaint.py": "generation/test_inpainting.py",
    "cli/commands/optimise_grid.py": "samplers/optimised/test_fit.py",
    "cli/commands/compare_samplers.py": "evaluation/test_comparison.py",
    # The kernels, and what prepares their arguments, are compared with one another.
    "simulators/compiled/kernels.py": "simulators/compiled/test_cpu.py",
    "simulators/experimental/cuda_kernels.py": "simulators/experimental/test_cuda.py",
    "simulators/compiled/reference.py": "simulators/compiled/test_cpu.py",
    "simulators/compiled/products.py": "simulators/compiled/test_matrices.py",
    "simulators/costs.py": "simulators/test_auto.py",  # which chooses by them
}
"""Files without a test file of their own, the test file that holds them, and the reason."""


def statements(file: Path) -> int:
    """Number of statements in the functions of a file, without docstrings and definitions."""
    functions = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.FunctionDef)]
    inside = {node for function in functions for node in ast.walk(function)}
    definitions = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    return sum(
        isinstance(node, ast.stmt)
        and not isinstance(node, definitions)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in inside
    )


def mirror_of(name: str) -> Path:
    return TESTS / Path(name).parent / f"test_{Path(name).name}"


NAMES = [str(file.relative_to(PACKAGE)) for file in sorted(PACKAGE.rglob("*.py"))]


@pytest.mark.parametrize("name", [name for name in NAMES if Path(name).name != "__init__.py"])
def test_every_file_has_its_test_file(name):
    if name in ELSEWHERE:
        assert (TESTS / ELSEWHERE[name]).exists()
        assert not mirror_of(name).exists(), "take it off the list: it has a test file"
    elif statements(PACKAGE / name) >= TRIVIAL:
        assert mirror_of(name).exists(), f"no {mirror_of(name)}"


def test_the_list_names_files_that_exist():
    assert set(ELSEWHERE) <= set(NAMES)
