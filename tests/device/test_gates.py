"""Structures of operations: equal ones share a program, all others do not."""

import itertools

import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane.exceptions import DeviceError

from hqdm.device.gates import Layout, decomposition, is_supported, queued, takes_angles

DIFFERENT = [
    qml.RX(0.3, 0),
    qml.RX(0.3, 1),
    qml.RY(0.3, 0),
    qml.RX(np.array([0.3, 0.4]), 0),
    qml.adjoint(qml.RX(0.3, 0)),
    qml.adjoint(qml.RY(0.3, 0)),
    qml.ctrl(qml.RX(0.3, 0), control=1),
    qml.ctrl(qml.RX(0.3, 0), control=[1, 2]),
    qml.ctrl(qml.RX(0.3, 0), control=[1, 2], control_values=[1, 0]),
    qml.ctrl(qml.RX(0.3, 0), control=[2, 1], control_values=[1, 0]),
    qml.CNOT([0, 1]),
    qml.CNOT([1, 0]),
    qml.PauliRot(0.3, "XY", wires=[0, 1]),
    qml.PauliRot(0.3, "YX", wires=[0, 1]),
    qml.MultiRZ(0.3, wires=[0, 1]),
    qml.MultiControlledX(wires=[0, 1, 2], control_values=[1, 0]),
    qml.MultiControlledX(wires=[0, 1, 2], control_values=[0, 1]),
    qml.QubitUnitary(np.eye(2), wires=0),
    qml.QubitUnitary(np.diag([1, -1]), wires=0),
    qml.ctrl(qml.QubitUnitary(np.eye(2), wires=0), control=1),
    qml.ctrl(qml.QubitUnitary(np.diag([1, -1]), wires=0), control=1),
    qml.AngleEmbedding([0.1, 0.2], wires=[0, 1]),
    qml.AngleEmbedding([0.1, 0.2], wires=[0, 1], rotation="Y"),
    qml.StronglyEntanglingLayers(np.ones((1, 2, 3)), wires=[0, 1]),
    qml.StronglyEntanglingLayers(np.ones((2, 2, 3)), wires=[0, 1]),
    qml.StronglyEntanglingLayers(np.ones((1, 2, 3)), wires=[0, 1], imprimitive=qml.CZ),
    qml.StronglyEntanglingLayers(np.ones((1, 3, 3)), wires=[0, 1, 2]),
    qml.StronglyEntanglingLayers(np.ones((1, 3, 3)), wires=[0, 1, 2], ranges=[2]),
    qml.QFT(wires=[0, 1]),
    qml.QFT(wires=[0, 1, 2]),
]


def key(*operations):
    steps = [(operation, operation.data) for operation in operations]
    return Layout(steps).key(steps)


def test_different_operations_have_different_keys():
    keys = [key(operation) for operation in DIFFERENT]
    for (a, first), (b, second) in itertools.combinations(zip(keys, DIFFERENT, strict=True), 2):
        assert a != b, (first, second)
    hash(tuple(keys))


def test_the_values_of_angles_are_no_part_of_a_key():
    assert key(qml.RX(0.3, 0)) == key(qml.RX(torch.tensor(0.7), 0))
    assert key(qml.ctrl(qml.RX(0.3, 0), 1)) == key(qml.ctrl(qml.RX(0.5, 0), 1))
    layers = [qml.StronglyEntanglingLayers(c * np.ones((1, 2, 3)), [0, 1]) for c in (1, 2)]
    assert key(layers[0]) == key(layers[1])


def test_the_places_of_batched_angles_are_a_part_of_a_key():
    one, many = 0.3, np.array([0.3, 0.4])
    kinds = [key(qml.RX(a, 0), qml.RY(b, 0)) for a in (one, many) for b in (one, many)]
    assert len(set(kinds)) == 4
    assert key(qml.Rot(one, many, one, 0)) != key(qml.Rot(many, one, one, 0))


