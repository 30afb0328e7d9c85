import numpy as np
import pennylane as qml
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hqdm.circuits import Circuit
from hqdm.simulators.program.fusion import MAX_CONTROLS, MAX_TARGETS, fuse, split_product
from hqdm.simulators.program.tracing import trace

N_WIRES = 6
# Full, controlled and diagonal gates, whose fusion follows different rules.
FIXED = {
    qml.RX: (1, (0.3,)),
    qml.RZ: (1, (0.4,)),
    qml.CRX: (2, (0.5,)),
    qml.CRZ: (2, (0.6,)),
    qml.IsingXX: (2, (0.7,)),
    qml.CSWAP: (3, ()),
    qml.CCZ: (3, ()),
}


@st.composite
def programs(draw):
    queue = []
    for _ in range(draw(st.integers(1, 25))):
        gate = draw(st.sampled_from(list(FIXED)))
        wires = draw(st.permutations(range(N_WIRES)))[: FIXED[gate][0]]
        queue.append((gate, tuple(wires)))

    def fn(x, w):
        for gate, wires in queue:
            gate(*FIXED[gate][1], wires=wires)

    return trace(Circuit.from_qfunc(fn, n_wires=N_WIRES, n_inputs=1, weights_shape=(1,)))


def unitary(gates):
    """The product of constant gates on all wires, by PennyLane's matrix expansion."""
    product = np.eye(2**N_WIRES)
    for gate in gates:
        operator = qml.QubitUnitary(gate.matrices[0].numpy(), wires=gate.wires)
        product = qml.matrix(operator, wire_order=range(N_WIRES)) @ product
    return torch.from_numpy(product)


@settings(deadline=None, max_examples=50)
@given(program=programs(), per_sample=st.sets(st.integers(0, 24)))
def test_blocks_in_order_are_the_gates_in_order(program, per_sample):
    gates = list(enumerate(program.gates))
    blocks = fuse(gates, frozenset(per_sample))
    fused = [gate for block in blocks for gate in block.gates]
    assert sorted(index for index, _ in fused) == list(range(len(gates)))
    expected = unitary(program.gates)
    torch.testing.assert_close(unitary(gate for _, gate in fused), expected, rtol=0, atol=1e-13)
    product, rest = split_product(N_WIRES, gates)
    reordered = [gate for block in product for gate in block.gates] + rest
    torch.testing.assert_close(unitary(gate for _, gate in reordered), expected, rtol=0, atol=1e-13)
    for block in blocks:
        wires = {wire for _, gate in block.gates for wire in gate.wires}
        assert wires == set(block.wires)
        assert not set(block.controls) & set(block.targets)
        assert all(
            wire in gate.controls
            for _, gate in block.gates
            for wire in gate.wires
            if wire in block.controls
        )
        assert len(block.targets) <= MAX_TARGETS
        assert len(block.controls) <= MAX_CONTROLS
        assert block.per_sample == any(index in per_sample for index, _ in block.gates)


def fused(fn, n_wires=6, input_gates=()):
    circuit = Circuit.from_qfunc(fn, n_wires=n_wires, n_inputs=1, weights_shape=(1,))
    return fuse(enumerate(trace(circuit).gates), frozenset(input_gates))


def test_a_layer_of_rotations_fills_blocks():
    blocks = fused(lambda x, w: [qml.RX(w[0], wires=i) for i in range(6)])
    assert [block.targets for block in blocks] == [(0, 1, 2, 3), (4, 5)]


def test_a_gate_moves_past_blocks_that_it_commutes_with():
    def fn(x, w):
        qml.RX(w[0], wires=0)
        for target in (2, 3, 4, 5):
            qml.CNOT(wires=[1, target])
        qml.CRX(w[0], wires=[1, 0])

    # Both blocks are diagonal on wire 1, so the last gate may join the first of them.
    blocks = fused(fn)
    assert [[index for index, _ in block.gates] for block in blocks] == [[0, 1, 2, 3, 5], [4]]


def test_per_sample_blocks_do_not_grow():
    def fn(x, w):
        qml.RX(x[0], wires=0)
        qml.RY(x[0], wires=0)
        qml.RY(w[0], wires=0)
        qml.RX(x[0], wires=1)
        qml.CNOT(wires=[0, 1])

    blocks = fused(fn, input_gates=(0, 1, 3))
    assert [len(block.gates) for block in blocks] == [3, 1, 1]
    assert [block.per_sample for block in blocks] == [True, True, False]
