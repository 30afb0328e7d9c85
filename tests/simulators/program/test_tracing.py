import pickle
from dataclasses import fields
from functools import partial

import numpy as np
import pennylane as qml
import pytest
import torch

from hqdm.circuits import AmplitudeEmbedding, AngleEmbedding, Circuit, FQConv, StronglyEntangling
from hqdm.simulators.program.tracing import AffinePhases, TracedPhases, trace
from hqdm.utils.errors import HQDMError


def program(fn, n_wires=3, n_inputs=2, weights_shape=(2,)):
    return trace(
        Circuit.from_qfunc(fn, n_wires=n_wires, n_inputs=n_inputs, weights_shape=weights_shape)
    )


def matrix(gate, angle):
    """The matrix of a gate at an angle, from its constants."""
    constant, cosine, sine = gate.matrices
    phase = gate.frequency * angle
    return constant + np.cos(phase) * cosine + np.sin(phase) * sine


@pytest.mark.parametrize(
    "gate",
    [
        *(qml.RX, qml.RY, qml.RZ, qml.PhaseShift, qml.U1, qml.CRX, qml.CRY, qml.CRZ),
        *(qml.ControlledPhaseShift, qml.IsingXX, qml.IsingYY, qml.IsingZZ, qml.IsingXY),
        *(qml.SingleExcitation, qml.DoubleExcitation, qml.FermionicSWAP),
    ],
)
def test_gates_of_one_angle_are_kept_and_reproduced(gate):
    wires = list(range(gate.num_wires))
    (kept,) = program(lambda x, w: gate(x[0], wires=wires), n_wires=4).gates
    for angle in (0.3, -2.0, 5.0):
        expected = torch.as_tensor(gate(angle, wires=wires).matrix(), dtype=torch.complex128)
        torch.testing.assert_close(matrix(kept, angle), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("queue", "controls"),
    [
        (lambda x: qml.CRX(x, wires=[2, 0]), {2}),
        (lambda x: qml.CRZ(x, wires=[2, 0]), {0, 2}),
        (lambda x: qml.IsingZZ(x, wires=[2, 0]), {0, 2}),
        (lambda x: qml.IsingXX(x, wires=[2, 0]), set()),
        (lambda x: qml.Toffoli(wires=[2, 0, 1]), {2, 0}),
        (lambda x: qml.CSWAP(wires=[1, 0, 2]), {1}),
        (lambda x: qml.SWAP(wires=[1, 0]), set()),
        (lambda x: qml.S(wires=1), {1}),
        (lambda x: qml.ctrl(qml.RY, control=[0, 1], control_values=[0, 1])(x, wires=2), {0, 1}),
    ],
)
def test_controls_are_the_wires_of_block_diagonal_gates(queue, controls):
    (gate,) = program(lambda x, w: queue(x[0])).gates
    assert gate.controls == controls


@pytest.mark.parametrize(
    ("queue", "n_gates"),
    [
        (lambda x: qml.Rot(x[0], x[1], 0.3, wires=0), 3),
        (lambda x: qml.adjoint(qml.RX)(x[0], wires=0), 1),
        (lambda x: qml.pow(qml.RX(x[0], wires=0), 2), 1),
        (lambda x: qml.pow(qml.RX(x[0], wires=0), 0.5), 1),
        (lambda x: (qml.GlobalPhase(x[0]), qml.Barrier(wires=0), qml.Identity(0), qml.X(0)), 1),
        (lambda x: qml.QubitUnitary(np.eye(8)[::-1], wires=[0, 1, 2]), 1),
    ],
)
def test_other_operations_are_decomposed_or_constant(queue, n_gates):
    assert len(program(lambda x, w: queue(x)).gates) == n_gates


def test_a_wide_constant_gate_is_decomposed():
    gates = program(lambda x, w: qml.QFT(wires=range(6)), n_wires=6).gates
    assert max(len(gate.wires) for gate in gates) == 2


def mixed(x, w):
    qml.RX(x[0], wires=0)
    qml.PhaseShift(0.5 - 2 * w[0] + 3 * x[1], wires=1)
    qml.Hadamard(wires=2)
    qml.RY(w[0] + w[1], wires=1)
    qml.RZ(0.7, wires=0)
    qml.CRX(torch.tensor(0.25), wires=[0, 1])