@pytest.mark.parametrize("operation", [o for o in DIFFERENT if o.data and takes_angles(o)], ids=str)
def test_operations_are_queued_once_with_their_angles(operation):
    steps = [(operation, operation.data)]
    layout = Layout(steps)
    batch = operation.batch_size or 1
    flat = [np.asarray(number).reshape(batch, -1)[-1] for number in layout.inputs]
    x = torch.tensor(np.concatenate([*flat, np.zeros(0)]))
    weights = torch.tensor(np.concatenate([np.ravel(n) for n in layout.weights] or [np.zeros(0)]))
    with qml.queuing.AnnotatedQueue() as queue:
        queued([operation], layout.slots, x, weights)
    (found,) = qml.tape.QuantumScript.from_queue(queue).operations
    matrix = qml.matrix(operation, wire_order=[0, 1, 2])
    expected = matrix[-1] if matrix.ndim == 3 else matrix
    ours = torch.as_tensor(qml.matrix(found, wire_order=[0, 1, 2])).resolve_conj()
    np.testing.assert_allclose(ours, expected, atol=1e-15)


def test_what_pennylane_decomposes():
    assert not is_supported(qml.OrbitalRotation(0.3, wires=range(4)))
    assert not is_supported(qml.StatePrep(np.array([1, 0]), wires=0))  # not the first operation
    assert not is_supported(qml.pow(qml.RX(0.3, 0), 0.5))
    assert not is_supported(qml.BasicEntanglerLayers(np.ones((5, 1, 2)), wires=[0, 1]))
    assert not is_supported(qml.pow(qml.QubitUnitary(np.eye(2), 0), 0.5))
    assert is_supported(qml.Projector([1], wires=0))  # which postselects
    assert not is_supported(qml.adjoint(qml.Projector([1], wires=0)))
    assert not is_supported(qml.ctrl(qml.Projector([1], wires=0), control=1))


def test_exponentials_of_tensors_are_rotations():
    time = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    (rotation,) = decomposition(qml.evolve(qml.X(0) @ qml.Z(2), time))
    assert (rotation.name, rotation.hyperparameters["pauli_word"]) == ("PauliRot", "XZ")
    assert torch.autograd.grad(rotation.data[0], time)[0] == 2


def test_matrices_that_are_trained_are_refused():
    matrix = torch.eye(2, dtype=torch.complex128, requires_grad=True)
    with pytest.raises(DeviceError, match="no gradient"):
        is_supported(qml.ctrl(qml.QubitUnitary(matrix, 0), 1))


@pytest.mark.parametrize(
    "gate",
    [
        lambda: qml.adjoint(qml.GlobalPhase(0.3)),
        lambda: qml.adjoint(qml.GlobalPhase)(0.3),
        lambda: qml.adjoint(qml.adjoint(qml.GlobalPhase(0.3))),
        lambda: qml.adjoint(qml.prod(qml.GlobalPhase(0.3), qml.S(0))),
        lambda: qml.adjoint(lambda: qml.GlobalPhase(0.3))(),
        lambda: qml.pow(qml.GlobalPhase(0.3), 3),
        lambda: qml.GlobalPhase(np.array([0.3, 0.4])),
        lambda: qml.adjoint(qml.GlobalPhase(np.array([0.3, 0.4]))),
    ],
)
def test_global_phases_without_wires(gate):
    def circuit():
        qml.Hadamard(0)
        gate()
        return qml.state()

    theirs, ours = (
        qml.QNode(circuit, qml.device(name, wires=1))() for name in ("default.qubit", "hqdm.qubit")
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-14)


def test_layers_of_lists_of_traced_numbers():
    """Autograd's numbers in a list, which is no array."""

    def circuit(x, y):
        qml.AngleEmbedding([x, y], wires=[0, 1])
        qml.BasicEntanglerLayers([[x, y]], wires=[0, 1])
        qml.StronglyEntanglingLayers([[[x, y, 0.1], (y, x, 0.2)]], wires=[0, 1])
        return qml.expval(qml.Z(0) @ qml.X(1))

    numbers = [qml.numpy.array(value, requires_grad=True) for value in (0.3, 0.4)]
    theirs, ours = (
        qml.grad(qml.QNode(circuit, qml.device(name, wires=2)))(*numbers)
        for name in ("default.qubit", "hqdm.qubit")
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("state", [[0.6, 0.8j], [0.6j, 0.8], [1j, 0]])
def test_complex_initial_states(state):
    def circuit():
        qml.StatePrep(np.array(state), wires=0)
        qml.RX(0.7, 0)
        return qml.expval(qml.Z(0)), qml.expval(qml.Y(0))

    theirs, ours = (
        qml.QNode(circuit, qml.device(name, wires=1))() for name in ("default.qubit", "hqdm.qubit")
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-14)
