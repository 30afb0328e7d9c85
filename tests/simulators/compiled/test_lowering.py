import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import circuit_of, gate_lists

from hqdm.circuits import AmplitudeEmbedding, AngleEmbedding, Circuit, HQConv, StronglyEntangling
from hqdm.simulators.compiled.kernels import Tables
from hqdm.simulators.compiled.lowering import (
    fuse_cheaply,
    lower,
    multiplications,
    unknown_gates,
)
from hqdm.simulators.compiled.matrices import Entries
from hqdm.simulators.program.tracing import trace


def unitary_of(circuit, weights, inverse=False):
    """The unitary that the instructions of a circuit of weights make, one after the other."""
    lowered = lower(circuit, inverse)
    tables: Tables = lowered.tables
    entries = Entries(lowered.factors, torch.complex128, torch.device("cpu"), inverse)
    phases = lowered.program.phases.of_weights(weights.new_zeros(1, 1, circuit.n_inputs), weights)
    numbers = entries(phases)[0].resolve_conj().numpy()
    unitary = np.eye(2**circuit.n_wires, dtype=complex)
    for size, per_sample, place, _, start, count, high, low in tables.code:
        assert not per_sample
        matrix = numbers[place : place + size**2].reshape(size, size)
        for k in tables.lists[start : start + count]:
            rows = [k + (r >> 1) * high + (r & 1) * low for r in range(size)]
            unitary[rows] = matrix @ unitary[rows]
    return unitary


@pytest.mark.parametrize("ansatz", [StronglyEntangling(4, 2), HQConv(8, 1), HQConv(4, 2)], ids=str)
def test_instructions_multiply_to_the_unitary_of_the_circuit(ansatz):
    circuit = Circuit(AmplitudeEmbedding(ansatz.n_wires), ansatz)
    weights = torch.randn(1, *circuit.weights_shape).double()
    wires = range(ansatz.n_wires)
    expected = qml.matrix(ansatz.queue, wire_order=wires)(weights[0]).numpy()
    np.testing.assert_allclose(unitary_of(circuit, weights), expected, rtol=0, atol=1e-14 * 100)
    inverse = unitary_of(circuit, weights, inverse=True)
    np.testing.assert_allclose(inverse, expected.conj().T, rtol=0, atol=1e-14 * 100)


@settings(deadline=None, max_examples=50)
@given(data=st.data(), n_wires=st.integers(1, 5))
def test_fusing_keeps_all_gates_and_saves_multiplications(data, n_wires):
    program = trace(circuit_of(data.draw(gate_lists(n_wires)), n_wires))
    gates = list(enumerate(program.gates))
    input_gates = frozenset(program.input_gates)
    blocks = fuse_cheaply(gates, input_gates)
    assert sorted(i for block in blocks for i, _ in block.gates) == list(range(len(gates)))
    alone = [fuse_cheaply([gate], input_gates)[0] for gate in gates]
    assert sum(map(multiplications, blocks)) <= sum(map(multiplications, alone))
    for block in blocks:
        assert block.per_sample == (block.gates[0][0] in input_gates)
        assert len(block.gates) == 1 or not block.per_sample


def test_a_controlled_rotation_costs_half_of_a_rotation():
    def queue(x, w):
        qml.RX(x[0], wires=0)
        qml.RX(x[0], wires=1)
        qml.CRZ(w[0], wires=(0, 1))
        qml.CRX(w[1], wires=(0, 1))

    lowered = lower(Circuit.from_qfunc(queue, n_wires=2, n_inputs=1, weights_shape=(2,)))
    # Two pairs of amplitudes, of which one is multiplied by a complex 2x2 matrix.
    assert lowered.multiplications == 4 * 2 * 2
    assert len(lowered.tables.code) == 2 + 1  # the embedding of two wires, and both gates in one


def test_cnots_cost_nothing_beside_rotations():
    layers = lower(Circuit(AmplitudeEmbedding(7), StronglyEntangling(7, 5)))
    rotations = 5 * 7 * 8 * 2**7
    first_ring = 7 * 8 * 2**7  # at most: the CNOTs after the last rotations have no other to join
    assert rotations <= layers.multiplications <= rotations + first_ring


def test_parts_without_measured_wires_are_not_run():
    def queue(x, w):
        for wire in range(4):
            qml.RX(x[0], wires=wire)
        qml.CRX(w[0], wires=(0, 1))
        qml.CRX(w[1], wires=(2, 3))

    def lowered(wires):
        return lower(
            Circuit.from_qfunc(queue, n_wires=4, n_inputs=1, weights_shape=(2,), wires=wires)
        )

    assert len(lowered((3, 1)).tables.parts) == 2
    assert len(lowered((3,)).tables.parts) == 1
    assert lowered((3,)).n_outputs == 1


@pytest.mark.parametrize(
    ("gate", "multiplied"),
    [
        (lambda w: qml.DoubleExcitation(w, wires=(2, 0, 3, 1)), 8 * 2 / 16),
        (lambda w: qml.SingleExcitation(w, wires=(3, 1)), 8 * 2 / 4),
        (lambda w: qml.CSWAP(wires=(1, 3, 0)), 8 * 2 / 8),
    ],
    ids=["double", "single", "swap"],
)
def test_gates_on_two_basis_states_are_one_instruction_on_pairs(gate, multiplied):
    def queue(x, w):
        qml.CNOT(wires=(0, 1))  # neither first on its wires nor alone
        gate(w[0])
        qml.CNOT(wires=(3, 2))

    circuit = Circuit.from_qfunc(queue, n_wires=4, n_inputs=1, weights_shape=(1,))
    weights = torch.tensor([[0.7]]).double()
    expected = qml.matrix(queue, wire_order=range(4))(None, weights[0])
    np.testing.assert_allclose(unitary_of(circuit, weights), expected, rtol=0, atol=1e-14)
    blocks = fuse_cheaply(list(enumerate(trace(circuit).gates)), frozenset())
    costs = [multiplications(b) for b in blocks if len(b.gates) == 1 and b.gates[0][0] == 1]
    assert costs == [multiplied]
    assert len(lower(circuit).tables.code) == len(blocks)


def test_unknown_gates():
    def queue(x, w):
        qml.RX(x[0], wires=0)
        qml.Toffoli(wires=(0, 1, 2))
        qml.QubitUnitary(np.eye(8)[::-1].copy(), wires=(0, 1, 2))
        qml.DoubleExcitationPlus(w[0], wires=(0, 1, 2, 3))  # phases on all other basis states
        qml.DoubleExcitation(w[0], wires=(0, 1, 2, 3))
        qml.DiagonalQubitUnitary(np.exp([1e-8, 0]), wires=1)  # as precise as single precision

    circuit = Circuit.from_qfunc(queue, n_wires=4, n_inputs=1, weights_shape=(1,))
    expected = ["DiagonalQubitUnitary", "DoubleExcitationPlus", "QubitUnitary"]
    assert unknown_gates(trace(circuit)) == expected
    assert unknown_gates(trace(Circuit(AngleEmbedding(4), HQConv(4, 1)))) == []
