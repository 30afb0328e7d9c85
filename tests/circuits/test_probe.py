"""Quantum functions that are circuits, and such as only look like one."""

import numpy as np
import pennylane as qml
import pytest
import torch

from hqdm.circuits.probe import Probe
from hqdm.circuits.qfunc import QNodeFunction
from hqdm.circuits.readout import UnsupportedQNode
from hqdm.utils.errors import HQDMError

OUTSIDE = torch.nn.Parameter(torch.tensor(0.3))


def probe(function, batched=True, n_inputs=2, shape=(2,)):
    return Probe(QNodeFunction(function, (("w", shape),), n_inputs, batched, ()))


def z():
    return qml.expval(qml.Z(0))


def rotations(inputs, w):
    qml.RX(inputs[..., 0] * w[0], wires=0)
    qml.RY(w[1], wires=0)
    return z()


@pytest.mark.parametrize("batched", [False, True])
def test_gates_of_one_sample(batched):
    found = probe(rotations, batched)
    assert found.prepared is None
    assert [row[:2] for row in found.rows] == [("RX", (0,)), ("RY", (0,))]
    angles = [row[2][0] for row in found.rows]
    assert angles == [found.inputs[0, 0] * found.weights[0, 0], found.weights[0, 1]]


def test_a_state_from_the_inputs_is_found_and_a_constant_one_is_a_gate():
    def function(inputs, w):
        qml.BasisState([1, 0], wires=[2, 3])
        qml.Hadamard(wires=2)
        qml.AmplitudeEmbedding(inputs, wires=[0, 1], normalize=True, pad_with=0)
        qml.RX(w[0], wires=0)
        return z()

    found = probe(function, n_inputs=3)
    assert found.prepared == 2
    assert [row[0] for row in found.rows] == ["BasisState", "Hadamard", "RX"]


def first_of_batch(inputs, w):
    qml.RX(inputs[0, 0], wires=0)
    return z()


def mean_over_batch(inputs, w):
    qml.RX((inputs - inputs.mean(0))[..., 0], wires=0)
    return z()


def one_gate_per_sample(inputs, w):
    for _ in inputs:
        qml.RX(w[0], wires=0)
    return z()


def by_chance(inputs, w):
    qml.RX(inputs[..., 0] + torch.rand(()), wires=0)
    return z()


def state_of_the_whole_batch(inputs, w):
    qml.AmplitudeEmbedding(inputs - inputs.mean(0) + 1, wires=0, normalize=True)
    return rotations(torch.ones(2), w)


def kind_by_value(inputs, w):
    (qml.RX if inputs.sum() > 0 else qml.RY)(w[1], wires=0)
    return z()


def wire_by_value(inputs, w):
    qml.RX(w[1], wires=int(inputs[..., 0].sum() > 0))
    return z()


def observable_by_value(inputs, w):
    qml.RX(inputs[..., 0], wires=0)
    return qml.expval(w[0] * qml.Z(0))


def outside_parameter(inputs, w):
    qml.RX(inputs[..., 0] * OUTSIDE, wires=0)
    return z()


def detached_weight(inputs, w):
    qml.RX(w[0].detach() + w[1], wires=0)
    return z()


def detached_inputs(inputs, w):
    with torch.no_grad():
        angle = 2 * inputs[..., 0]
    qml.RX(angle, wires=0)
    return z()


def numbers_from_numpy(inputs, w):
    qml.RX(np.sin(inputs[..., 0].detach().numpy()), wires=0)
    return z()


def two_states(inputs, w):
    qml.AmplitudeEmbedding(inputs, wires=0, normalize=True)
    qml.AmplitudeEmbedding(inputs, wires=1, normalize=True)
    return rotations(torch.ones(2), w)


def late_state(inputs, w):
    qml.RX(w[0], wires=0)
    qml.AmplitudeEmbedding(inputs, wires=0, normalize=True)
    return z()


