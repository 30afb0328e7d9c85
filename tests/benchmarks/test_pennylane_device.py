"""The benchmark of the PennyLane device, on one program for a moment."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pennylane as qml
import pytest

from hqdm.device import HqdmQubit

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    """The module, in which the name of our device makes it without its entry point."""
    monkeypatch.syspath_prepend(FOLDER)
    module = importlib.import_module("pennylane_device")
    theirs = qml.device

    def device(name, wires):
        return HqdmQubit(wires) if name == "hqdm.qubit" else theirs(name, wires=wires)

    monkeypatch.setattr(qml, "device", device)
    yield module
    for name in ("pennylane_device", "device_programs", "qnode_layer"):
        del sys.modules[name]


@pytest.mark.slow
def test_a_row_has_a_time_and_ratios(benchmark, monkeypatch, tmp_path):
    table = tmp_path / "table.md"
    arguments = ["--seconds", "0.01", "--only", "qaoa", "--write", str(table)]
    monkeypatch.setattr(sys, "argv", ["pennylane_device.py", *arguments])
    benchmark.main()
    (row,) = (line for line in table.read_text().splitlines() if line.startswith("| qaoa"))
    name, batched, *numbers = (cell.strip() for cell in row.strip("|").split("|"))
    assert (name, batched) == ("qaoa", "no")
    assert all(float(number) > 0 for number in numbers)
    assert len(numbers) == 5


def test_devices_that_differ_are_not_timed(benchmark):
    calls = {
        name: (lambda value=value: [np.array(value)])
        for name, value in (("hqdm.qubit", 1.0), ("default.qubit", 1.0), ("lightning.qubit", 1.1))
    }
    with pytest.raises(SystemExit, match=r"qaoa: hqdm.qubit and lightning.qubit differ by 1.0e-01"):
        benchmark.check(benchmark.Program("qaoa", False, None), calls)
