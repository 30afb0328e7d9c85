"""Every ansatz against gates written out by hand from the papers, on default.qubit."""

import copy
import math
import pickle
from dataclasses import dataclass

import pennylane as qml
import pytest
import torch

from hqdm.circuits import (
    ANSATZE,
    AngleEmbedding,
    Ansatz,
    Basic,
    BasicEntangler,
    Circuit,
    FQConv,
    HQConv,
    Separable,
    StronglyEntangling,
    build_ansatz,
    register_ansatz,
)
from hqdm.simulators import StatevectorSimulator
from hqdm.utils.errors import HQDMError

# (control, target) pairs of one layer in their order. Each list of FQConv is run with CRZ, then
# with CRX; in HQConv, the CRZ of a pair is followed by its CRX.
FQCONV_12 = [
    [(3, 11), (2, 10), (1, 9), (0, 8)],
    [(11, 7), (10, 6), (9, 5), (8, 4)],
    [(7, 3), (6, 2), (5, 1), (4, 0)],
]
FQCONV_8 = [[(3, 7), (2, 6), (1, 5), (0, 4)], [(7, 3), (6, 2), (5, 1), (4, 0)]]
HQCONV_12 = [
    [(8, 11), (11, 10), (10, 9), (9, 8)],
    [(4, 7), (7, 6), (6, 5), (5, 4)],
    [(0, 3), (3, 2), (2, 1), (1, 0)],
    [(4, 8)],
    [(0, 4)],
]
HQCONV_8 = [
    [(4, 7), (7, 6), (6, 5), (5, 4)],
    [(0, 3), (3, 2), (2, 1), (1, 0)],
    [(0, 4)],
]
HQCONV_4 = [[(0, 3), (3, 2), (2, 1), (1, 0)]]


def controlled_rotations(table):
    def layer(angles):
        i = 0
        for pairs in table:
            for gate in (qml.CRZ, qml.CRX):
                for control, target in pairs:
                    gate(angles[i], wires=[control, target])
                    i += 1
        assert i == len(angles)

    return layer


def pair_by_pair(table):
    def layer(angles):
        angles = iter(angles)
        for control, target in (pair for pairs in table for pair in pairs):
            qml.CRZ(next(angles), wires=[control, target])
            qml.CRX(next(angles), wires=[control, target])
        assert next(angles, None) is None

    return layer


def ring(angles):
    for wire in range(4):
        qml.RX(angles[wire], wires=wire)
    for pair in [(0, 1), (1, 2), (2, 3), (3, 0)]:
        qml.CNOT(wires=pair)


def strongly_entangling(weights):
    # The CNOTs of PennyLane's layer l of four wires reach l % 3 + 1 wires further.
    for angles, reach in zip(weights, (1, 2), strict=True):
        for wire in range(4):
            qml.Rot(*angles[wire], wires=wire)
        for wire in range(4):
            qml.CNOT(wires=[wire, (wire + reach) % 4])


def repeat(layer):
    def layers(weights):
        for angles in weights:
            layer(angles)

    return layers


BY_HAND = [
    (FQConv(12, 2), repeat(controlled_rotations(FQCONV_12)), (2, 24)),
    (FQConv(8, 2), repeat(controlled_rotations(FQCONV_8)), (2, 16)),
    (HQConv(12, 2), repeat(pair_by_pair(HQCONV_12)), (2, 28)),
    (HQConv(8, 2), repeat(pair_by_pair(HQCONV_8)), (2, 18)),
    (HQConv(4, 3), repeat(pair_by_pair(HQCONV_4)), (3, 8)),
    (HQConv(8, 2, interleaved=False), repeat(controlled_rotations(HQCONV_8)), (2, 18)),
    (Basic(4, 4), repeat(ring), (4, 4)),
    (BasicEntangler(4, 2), repeat(ring), (2, 4)),
    (StronglyEntangling(4, 2), strongly_entangling, (2, 4, 3)),
]


def name(value):
    return repr(value) if isinstance(value, Ansatz) else ""


def value_and_gradients(f, x, weights):
    x, weights = x.clone().requires_grad_(), weights.clone().requires_grad_()
    out = f(x, weights)
    # Unequal cotangents, so that no two outputs can be exchanged unnoticed.
    loss = (out * torch.linspace(-1, 2, out.numel(), dtype=out.dtype).reshape(out.shape)).sum()
    return out.detach(), *torch.autograd.grad(loss, (x, weights))