def complex_state(inputs, w):
    qml.StatePrep(inputs + 0j, wires=0, normalize=True)
    return rotations(torch.ones(2), w)


def state_of_inputs_and_weights(inputs, w):
    qml.AmplitudeEmbedding(inputs * w, wires=0, normalize=True)
    return z()


def state_of_weights(inputs, w):
    qml.AmplitudeEmbedding(w, wires=0, normalize=True)
    return z()


def state_and_angles(inputs, w):
    qml.AmplitudeEmbedding(inputs, wires=0, normalize=True)
    qml.RX(inputs[..., 0], wires=0)
    return z()


def matrix_of_weights(inputs, w):
    qml.DiagonalQubitUnitary(torch.exp(1j * w), wires=0)
    return z()


def exponential(inputs, w):
    qml.exp(qml.X(0), 1j * inputs[..., 0])
    return z()


def noise(inputs, w):
    qml.BitFlip(0.1, wires=0)
    return z()


def measurement_before_the_end(inputs, w):
    qml.cond(qml.measure(0), qml.X)(1)
    return z()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (mean_over_batch, "the gates of a sample depend on the other samples of its batch"),
        (one_gate_per_sample, "the gates of a sample depend on the other samples of its batch"),
        (by_chance, "or are random"),
        (state_of_the_whole_batch, "the gates of a sample depend on the other samples"),
        (kind_by_value, "the gates of the QNode depend on the values"),
        (wire_by_value, "the gates of the QNode depend on the values"),
        (observable_by_value, "the measurements of the QNode depend on the values"),
        (outside_parameter, "an angle of RX from a tensor that requires a gradient, exp"),
        (detached_weight, "in a way that torch does not differentiate"),
        (detached_inputs, "in a way that torch does not differentiate"),
        (numbers_from_numpy, "in a way that torch does not differentiate"),
        (two_states, "prepares a state from its inputs by AmplitudeEmbedding and by a further"),
        (late_state, "by AmplitudeEmbedding after other gates on its wires"),
        (complex_state, "by StatePrep, expected amplitudes that are real torch tensors"),
        (state_of_inputs_and_weights, "by AmplitudeEmbedding and from weights"),
        (state_of_weights, "AmplitudeEmbedding with an array that depends on inputs or weights"),
        (state_and_angles, "and has other gates that depend on them"),
        (matrix_of_weights, "DiagonalQubitUnitary with an array that depends on inputs or weights"),
        (
            exponential,
            "PennyLane cannot split Exp into the gates of single samples, expected gates",
        ),
        (noise, "the noise channel BitFlip"),
        (measurement_before_the_end, "mid-circuit measurement"),
    ],
)
def test_what_is_no_circuit(function, message):
    with pytest.raises(UnsupportedQNode, match=message) as error:
        probe(function)
    assert "\n" not in str(error.value)
    assert "expected" in str(error.value)


def test_mistakes_in_the_function():
    with pytest.raises(
        HQDMError, match=r"applies RX with 2 angles to a batch .* as inputs\[\.\.\."
    ):
        probe(lambda inputs, w: qml.RX(inputs[0], wires=0) and z())
    with pytest.raises(HQDMError, match="applies RX with 2 angles to a single sample"):
        probe(lambda inputs, w: qml.RX(inputs, wires=0) and z(), batched=False)
    with pytest.raises(HQDMError, match=r"fails on inputs of shape \(1, 2\) \(IndexError: "):
        probe(lambda inputs, w: qml.RX(inputs[:, 5], wires=0) and z())


def test_a_place_in_the_batch_is_not_taken_for_a_feature():
    for n_inputs in (1, 2, 3, 4):
        with pytest.raises(HQDMError):
            probe(lambda inputs, w: qml.RX(inputs[0], wires=0) and z(), n_inputs=n_inputs)
        with pytest.raises(HQDMError):
            probe(first_of_batch, n_inputs=n_inputs)