def test_affine_phases_are_the_formulas():
    traced = program(mixed)
    assert isinstance(traced.phases, AffinePhases)
    assert traced.input_gates == (0, 1)
    inputs, weights = torch.randn(2, 5, 2).double(), torch.randn(2, 2).double()
    of_weights = traced.phases.of_weights(inputs, weights)
    zero = torch.zeros(2).double()
    # The phase of RX, RY and CRX is half their angle; a shift by 0.5 stays in its gate.
    expected = [zero, 0.5 - 2 * weights[:, 0], zero, weights.sum(1) / 2, zero, zero + 0.125]
    torch.testing.assert_close(of_weights, torch.stack(expected, 1), rtol=0, atol=1e-14)
    of_inputs = traced.phases.of_inputs(inputs, weights, of_weights, torch.tensor([0, 1]))
    expected = [inputs[..., 0] / 2, 0.5 - 2 * weights[:, :1] + 3 * inputs[..., 1]]
    torch.testing.assert_close(of_inputs, torch.stack(expected, 2), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "f",
    [
        torch.sin,
        torch.tanh,
        torch.square,
        torch.abs,
        lambda x: torch.relu(x - 3),
        lambda x: torch.clamp(x, -torch.pi, torch.pi),
        lambda x: torch.remainder(x, 2 * torch.pi),
    ],
)
def test_other_phases_are_traced_in_every_call(f):
    def fn(x, w):
        qml.RX(f(x[0]), wires=0)
        qml.PhaseShift(f(w[1]), wires=1)
        qml.PhaseShift(w[0] * x[1], wires=2)

    traced = program(fn)
    assert isinstance(traced.phases, TracedPhases)
    assert traced.input_gates == (0, 2)
    inputs, weights = 4 * torch.randn(2, 5, 2).double(), torch.randn(2, 2).double()
    of_weights = traced.phases.of_weights(inputs, weights)
    torch.testing.assert_close(of_weights[:, 1], f(weights[:, 1]), rtol=0, atol=1e-14)
    of_inputs = traced.phases.of_inputs(inputs, weights, of_weights, torch.tensor([0, 2]))
    expected = torch.stack([f(inputs[..., 0]) / 2, weights[:, :1] * inputs[..., 1]], 2)
    torch.testing.assert_close(of_inputs, expected, rtol=0, atol=1e-14)


def test_a_phase_that_is_nearly_affine_is_no_affine_one():
    """x + 1e-6 sin(pi x) is x at every whole number, where slopes are measured."""

    def fn(x, w):
        qml.PhaseShift(w[0] + 1e-6 * torch.sin(torch.pi * w[0]), wires=0)
        qml.PhaseShift(x[0] + 1e-6 * torch.sin(torch.pi * x[0]), wires=1)

    traced = program(fn)
    assert isinstance(traced.phases, TracedPhases)
    inputs, weights = torch.full((2, 1, 2), 0.5).double(), torch.full((2, 2), -0.5).double()
    of_weights = traced.phases.of_weights(inputs, weights)
    of_inputs = traced.phases.of_inputs(inputs, weights, of_weights, torch.tensor([1]))
    for phases, expected in ((of_weights[:, :1], -0.5 - 1e-6), (of_inputs, 0.5 + 1e-6)):
        torch.testing.assert_close(phases, torch.full_like(phases, expected), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("phase", "of_weights", "of_inputs", "n_calls"),
    [
        (lambda x, w: 1e-5 * w[1], [0, 1e-5], [0, 0], 2),
        (lambda x, w: w[1] + 1e-5 * w[0] - 1e-5 * x[1], [1e-5, 1], [0, -1e-5], 3),
    ],
    ids=["one argument", "several"],
)
def test_small_slopes_are_kept(phase, of_weights, of_inputs, n_calls):
    """And found without a call of the function for every sample."""
    calls = []

    def fn(x, w):
        calls.append(1)
        qml.PhaseShift(phase(x, w), wires=0)

    phases = program(fn).phases
    assert isinstance(phases, AffinePhases)
    assert len(calls) == n_calls
    for index, value, expected in (
        (phases.weight_index, phases.weight_value, of_weights),
        (phases.input_index, phases.input_value, of_inputs),
    ):
        slopes = torch.zeros(2).double().index_add(0, index.flatten(), value.flatten())
        expected = torch.tensor(expected, dtype=torch.float64)
        torch.testing.assert_close(slopes, expected, rtol=0, atol=1e-14)


def test_inputs_that_matter_at_some_weights_only():
    def fn(x, w):
        qml.RX(torch.relu(w[0]) * x[0], wires=0)
        qml.RX(torch.relu(-w[0]) * x[1], wires=1)

    assert program(fn).input_gates == (0, 1)


def test_amplitudes_are_left_to_the_embedding():
    embedding = AmplitudeEmbedding(3, 5)
    traced = trace(Circuit(embedding, StronglyEntangling(3, 2)))
    assert traced.embedding == embedding
    assert len(traced.gates) == 2 * (3 * 3 + 3)
    assert traced.input_gates == ()


def test_a_circuit_is_traced_once():
    calls = []

    def fn(x, w):
        calls.append(1)
        qml.RX(x[0] + w[0], wires=0)

    circuit = Circuit.from_qfunc(fn, n_wires=1, n_inputs=1, weights_shape=(1,))
    first = trace(circuit)
    n_calls = len(calls)
    assert trace(circuit) is first
    assert len(calls) == n_calls


