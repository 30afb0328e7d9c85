"""A QNode as a circuit and a linear map, beside PennyLane's own evaluation of the QNode."""

import copy
import pickle

import pennylane as qml
import pytest
import torch

from hqdm.circuits.qnode import PreparedState, check_arguments, check_qnode, from_qnode
from hqdm.circuits.readout import UnsupportedQNode
from hqdm.simulators import StatevectorSimulator
from hqdm.utils.errors import HQDMError

ANY = qml.device("default.qubit")
SHAPES = {"w": (2, 2), "v": ()}


def labelled(inputs, w, v):
    qml.RX(inputs[..., 0], wires="b")
    for (first, second), angles in zip([("b", 5), (5, "a")], w, strict=True):
        qml.CRot(*angles, v, wires=[first, second])
        qml.Hadamard(wires=second)
    return [qml.expval(qml.Y("a") @ qml.Z("b")), qml.expval(qml.X(5)), qml.probs(wires=["b"])]


def prepared(inputs, w, v):
    qml.Hadamard(wires="ancilla")
    qml.AmplitudeEmbedding(inputs, wires=["x", "y"], pad_with=0.5)
    qml.StronglyEntanglingLayers(w.reshape(1, 2, 2).repeat(1, 1, 2)[..., :3], wires=["y", "x"])
    qml.CSWAP(wires=["ancilla", "x", "y"])
    return qml.probs(wires=["y", "ancilla"])


def evaluate(translated, inputs, weights):
    x = translated.features(inputs, weights)
    values = StatevectorSimulator()(translated.circuit, x[None], weights[None])[0]
    return translated.readout(values, inputs.shape[:1])


def of_pennylane(qnode, inputs, weights):
    """Sample after sample, so that PennyLane's broadcasting has no part in it."""
    w, v = weights[:4].reshape(2, 2), weights[4]
    outputs = [qnode(inputs=x, w=w, v=v) for x in inputs]
    return torch.stack([torch.hstack(out) if isinstance(out, list) else out for out in outputs])


@pytest.mark.parametrize("function", [labelled, prepared])
def test_outputs_are_those_of_the_qnode(function):
    qnode = qml.QNode(function, ANY)
    translated = from_qnode(qnode, SHAPES, 3, batched=True)
    inputs, weights = torch.randn(4, 3).double(), torch.randn(5).double()
    expected = of_pennylane(qnode, inputs, weights)
    torch.testing.assert_close(evaluate(translated, inputs, weights), expected, rtol=0, atol=1e-12)


def test_wires_are_numbered_in_the_order_of_use_or_of_the_device():
    for device, order in (
        (ANY, ("b", 5, "a")),
        (qml.device("default.qubit", wires=[7, "a", "b", 5]), ("a", "b", 5)),
    ):
        circuit = from_qnode(qml.QNode(labelled, device), SHAPES, 3, batched=True).circuit
        assert circuit.ansatz.fn.wires == order
        assert circuit.n_wires == 3  # wires that are never used cost nothing
        assert circuit.measured_wires == tuple(map(order.index, ("a", "b", 5)))


def test_prepared_wires_come_last():
    translated = from_qnode(qml.QNode(prepared, ANY), SHAPES, 3, batched=True)
    assert translated.circuit.ansatz.gates.wires == ("ancilla", "x", "y")
    assert translated.circuit.embedding == PreparedState(3, 4)
    assert translated.circuit.n_inputs == 4
    # Three features and the padding, normalised; the gates come with none of them.
    state = translated.features(torch.tensor([[1.0, 2.0, 2.0]]), torch.zeros(5))
    torch.testing.assert_close(state, torch.tensor([[1.0, 2.0, 2.0, 0.5]]) / 9.25**0.5)
    specs = translated.circuit.specs()
    assert specs["n_weights"] == 5
    assert specs["gates"]["CSWAP"] == 1


