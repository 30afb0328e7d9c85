"""The benchmark of the quantum convolution, on small images for a moment."""

import sys

import pytest


def test_a_row_has_times_and_ratios(load, monkeypatch, tmp_path):
    module, table = load("quantum_convolution"), tmp_path / "table.md"
    monkeypatch.setattr(module, "SIZES", ((2, 1, 4, 2),))
    monkeypatch.setattr(
        sys, "argv", ["quantum_convolution.py", "--seconds", "0.01", "--write", str(table)]
    )
    module.main()
    (row,) = (line for line in table.read_text().splitlines() if line.startswith("| 2 "))
    _, channels, size, qubits, *numbers = (cell.strip() for cell in row.strip("|").split("|"))
    assert (channels, size, qubits) == ("1 -> 2", "4x4", "4")
    assert all(float(number) > 0 for number in numbers)


def test_layers_that_differ_are_not_timed(load, monkeypatch):
    module = load("quantum_convolution")
    right = module.PatchNode.forward
    monkeypatch.setattr(module.PatchNode, "forward", lambda self, x: 1.1 * right(self, x))
    with pytest.raises(SystemExit, match="convolution and QNode differ by"):
        module.compare(2, 1, 4, 2, 0.01)
