"""Programs: cached by structure, for real and complex initial states, within the memory."""

import numpy as np
import pennylane as qml
import pytest
import torch

from hqdm.circuits import Circuit
from hqdm.device import HqdmQubit, programs
from hqdm.device.programs import STATE, run
from hqdm.device.recent import Recent
from hqdm.simulators import AutoSimulator
from hqdm.utils.errors import HQDMError

SIMULATOR = AutoSimulator()


def states(steps, n_wires, initial=None, n_samples=1, dtype=torch.float64):
    steps = [(operation, operation.data) for operation in steps]
    device = torch.device("cpu")
    return run(SIMULATOR, steps, n_wires, initial, n_samples, dtype, device, STATE)


def test_complex_initial_states_by_linearity():
    """Against the matrix of the operations, for samples with states of their own."""
    generator = torch.Generator().manual_seed(0)
    initial = torch.randn(3, 8, generator=generator, dtype=torch.complex128)
    steps = [qml.RX(np.array([0.1, 0.2, 0.3]), 1), qml.IsingXX(0.4, [2, 0]), qml.GlobalPhase(0.3)]
    found = states(steps, 3, initial, 3)
    for i, angle in enumerate((0.1, 0.2, 0.3)):
        unitary = qml.matrix(
            qml.prod(qml.GlobalPhase(0.3), qml.IsingXX(0.4, [2, 0]), qml.RX(angle, 1)),
            wire_order=range(3),
        )
        torch.testing.assert_close(found[i], torch.tensor(unitary) @ initial[i])


def test_no_operations_leave_the_initial_state():
    assert states([], 2).tolist() == [[1, 0, 0, 0]]


def counted(monkeypatch):
    """Names of the circuits that are built from now on."""
    built = []
    theirs = Circuit.from_qfunc
    monkeypatch.setattr(programs, "programs", Recent(8))

    def build(*args, **kwargs):
        built.append(kwargs["measure"])
        return theirs(*args, **kwargs)

    monkeypatch.setattr(programs.Circuit, "from_qfunc", build)
    return built


def test_a_program_is_built_once_for_all_values(monkeypatch):
    built = counted(monkeypatch)

    @qml.qnode(HqdmQubit(2))
    def node(x, y):
        qml.RX(x, 0)
        qml.ctrl(qml.RY(y, 1), control=0)
        return qml.expval(qml.Z(1))

    values = [node(x, y) for x in (0.1, 0.8) for y in (0.3, torch.tensor(0.9))]
    assert built == ["expval_z"]
    np.testing.assert_allclose(values[3], np.cos(0.4) ** 2 + np.sin(0.4) ** 2 * np.cos(0.9))
    node(torch.rand(5), 0.3)
    assert len(built) == 2
    node(torch.rand(7), 0.1)  # another number of samples
    assert len(built) == 2


def test_the_measurement_and_the_wires_are_a_part_of_a_program(monkeypatch):
    built = counted(monkeypatch)

    def node(measured, wire):
        return qml.QNode(lambda: (qml.RX(0.4, wire), measured())[-1], HqdmQubit(2))()

    z = node(lambda: qml.expval(qml.Z(0)), 0)
    y = node(lambda: qml.expval(qml.Y(0)), 0)
    np.testing.assert_allclose([z, y], [np.cos(0.4), -np.sin(0.4)])
    np.testing.assert_allclose(node(lambda: qml.probs(wires=[0, 1]), 0)[2], np.sin(0.2) ** 2)
    np.testing.assert_allclose(node(lambda: qml.probs(wires=[1, 0]), 0)[1], np.sin(0.2) ** 2)
    assert len(built) == 4
    other = qml.QNode(lambda: (qml.RX(0.4, "b"), qml.expval(qml.Z("b")))[-1], HqdmQubit(["a", "b"]))
    np.testing.assert_allclose(other(), np.cos(0.4))
    assert len(built) == 4  # labels are not


def test_the_cache_is_bounded():
    kept = Recent(2)
    made = [kept.get(key, lambda key=key: [key]) for key in "abca"]
    assert made == [["a"], ["b"], ["c"], ["a"]]
    assert len(kept) == 2
    assert kept.get("c", lambda: None) == ["c"]
    with pytest.raises(ZeroDivisionError):
        kept.get("d", lambda: 1 / 0)
    assert kept.get("d", lambda: 1) == 1


def test_states_larger_than_the_memory_are_refused():
    with pytest.raises(HQDMError, match="4096 states of 40 qubits would take .* use fewer wires"):
        states([qml.RX(0.1, 0)], 40, n_samples=4096)