@pytest.mark.parametrize(("ansatz", "gates", "shape"), BY_HAND, ids=name)
def test_value_and_gradients_equal_the_gates_written_by_hand(ansatz, gates, shape):
    n = ansatz.n_wires
    circuit = Circuit(AngleEmbedding(n), ansatz)
    assert circuit.weights_shape == shape

    @qml.qnode(qml.device("default.qubit", wires=n), diff_method="backprop")
    def node(x, weights):
        for wire in range(n):
            qml.RX(x[:, wire], wires=wire)
        gates(weights)
        return [qml.expval(qml.Z(wire)) for wire in range(n)]

    x = torch.randn(3, n, dtype=torch.float64)
    weights = 2 * math.pi * torch.rand(shape, dtype=torch.float64)
    expected = value_and_gradients(lambda x, w: torch.stack(node(x, w), -1), x, weights)
    device = qml.device("default.qubit", wires=n)
    ours = qml.QNode(circuit.qfunc, device, diff_method="backprop")
    by_pennylane = value_and_gradients(lambda x, w: torch.stack(ours(x, w), -1), x, weights)
    torch.testing.assert_close(by_pennylane, expected, rtol=0, atol=1e-10)

    def simulate(x, w):
        return StatevectorSimulator()(circuit, x[None], w[None])[0]

    torch.testing.assert_close(
        value_and_gradients(simulate, x, weights), expected, rtol=0, atol=1e-10
    )
    # Gradients sum up to 36 outputs of up to 2 in size, each rounded in about 100 gates.
    for single, double in zip(
        value_and_gradients(simulate, x.float(), weights.float()), expected, strict=True
    ):
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_wires", [8, 12])
@pytest.mark.parametrize("ansatz", sorted(ANSATZE))
def test_every_weight_has_a_gradient(ansatz, n_wires):
    circuit = Circuit(AngleEmbedding(n_wires), build_ansatz(ansatz, n_wires, 2))
    x = torch.randn(1, 4, n_wires, dtype=torch.float64)
    weights = 2 * math.pi * torch.rand(1, *circuit.weights_shape, dtype=torch.float64)
    weights.requires_grad_()
    out = StatevectorSimulator()(circuit, x, weights)
    (gradient,) = torch.autograd.grad((out * torch.randn_like(out)).sum(), weights)
    nonzero = gradient[0].abs() > 1e-8
    if ansatz == "StronglyEntangling":
        # A rotation about Z before CNOTs and a measurement of Z has no effect, as documented.
        assert not nonzero[-1, :, 2].any()
        nonzero[-1, :, 2] = True
    elif ansatz == "RotationZZ":
        # Neither has one about ZZ.
        assert not nonzero[-1, 3 * n_wires :].any()
        nonzero[-1, 3 * n_wires :] = True
    assert nonzero.all()


def test_wrong_weights_are_refused():
    with pytest.raises(HQDMError, match=r"FQConv needs weights of shape \(3, 24\), got \(3, 28\)"):
        FQConv(12, 3).apply(torch.zeros(3, 28))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FQConv(4), "got n_wires=4: use HQConv or Basic"),
        (lambda: FQConv(10), "got n_wires=10"),
        (lambda: HQConv(6), "groups of 4 wires, got n_wires=6"),
        (lambda: HQConv(4, interleaved="no"), "interleaved must be true or false, got 'no'"),
        (lambda: Basic(0), "at least one wire and one layer, got n_wires=0, n_layers=1"),
        (lambda: Basic(4, 0), "n_layers=0"),
        (lambda: build_ansatz("FQconv", 12, 3), "unknown ansatz 'FQconv'.*did you mean 'FQConv'"),
    ],
)
def test_invalid_input_is_refused(build, message):
    with pytest.raises(HQDMError, match=message):
        build()


@pytest.mark.parametrize("ansatz", sorted(ANSATZE))
def test_copies_are_equal_and_hash_alike(ansatz):
    original = build_ansatz(ansatz, 8, 2)
    for other in (copy.deepcopy(original), pickle.loads(pickle.dumps(original))):
        assert other == original
        assert hash(other) == hash(original)
    assert build_ansatz(ansatz, 8, 3) != original


def test_a_registered_ansatz_is_built_by_name(monkeypatch):
    monkeypatch.setattr(ANSATZE, "_entries", dict(ANSATZE))

    @register_ansatz
    @dataclass(frozen=True)
    class OnlyRY(Ansatz):
        @property
        def weights_shape(self):
            return (self.n_layers, self.n_wires)

        def queue(self, weights):
            for layer in weights:
                for wire in range(self.n_wires):
                    qml.RY(layer[wire], wires=wire)

    circuit = Circuit(AngleEmbedding(2, "Y"), build_ansatz("OnlyRY", 2, 1))
    x, weights = torch.randn(1, 5, 2), torch.randn(1, 1, 2)
    # RY(w) RY(x)|0> has <Z> = cos(x + w).
    torch.testing.assert_close(
        StatevectorSimulator()(circuit, x, weights), (x + weights).cos(), rtol=0, atol=1e-6
    )


def queued(ansatz, weights):
    with qml.queuing.AnnotatedQueue() as queue:
        ansatz.apply(weights)
    return qml.tape.QuantumScript.from_queue(queue).operations


def test_a_separable_ansatz_has_the_rotations_without_their_controls():
    """HQConv: RZ and RX on each target, in the order of the pairs; Basic: its RX without CNOTs."""
    weights = torch.rand(2, 8).double()
    for name, gates in (
        ("HQConv", [(gate, t) for t in (3, 2, 1, 0) for gate in (qml.RZ, qml.RX)]),
        ("Basic", [(qml.RX, t) for t in range(8)]),
    ):
        n = 4 if name == "HQConv" else 8
        found = queued(Separable(n, 2, ansatz=build_ansatz(name, n, 1)), weights)
        expected = [
            gate(w, wires=t) for layer in weights for (gate, t), w in zip(gates, layer, strict=True)
        ]
        assert len(found) == len(expected) == 16
        for operation, other in zip(found, expected, strict=True):
            assert qml.equal(operation, other)


def test_a_separable_ansatz_takes_templates_apart():
    """The rotations of strongly entangling layers stay; a gate of no known form is refused."""
    weights = torch.rand(3, 2, 3).double()
    found = queued(Separable(2, 3, ansatz=StronglyEntangling(2)), weights)
    expected = [qml.Rot(*weights[k, w], wires=w) for k in range(3) for w in range(2)]
    assert len(found) == 6
    for operation, other in zip(found, expected, strict=True):
        assert qml.equal(operation, other)

    class Opaque(qml.operation.Operator):
        num_wires = 2

    @dataclass(frozen=True)
    class Own(Basic):
        def queue(self, weights):
            Opaque(weights[0, 0], wires=(0, 1))

    with pytest.raises(HQDMError, match="Opaque on the wires .0, 1. has no decomposition"):
        queued(Separable(2, 1, ansatz=Own(2)), torch.rand(1, 2))