@pytest.mark.parametrize("n_layers", [1, 30])
def test_the_number_of_calls_does_not_grow_with_the_depth(n_layers):
    """Also where inputs and weights share a gate; a call for every weight would be quadratic."""
    calls = []

    def fn(x, w):
        calls.append(1)
        for layer in w:
            for wire in range(3):
                qml.RX(0.5 * layer[wire] - 2 * x[wire] + 0.1, wires=wire)

    circuit = Circuit.from_qfunc(fn, n_wires=3, n_inputs=3, weights_shape=(n_layers, 3))
    phases = trace(circuit).phases
    assert len(calls) == 2
    assert phases.weight_index.flatten().tolist() == list(range(3 * n_layers))
    assert phases.input_index.flatten().tolist() == [0, 1, 2] * n_layers
    assert phases.weight_value.unique().tolist() == [0.25]
    torch.testing.assert_close(phases.input_value, torch.full_like(phases.input_value, -1.0))


def test_gates_of_one_kind_share_their_matrices():
    gates = trace(Circuit(AngleEmbedding(3), StronglyEntangling(3, 5))).gates
    assert len({gate.matrices.data_ptr() for gate in gates}) == len({gate.name for gate in gates})


def sums(x, w):
    for layer in w:
        qml.RX(layer[0] + 2 * layer[1] - layer[2], wires=0)
        qml.RY(x[0] - x[1] + layer[1], wires=1)


def test_the_table_of_slopes_may_be_computed_in_chunks(monkeypatch):
    circuit = Circuit.from_qfunc(sums, n_wires=2, n_inputs=2, weights_shape=(9, 3))
    whole = trace(circuit).phases
    trace.cache_clear()
    monkeypatch.setattr(
        "hqdm.simulators.program.tracing.PROBE_NUMBERS", 100
    )  # two angles at a time
    pieces = trace(circuit).phases
    trace.cache_clear()
    for field in fields(AffinePhases):
        assert torch.equal(getattr(whole, field.name), getattr(pieces, field.name))


def test_a_program_pickles():
    traced = trace(Circuit(AngleEmbedding(8), FQConv(8, 2)))
    other = pickle.loads(pickle.dumps(traced))
    assert [gate.name for gate in other.gates] == [gate.name for gate in traced.gates]
    assert torch.equal(other.phases.weight_index, traced.phases.weight_index)


def test_a_program_traced_in_inference_mode_can_train():
    def fn(x, w):
        qml.RX(x[0] * 2 + w[0], wires=0)

    with torch.inference_mode():
        traced = program(fn)
    weights = torch.ones(1, 2).double().requires_grad_()
    traced.phases.of_weights(torch.ones(1, 1, 2).double(), weights).sum().backward()
    assert weights.grad.tolist() == [[0.5, 0]]


def measures_midway(x, w):
    qml.RX(x[0], wires=0)
    qml.measure(0)


def conditions(x, w):
    qml.cond(qml.measure(0), qml.X)(1)


def branches(x, w):
    if x[0] > 0:
        qml.RX(x[0], wires=0)
    else:
        qml.RY(x[0], wires=0)


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (measures_midway, "measurement before the end.*simulator='pennylane:default.qubit'"),
        (conditions, "measurement before the end"),
        (branches, "gates may not depend on values.*simulator='pennylane:default.qubit'"),
        (lambda x, w: qml.DepolarizingChannel(x[0], wires=0), "cannot run DepolarizingChannel"),
        (lambda x, w: qml.Projector([0], wires=0), "Projector is not unitary.*'pennylane:default"),
        (lambda x, w: qml.RX(x[0], wires=3), r"RX acts on wires \[3\].* has wires 0\.\.2"),
        (lambda x, w: qml.CNOT(wires=["a", 0]), r"CNOT acts on wires \['a', 0\]"),
        (lambda x, w: None, "queues no gates"),
    ],
)
def test_invalid_input_is_refused(fn, message):
    with pytest.raises(HQDMError, match=message) as error:
        program(fn)
    assert "\n" not in str(error.value)


class Swapped(StronglyEntangling):
    """An ansatz with an attribute that is no field of the dataclass."""

    def __init__(self, n_wires, gate):
        super().__init__(n_wires)
        object.__setattr__(self, "gate", gate)

    @property
    def weights_shape(self):
        return (self.n_layers, self.n_wires)

    def queue(self, weights):
        self.gate(weights[0, 0], wires=0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (qml.RX, qml.RY),
        (partial(qml.PauliRot, pauli_word="X"), partial(qml.PauliRot, pauli_word="Y")),
    ],
)
def test_circuits_that_differ_in_more_than_fields_have_programs_of_their_own(first, second):
    one, other = (Circuit(AngleEmbedding(1), Swapped(1, gate)) for gate in (first, second))
    assert one.ansatz == other.ansatz
    assert one != other
    assert trace(one) is not trace(other)
    assert trace(Circuit(AngleEmbedding(1), Swapped(1, first))) is trace(one)


def test_an_error_in_a_user_defined_function_is_raised_unchanged():
    with pytest.raises(IndexError):
        program(lambda x, w: qml.RX(x[7], wires=0))
