"""Labelled layers: gates in the published order, and what "no label" means."""

import math

import numpy as np
import pennylane as qml
import pytest
import torch

from hqdm.circuits import AmplitudeEmbedding, Circuit
from hqdm.circuits.labels import LabelledLayers
from hqdm.simulators import StatevectorSimulator

WIRES = 3


@pytest.mark.parametrize(("layers", "uploads"), [(1, 1), (7, 3), (4, 4), (1, 3)])
def test_each_part_begins_with_the_label(layers, uploads):
    """Gate by gate; a part without layers, as `hqdm inspect` draws it, has no label either."""
    ansatz = LabelledLayers(WIRES, layers, n_classes=5, label=2, uploads=uploads)
    weights = torch.rand(ansatz.weights_shape, dtype=torch.float64)
    with qml.queuing.AnnotatedQueue() as queue:
        ansatz.apply(weights)
    expected = []
    for part in np.array_split(weights.numpy(), uploads):
        if len(part):
            expected.append(qml.RX(4 * np.pi / 5, wires=WIRES - 1))
            expected.append(qml.StronglyEntanglingLayers(part, wires=range(WIRES)))
    found = qml.tape.QuantumScript.from_queue(queue).operations
    assert len(found) == len(expected)
    assert all(qml.equal(a, b, check_interface=False) for a, b in zip(found, expected, strict=True))


def test_no_label_overlaps_equally_with_every_class():
    """|<none|c>|^2 = 1/2 of the ancilla; the layers are unitary and keep overlaps."""
    n_classes = 5
    x, w = torch.ones(1, 1, 2**WIRES).double(), torch.rand(1, 2, WIRES, 3).double()
    x[..., 1::2] = 0  # the ancilla is |0>
    states = []
    for label in range(n_classes + 1):
        ansatz = LabelledLayers(WIRES, 2, n_classes, label)
        circuit = Circuit(AmplitudeEmbedding(WIRES), ansatz, "state")
        numbers = StatevectorSimulator()(circuit, x, w)
        states.append(torch.view_as_complex(numbers.view(-1, 2)))
    overlaps = [abs(complex(states[-1].vdot(state))) ** 2 for state in states[:-1]]
    assert overlaps == pytest.approx([0.5] * n_classes, abs=1e-12)


@pytest.mark.parametrize("label", range(3))
def test_a_label_in_the_amplitudes_is_that_of_the_gate(label):
    """The same probabilities for all weights; the states differ by a phase."""
    x, w = torch.rand(1, 1, 4).double(), torch.rand(1, 2, WIRES, 3).double()
    turn = torch.tensor(math.pi * label / 3, dtype=torch.float64)
    outputs = []
    for given, ancilla in ((label, [1.0, 0.0]), (None, [turn.cos(), turn.sin()])):
        ansatz = LabelledLayers(WIRES, 2, 3, given)
        circuit = Circuit(AmplitudeEmbedding(WIRES), ansatz, "probs")
        amplitudes = (x[..., None] * torch.tensor(ancilla, dtype=torch.float64)).flatten(-2)
        outputs.append(StatevectorSimulator()(circuit, amplitudes, w))
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-14)