def test_a_state_passes_its_norm_and_its_gradient_on():
    def function(inputs, w, v):
        qml.AmplitudeEmbedding(inputs, wires=[0])  # not normalised: only norm one is allowed
        qml.Rot(*w[0], v, wires=0)
        return z_of_zero()

    translated = from_qnode(qml.QNode(function, ANY), SHAPES, 2, batched=True)
    inputs = torch.tensor([[0.6, 0.8]], dtype=torch.float64, requires_grad=True)
    weights = torch.zeros(5).double()
    out = evaluate(translated, inputs, weights)
    out.sum().backward()
    # <Z> = x_0^2 - x_1^2 where nothing turns.
    torch.testing.assert_close(out, torch.tensor([-0.28]).double())
    torch.testing.assert_close(inputs.grad, torch.tensor([[1.2, -1.6]]).double())
    with pytest.raises(HQDMError, match="norm"):
        evaluate(translated, 2 * inputs, weights)


def z_of_zero():
    return qml.expval(qml.Z(0))


def test_circuits_of_one_function_are_equal_as_long_as_it_does_the_same():
    angle = [0.5]

    def function(inputs, w, v):
        qml.RX(inputs[..., 0] * angle[0], wires=0)
        return z_of_zero()

    qnode = qml.QNode(function, ANY)
    first, second = (from_qnode(qnode, SHAPES, 1, batched=True).circuit for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    angle[0] = 0.7
    assert from_qnode(qnode, SHAPES, 1, batched=True).circuit != first
    other = from_qnode(qml.QNode(labelled, ANY), SHAPES, 1, batched=True)
    for copied in (copy.deepcopy(other), pickle.loads(pickle.dumps(other))):
        assert copied.circuit == other.circuit


@pytest.mark.parametrize(
    ("qnode", "message"),
    [
        (
            lambda: qml.set_shots(qml.QNode(labelled, ANY), 10),
            r"has 10 shots, expected exact values \(shots=None\)",
        ),
        (
            lambda: qml.transforms.merge_rotations(qml.QNode(labelled, ANY)),
            r"has transforms \(merge_rotations\(\)\), expected none",
        ),
        (
            lambda: qml.QNode(labelled, ANY, interface="numpy"),
            "has the interface 'numpy', expected 'torch'",
        ),
        (
            lambda: qml.QNode(labelled, qml.device("default.mixed", wires=1)),
            "has the device 'default.mixed', expected one of default.qubit",
        ),
    ],
)
def test_qnodes_that_are_refused(qnode, message):
    with pytest.raises(UnsupportedQNode, match=message):
        check_qnode(qnode())


@pytest.mark.parametrize("device", ["default.qubit", "reference.qubit", "lightning.qubit"])
@pytest.mark.parametrize("interface", ["auto", "torch"])
def test_qnodes_that_are_taken(device, interface):
    check_qnode(qml.QNode(labelled, qml.device(device, wires=2), interface=interface))


@pytest.mark.parametrize(
    ("function", "names", "message"),
    [
        (lambda x, w: None, ["w"], r"takes \(x, w\), expected an argument named 'inputs'"),
        (lambda *inputs: None, [], r"takes \(\*inputs\), expected an argument named 'inputs'"),
        (lambda inputs, w: None, [], "names no weights, but the QNode takes"),
        (lambda inputs, w: None, ["w", "v"], r"names w, v, but the QNode takes \(inputs, w\)"),
        (lambda inputs, w: None, ["inputs", "w"], "names inputs, w, but the QNode takes"),
    ],
)
def test_arguments_that_are_refused(function, names, message):
    with pytest.raises(HQDMError, match=message):
        check_arguments(qml.QNode(function, ANY), dict.fromkeys(names, (1,)))


def test_any_names_go_to_a_function_that_takes_all():
    check_arguments(qml.QNode(lambda inputs, **weights: None, ANY), {"a": (1,), "b": (2,)})


def test_wires_of_another_device_are_refused():
    qnode = qml.QNode(labelled, qml.device("default.qubit", wires=2))
    with pytest.raises(
        HQDMError, match=r"acts on the wires \['b', 5, 'a'\], expected wires of its"
    ):
        from_qnode(qnode, SHAPES, 1, batched=True)
