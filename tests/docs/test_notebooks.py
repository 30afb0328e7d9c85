"""The notebooks run from top to bottom."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SMALLER = {
    **{"STEPS = 600": "STEPS = 5", "UPDATES = 600": "UPDATES = 5", "n=256": "n=16"},
    **{"BATCHES = 80": "BATCHES = 1", "UPDATES = 150": "UPDATES = 2"},
}
SLOW = ("amplitude", "carleman", "quickstart", "states")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in SLOW))
        for path in sorted(NOTEBOOKS.glob("*.ipynb"))
    ],
)
def test_notebook_runs(path, tmp_path):
    """Executed as it stands, but for fewer training steps and samples."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        for number, smaller in SMALLER.items():
            cell.source = cell.source.replace(number, smaller)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    printed = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "error"
    ]
    assert printed == []
