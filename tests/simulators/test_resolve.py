import pytest
import torch

from hqdm.circuits import AngleEmbedding, Basic, Circuit
from hqdm.simulators import (
    AutoSimulator,
    CompiledSimulator,
    PennyLaneSimulator,
    Simulator,
    StatevectorSimulator,
    UnitarySimulator,
    resolve_simulator,
)
from hqdm.utils.errors import HQDMError


def test_names():
    for simulator in (
        AutoSimulator(),
        CompiledSimulator(),
        StatevectorSimulator(),
        UnitarySimulator(),
    ):
        assert resolve_simulator(simulator.name) == simulator
    for device in ("default.qubit", "lightning.qubit", "default.mixed"):
        name = f"pennylane:{device}"
        assert resolve_simulator(name) == PennyLaneSimulator(device)
        assert resolve_simulator(name).name == name


def test_auto_is_a_simulator_that_runs():
    simulator = resolve_simulator("auto")
    assert isinstance(simulator, Simulator)
    circuit = Circuit(AngleEmbedding(1), Basic(1))
    x = torch.tensor([[[0.3]]])
    # RX(0.3) RX(0.4)|0> has <Z> = cos(0.7).
    out = simulator(circuit, x, torch.tensor([[[0.4]]]))
    torch.testing.assert_close(out, torch.tensor([[[0.7]]]).cos())


def test_a_simulator_is_returned_unchanged():
    simulator = StatevectorSimulator(memory_limit=5)
    assert resolve_simulator(simulator) is simulator


@pytest.mark.parametrize(
    ("simulator", "message"),
    [
        ("state-vector", "unknown simulator 'state-vector'.*did you mean 'statevector'"),
        ("pennylane:", "unknown PennyLane device ''"),
        (None, "expected a simulator or its name, got None"),
    ],
)
def test_invalid_input_is_refused(simulator, message):
    with pytest.raises(HQDMError, match=message):
        resolve_simulator(simulator)
