"""Properties of every exact simulator."""

import copy
import pickle

import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import thinned
from programs import (
    AMPLITUDE_CIRCUITS,
    CIRCUITS,
    GATES,
    GateList,
    assert_agrees_with_pennylane,
    assert_close,
    circuit_of,
    gate_lists,
    sample,
    value_and_gradients,
)
from torch.utils.checkpoint import checkpoint

from hqdm.circuits import AngleEmbedding, Basic, Circuit, FQConv, HQConv, StronglyEntangling
from hqdm.nn import QuantumLayer
from hqdm.simulators import (
    AutoSimulator,
    CompiledSimulator,
    PennyLaneSimulator,
    StatevectorSimulator,
    UnitarySimulator,
)
from hqdm.utils.errors import HQDMError

EXACT = [StatevectorSimulator(), CompiledSimulator(), AutoSimulator()]
ODD_BATCHES = (1, 7, 129)


@pytest.fixture(params=EXACT, ids=lambda simulator: simulator.name)
def simulator(request):
    return request.param


@st.composite
def calls(draw, max_wires, batches):
    """A random circuit with inputs and weights, and the tolerance for its precision."""
    n_wires = draw(st.integers(1, max_wires))
    gates = draw(gate_lists(n_wires))
    measure = draw(st.sampled_from(["expval_z", "probs", "state"]))
    order = draw(st.permutations(range(n_wires)))
    measured = None if measure == "state" else order[: draw(st.integers(1, n_wires))]
    circuit = circuit_of(gates, n_wires, measure, measured)
    single = draw(st.booleans())
    dtype = torch.float32 if single else torch.float64
    n_circuits, n_samples = draw(st.integers(1, 3)), draw(st.sampled_from(batches))
    # Rounding of states and gradients through at most 13 gates, relative to the largest number.
    return circuit, *sample(circuit, n_circuits, n_samples, dtype), 1e-5 if single else 1e-12


@pytest.mark.parametrize("simulator", EXACT[:2], ids=lambda simulator: simulator.name)
@settings(deadline=None, max_examples=25)
@given(call=calls(6, (1, 2, 7)))
def test_random_programs_agree_with_pennylane(simulator, call):
    assert_agrees_with_pennylane(simulator, *call)


@settings(deadline=None, max_examples=40)
@given(call=calls(14, ODD_BATCHES))
def test_the_compiled_simulator_agrees_with_the_one_in_torch(call):
    *arguments, atol = call
    compiled = value_and_gradients(CompiledSimulator(), *arguments)
    assert_close(compiled, value_and_gradients(StatevectorSimulator(), *arguments), atol)


@pytest.mark.parametrize("n_samples", thinned(ODD_BATCHES, every=3))
@pytest.mark.parametrize(
    "circuit",
    [
        Circuit(AngleEmbedding(12), FQConv(12, 2)),
        Circuit(AngleEmbedding(12), HQConv(12, 1)),
        Circuit(AngleEmbedding(14), StronglyEntangling(14, 1), "probs", (13, 2)),
    ],
    ids=str,
)
def test_wide_circuits_and_odd_batches_agree_with_pennylane(circuit, n_samples):
    # 33 samples are several groups of lanes and a remainder; more take PennyLane seconds.
    n_samples = min(n_samples, 33 if circuit.n_wires < 14 else 7)
    for dtype, atol in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        call = sample(circuit, 2, n_samples, dtype)
        assert_agrees_with_pennylane(CompiledSimulator(), circuit, *call, atol)


@pytest.mark.parametrize("circuit", AMPLITUDE_CIRCUITS, ids=str)
def test_the_unitary_path_agrees_with_pennylane(circuit):
    for n_samples in ODD_BATCHES:
        for dtype, atol in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
            call = sample(circuit, 2, n_samples, dtype)
            assert_agrees_with_pennylane(UnitarySimulator(), circuit, *call, atol)


