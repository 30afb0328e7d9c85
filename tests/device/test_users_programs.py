"""The programs of PennyLane's users in `benchmarks/device_programs.py`, on both devices."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pennylane as qml
import pytest
from marks import slow

from hqdm.device import HqdmQubit

FOLDER = Path(__file__).parents[2] / "benchmarks"
SMALL = {
    "classifier": {"n_samples": 9},
    "quanvolution": {"n_images": 1},
    "reuploading": {"n_samples": 9},
    "torch_layer": {"n_samples": 9},
    "qaoa": {"n_layers": 2},
    "vqe": {"n_sites": 4},
}


@pytest.fixture
def programs(monkeypatch):
    """The module, in which the name of our device makes it without its entry point."""
    monkeypatch.syspath_prepend(FOLDER)
    module = importlib.import_module("device_programs")
    theirs = qml.device

    def device(name, wires):
        return HqdmQubit(wires) if name == "hqdm.qubit" else theirs(name, wires=wires)

    monkeypatch.setattr(qml, "device", device)
    yield module
    del sys.modules["device_programs"]


@pytest.mark.parametrize(
    ("name", "sizes"),
    [*SMALL.items(), slow("vqe", {}, id="vqe of 12 qubits")],
)
def test_values_and_gradients_are_those_of_default_qubit(programs, name, sizes):
    (program,) = (program for program in programs.PROGRAMS if program.name == name)
    ours, theirs = (program.make(device, **sizes)() for device in ("hqdm.qubit", "default.qubit"))
    assert any(np.abs(gradient).max() > 1e-3 for gradient in theirs[1:])
    atol = 1e-6 if name == "torch_layer" else 1e-9  # the layer runs in float32
    for value, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=atol)