@pytest.mark.parametrize(
    ("gate", "kind"),
    thinned(
        [
            (gate, kind)
            for gate in GATES
            for kind in ("weight", "input", "nonlinear")[: 1 + 2 * gate[2]]
        ],
        every=8,
    ),
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_every_gate_in_the_middle_of_a_circuit(simulator, gate, kind):
    name, width, n_angles = gate
    n = max(width, 3)
    layer = [("U3", (i,), (("weight", i), ("input", i), ("constant", i))) for i in range(n)]
    ring = [("CNOT", (i, (i + 1) % n), ()) for i in range(n)]
    wires = (2, 0, 1, 3)[:width]
    middle = (name, wires, tuple((kind, i) for i in range(n_angles)))
    circuit = circuit_of(GateList((*layer, *ring, middle, *ring, *layer)), n)
    assert_agrees_with_pennylane(simulator, circuit, *sample(circuit), atol=1e-12)


@pytest.mark.parametrize("circuit", CIRCUITS, ids=str)
def test_embeddings_and_ansaetze_agree_with_pennylane(simulator, circuit):
    assert_agrees_with_pennylane(simulator, circuit, *sample(circuit), atol=1e-12)


def divides(x, w):
    qml.RX(w[0] / x[0], wires=0)
    qml.RY(torch.sin(w[1]), wires=1)
    qml.CNOT(wires=[0, 1])


def test_functions_are_traced_at_the_inputs_only(simulator):
    # At any other place, such as zero, the gradient of w / x could be infinite.
    circuit = circuit_of(divides, 2)
    assert_agrees_with_pennylane(simulator, circuit, *sample(circuit), atol=1e-12)


def test_weight_only_and_constant_circuits(simulator):
    only_weights = GateList((("RX", (0,), (("weight", 0),)), ("CNOT", (0, 1), ())))
    constant = GateList((("Hadamard", (1,), ()), ("CNOT", (1, 0), ())))
    for gates in (only_weights, constant):
        circuit = circuit_of(gates, 2, "probs")
        assert_agrees_with_pennylane(simulator, circuit, *sample(circuit), atol=1e-12)


@pytest.mark.parametrize("circuit", CIRCUITS[:2] + CIRCUITS[-2:], ids=str)
def test_gradcheck(simulator, circuit):
    inputs, weights = sample(circuit, n_circuits=2, n_samples=2)
    assert torch.autograd.gradcheck(
        lambda x, w: simulator(circuit, x, w), (inputs, weights), fast_mode=True
    )


def test_forward_mode_equals_finite_differences(simulator):
    circuit = CIRCUITS[0]
    inputs, weights = (t.detach() for t in sample(circuit))
    tangents = torch.randn_like(inputs), torch.randn_like(weights)

    def f(x, w):
        return simulator(circuit, x, w)

    _, derivative = torch.func.jvp(f, (inputs, weights), tangents)
    h = 1e-5  # the error of central differences is of order h^2, their rounding of order 1e-16 / h
    plus, minus = (f(inputs + s * tangents[0], weights + s * tangents[1]) for s in (h, -h))
    torch.testing.assert_close(derivative, (plus - minus) / (2 * h), rtol=0, atol=1e-8)


def test_samples_are_independent(simulator):
    circuit = CIRCUITS[0]
    inputs, weights = (t.detach() for t in sample(circuit, 2, 6))
    out = simulator(circuit, inputs, weights)
    order = torch.randperm(6)
    permuted = simulator(circuit, inputs[:, order], weights)
    torch.testing.assert_close(permuted, out[:, order], rtol=0, atol=1e-14)
    inputs[0, 2] += 1
    changed = (simulator(circuit, inputs, weights) - out).abs().amax(-1) > 1e-12
    assert changed.nonzero().tolist() == [[0, 2]]


def test_circuits_are_independent(simulator):
    circuit = CIRCUITS[0]
    inputs, weights = (t.detach() for t in sample(circuit, 3, 4))
    together = simulator(circuit, inputs, weights)
    for i in range(3):
        alone = simulator(circuit, inputs[i : i + 1], weights[i : i + 1])
        torch.testing.assert_close(together[i], alone[0], rtol=0, atol=1e-14)


def test_precision_follows_the_inputs(simulator):
    circuit = CIRCUITS[0]
    for dtype in (torch.float32, torch.float64):
        inputs, weights = sample(circuit, dtype=dtype)
        out, *gradients = value_and_gradients(simulator, circuit, inputs, weights)
        assert {t.dtype for t in (out, *gradients)} == {dtype}


def test_an_empty_batch_has_no_outputs_and_zero_gradients(simulator):
    inputs, weights = sample(CIRCUITS[0], n_samples=0)
    out, *gradients = value_and_gradients(simulator, CIRCUITS[0], inputs, weights)
    assert out.shape == (2, 0, 8)
    assert not gradients[1].any()


def test_first_use_in_inference_mode_does_not_prevent_training(simulator):
    circuit = Circuit(AngleEmbedding(4), Basic(4, 3), wires=(3, 1))  # used in no other test
    inputs, weights = sample(circuit)
    with torch.inference_mode():
        simulator(circuit, inputs, weights)
    assert_agrees_with_pennylane(simulator, circuit, inputs, weights, atol=1e-12)


def test_derivatives_of_derivatives(simulator):
    circuit = Circuit(AngleEmbedding(4), HQConv(4, 1), wires=(2, 0))
    inputs, weights = sample(circuit, 1, 2)

    def f(x, w):
        return simulator(circuit, x, w)

    assert torch.autograd.gradgradcheck(f, (inputs, weights), fast_mode=True)
    x, w = inputs.detach(), weights.detach()
    direction = torch.randn_like(x)
    forward_twice = torch.func.jvp(
        lambda y: torch.func.jvp(lambda z: f(z, w), (y,), (direction,))[1], (x,), (direction,)
    )[1]
    h = 1e-4  # second differences: truncation of order h^2, rounding of order 1e-16 / h^2
    difference = (f(x + h * direction, w) - 2 * f(x, w) + f(x - h * direction, w)) / h**2
    torch.testing.assert_close(forward_twice, difference, rtol=0, atol=1e-6)

    def gradient(y):
        return torch.func.grad(lambda z: f(z, w).square().sum())(y)

    product = torch.func.jvp(gradient, (x,), (direction,))[1]
    difference = (gradient(x + h * direction) - gradient(x - h * direction)) / (2 * h)
    torch.testing.assert_close(product, difference, rtol=0, atol=1e-6)


def test_jacobians_and_vmap(simulator):
    circuit = Circuit(AngleEmbedding(3), StronglyEntangling(3, 1))
    x, w = (t.detach() for t in sample(circuit, 2, 3))

    def f(y):
        return simulator(circuit, y, w)

    reverse, forward = torch.func.jacrev(f)(x), torch.func.jacfwd(f)(x)
    torch.testing.assert_close(reverse, forward, rtol=0, atol=1e-14)
    for sample_index in range(3):  # a sample depends on its own inputs only
        others = [i for i in range(3) if i != sample_index]
        assert not reverse[:, sample_index][:, :, :, others].any()
    stacked = torch.stack([x, 2 * x])
    torch.testing.assert_close(
        torch.func.vmap(f)(stacked), torch.stack([f(x), f(2 * x)]), rtol=0, atol=1e-14
    )


def test_gradients_are_off_in_no_grad_mode(simulator):
    circuit = CIRCUITS[0]
    inputs, weights = sample(circuit)
    expected = simulator(circuit, inputs, weights)
    assert expected.requires_grad
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            out = simulator(circuit, inputs, weights)
        assert not out.requires_grad
        # "auto" may choose another simulator where no gradients are needed.
        torch.testing.assert_close(out, expected.detach(), rtol=0, atol=1e-14)


def test_gradient_checkpointing_changes_nothing(simulator):
    circuit = CIRCUITS[0]
    inputs, weights = sample(circuit)
    plain = value_and_gradients(simulator, circuit, inputs, weights)

    def checkpointed(*arguments):
        return checkpoint(simulator, *arguments, use_reentrant=False)

    again = value_and_gradients(checkpointed, circuit, inputs, weights)
    torch.testing.assert_close(again, plain, rtol=0, atol=0)


def test_a_layer_survives_copies_and_autocast(simulator):
    torch.manual_seed(0)
    layer = QuantumLayer(Circuit(AngleEmbedding(4), HQConv(4, 1)), 3, simulator)
    x = torch.randn(5, 3, 4)
    expected = layer(x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(twin(x), expected, rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    torch.testing.assert_close(out, expected, rtol=0, atol=0)
    out.sum().backward()
    assert layer.theta.grad.dtype == torch.float32


def test_repeats_are_bit_identical(simulator):
    circuit = Circuit(AngleEmbedding(8), HQConv(8, 2))
    runs = [value_and_gradients(simulator, circuit, *sample(circuit, 3, 129)) for _ in range(2)]
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("inputs", "weights", "message"),
    [
        ((2, 3, 8), (2, 2, 15), r"weights of shape \(n_circuits, 2, 16\), got \(2, 2, 15\)"),
        ((2, 3, 8), (2, 16), r"weights of shape \(n_circuits, 2, 16\), got \(2, 16\)"),
        ((2, 3, 7), (2, 2, 16), r"inputs of shape \(2, B, 8\), got \(2, 3, 7\)"),
        ((1, 3, 8), (2, 2, 16), r"inputs of shape \(2, B, 8\), got \(1, 3, 8\)"),
    ],
)
def test_wrong_shapes_are_refused(inputs, weights, message):
    for simulator in (*EXACT, PennyLaneSimulator("default.qubit")):
        with pytest.raises(HQDMError, match=message):
            simulator(CIRCUITS[0], torch.zeros(inputs), torch.zeros(weights))


def test_wrong_dtypes_are_refused(simulator):
    inputs, weights = sample(CIRCUITS[0])
    with pytest.raises(HQDMError, match=r"got torch\.float32 and torch\.float64"):
        simulator(CIRCUITS[0], inputs.float(), weights)
    with pytest.raises(HQDMError, match=r"got torch\.float16 and torch\.float16"):
        simulator(CIRCUITS[0], inputs.half(), weights.half())
