import pickle
from dataclasses import dataclass
from typing import Any

import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hqdm.circuits import (
    AmplitudeEmbedding,
    AngleEmbedding,
    Basic,
    BasicEntangler,
    Circuit,
    FQConv,
    HQConv,
    StronglyEntangling,
)
from hqdm.errors import HQDMError
from hqdm.simulators import PennyLaneSimulator, StatevectorSimulator
from hqdm.simulators.statevector import plan

# Name, number of wires, number of angles.
GATES = [
    *((name, 1, 1) for name in ("RX", "RY", "RZ", "PhaseShift", "U1")),
    *((name, 1, 0) for name in ("Hadamard", "PauliX", "PauliY", "PauliZ", "S", "T", "SX")),
    *((name, 2, 0) for name in ("CNOT", "CY", "CZ", "CH", "SWAP", "ISWAP")),
    *((name, 2, 1) for name in ("CRX", "CRY", "CRZ", "ControlledPhaseShift", "SingleExcitation")),
    *((name, 2, 1) for name in ("IsingXX", "IsingYY", "IsingZZ", "IsingXY")),
    *((name, 3, 0) for name in ("Toffoli", "CSWAP", "CCZ")),
    ("U2", 1, 2),
    ("U3", 1, 3),
    ("Rot", 1, 3),
    ("CRot", 2, 3),
    ("MultiRZ", 3, 1),
    ("GlobalPhase", 1, 1),
]
N_INPUTS, N_WEIGHTS = 3, 4


@dataclass(frozen=True)
class GateList:
    """A quantum function made of (name, wires, angles); an angle is (kind, index)."""

    gates: tuple[tuple[str, tuple[int, ...], tuple[tuple[str, int], ...]], ...]

    def __call__(self, x: Any, w: Any) -> None:
        for name, wires, angles in self.gates:
            values = [self.angle(kind, i, x, w) for kind, i in angles]
            if len(values) > 1:  # PennyLane's own matrices fail on numbers beside tensors
                values = [torch.as_tensor(value).to(x) for value in values]
            getattr(qml, name)(*values, wires=wires)

    @staticmethod
    def angle(kind: str, i: int, x: Any, w: Any) -> Any:
        x_i, w_i = x[i % N_INPUTS], w[i % N_WEIGHTS]
        return {
            "constant": 0.7 + i,
            "input": x_i,
            "weight": w_i,
            "affine": 0.5 * x_i - 2 * w_i + 1,
            "nonlinear": torch.sin(x_i) * w_i,
        }[kind]


@st.composite
def gate_lists(draw, n_wires):
    kinds = st.sampled_from(["constant", "input", "weight", "affine", "nonlinear"])
    angle = st.tuples(kinds, st.integers(0, 3))
    gates: list = [("RX", (0,), (("input", 0),))]
    for _ in range(draw(st.integers(0, 12))):
        name, width, n_angles = draw(st.sampled_from([g for g in GATES if g[1] <= n_wires]))
        wires = tuple(draw(st.permutations(range(n_wires)))[:width])
        gates.append((name, wires, tuple(draw(angle) for _ in range(n_angles))))
    return GateList(tuple(gates))


def circuit_of(gates, n_wires, measure="expval_z", wires=None):
    return Circuit.from_qfunc(
        gates,
        n_wires=n_wires,
        n_inputs=N_INPUTS,
        weights_shape=(N_WEIGHTS,),
        measure=measure,
        wires=wires,
    )


def sample(circuit, n_circuits=2, n_samples=3, dtype=torch.float64, device="cpu"):
    generator = torch.Generator().manual_seed(n_circuits + 10 * n_samples)
    inputs = torch.randn(n_circuits, n_samples, circuit.n_inputs, generator=generator)
    weights = 3 * torch.randn(n_circuits, *circuit.weights_shape, generator=generator)
    return [t.to(device, dtype).requires_grad_() for t in (inputs, weights)]


def value_and_gradients(simulator, circuit, inputs, weights):
    out = simulator(circuit, inputs, weights)
    # Unequal cotangents, so that no two outputs can be exchanged unnoticed.
    cotangent = torch.arange(1, out.numel() + 1, device=out.device).cos().reshape(out.shape)
    loss = (out * cotangent.to(out)).sum() + 0 * (inputs.sum() + weights.sum())
    return out.detach(), *torch.autograd.grad(loss, (inputs, weights))


def assert_agrees_with_pennylane(circuit, inputs, weights, atol):
    ours = value_and_gradients(StatevectorSimulator(), circuit, inputs, weights)
    theirs = value_and_gradients(PennyLaneSimulator("default.qubit"), circuit, inputs, weights)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


@settings(deadline=None, max_examples=25)
@given(data=st.data(), n_wires=st.integers(1, 6), n_circuits=st.integers(1, 3))
def test_random_programs_agree_with_pennylane(data, n_wires, n_circuits):
    gates = data.draw(gate_lists(n_wires))
    measure = data.draw(st.sampled_from(["expval_z", "probs"]))
    order = data.draw(st.permutations(range(n_wires)))
    circuit = circuit_of(gates, n_wires, measure, order[: data.draw(st.integers(1, n_wires))])
    n_samples = data.draw(st.integers(1, 7))
    single = data.draw(st.booleans())
    dtype = torch.float32 if single else torch.float64
    # Gradients sum over up to 7 x 64 outputs through at most 12 gates of slope up to two.
    assert_agrees_with_pennylane(
        circuit, *sample(circuit, n_circuits, n_samples, dtype), atol=2e-5 if single else 1e-12
    )


@pytest.mark.parametrize(
    ("gate", "kind"),
    [
        (gate, kind)
        for gate in GATES
        for kind in ("weight", "input", "nonlinear")[: 1 + 2 * gate[2]]
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_every_gate_in_the_middle_of_a_circuit(gate, kind):
    name, width, n_angles = gate
    layer = [("U3", (i,), (("weight", i), ("input", i), ("constant", i))) for i in range(3)]
    ring = [("CNOT", (i, (i + 1) % 3), ()) for i in range(3)]
    wires = (2, 0, 1)[:width]
    middle = (name, wires, tuple((kind, i) for i in range(n_angles)))
    circuit = circuit_of(GateList((*layer, *ring, middle, *ring, *layer)), 3)
    assert_agrees_with_pennylane(circuit, *sample(circuit), atol=1e-12)


CIRCUITS = [
    Circuit(AngleEmbedding(8), FQConv(8, 2)),
    Circuit(AngleEmbedding(8, "Y"), HQConv(8, 1), "probs", (6, 1)),
    Circuit(AngleEmbedding(5, "Z"), StronglyEntangling(5, 2)),
    Circuit(AngleEmbedding(1), Basic(1, 2)),
    Circuit(AngleEmbedding(2), BasicEntangler(2, 3), "probs"),
    Circuit(AmplitudeEmbedding(4, 11), StronglyEntangling(4, 2), "probs"),
    Circuit(AmplitudeEmbedding(3), Basic(3, 1), wires=(2,)),
]


@pytest.mark.parametrize("circuit", CIRCUITS, ids=str)
def test_embeddings_and_ansaetze_agree_with_pennylane(circuit):
    assert_agrees_with_pennylane(circuit, *sample(circuit), atol=1e-12)


def divides(x, w):
    qml.RX(w[0] / x[0], wires=0)
    qml.RY(torch.sin(w[1]), wires=1)
    qml.CNOT(wires=[0, 1])


def test_functions_are_traced_at_the_inputs_only():
    # At any other place, such as zero, the gradient of w / x could be infinite.
    circuit = circuit_of(divides, 2)
    assert_agrees_with_pennylane(circuit, *sample(circuit), atol=1e-12)


def test_weight_only_and_constant_circuits():
    only_weights = GateList((("RX", (0,), (("weight", 0),)), ("CNOT", (0, 1), ())))
    constant = GateList((("Hadamard", (1,), ()), ("CNOT", (1, 0), ())))
    for gates in (only_weights, constant):
        circuit = circuit_of(gates, 2, "probs")
        assert_agrees_with_pennylane(circuit, *sample(circuit), atol=1e-12)


@pytest.mark.parametrize("circuit", CIRCUITS[:2] + CIRCUITS[-2:], ids=str)
def test_gradcheck(circuit):
    inputs, weights = sample(circuit, n_circuits=2, n_samples=2)
    assert torch.autograd.gradcheck(
        lambda x, w: StatevectorSimulator()(circuit, x, w), (inputs, weights), fast_mode=True
    )


def test_forward_mode_equals_finite_differences():
    circuit = CIRCUITS[0]
    inputs, weights = (t.detach() for t in sample(circuit))
    tangents = torch.randn_like(inputs), torch.randn_like(weights)

    def f(x, w):
        return StatevectorSimulator()(circuit, x, w)

    _, derivative = torch.func.jvp(f, (inputs, weights), tangents)
    h = 1e-5  # the error of central differences is of order h^2, their rounding of order 1e-16 / h
    plus, minus = (f(inputs + s * tangents[0], weights + s * tangents[1]) for s in (h, -h))
    torch.testing.assert_close(derivative, (plus - minus) / (2 * h), rtol=0, atol=1e-8)


def test_samples_do_not_see_each_other():
    circuit = CIRCUITS[0]
    inputs, weights = (t.detach() for t in sample(circuit, 2, 6))
    simulator = StatevectorSimulator()
    out = simulator(circuit, inputs, weights)
    order = torch.randperm(6)
    permuted = simulator(circuit, inputs[:, order], weights)
    torch.testing.assert_close(permuted, out[:, order], rtol=0, atol=1e-14)
    inputs[0, 2] += 1
    changed = (simulator(circuit, inputs, weights) - out).abs().amax(-1) > 1e-12
    assert changed.nonzero().tolist() == [[0, 2]]


def test_circuits_do_not_see_each_other():
    circuit = CIRCUITS[0]
    inputs, weights = (t.detach() for t in sample(circuit, 3, 4))
    together = StatevectorSimulator()(circuit, inputs, weights)
    for i in range(3):
        alone = StatevectorSimulator()(circuit, inputs[i : i + 1], weights[i : i + 1])
        torch.testing.assert_close(together[i], alone[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("circuit", [CIRCUITS[0], CIRCUITS[5]], ids=str)
def test_chunks_change_nothing(circuit, monkeypatch):
    whole = value_and_gradients(StatevectorSimulator(), circuit, *sample(circuit, 2, 7))
    ready = plan(circuit, torch.device("cpu"), torch.float64)
    state_bytes = 2 * sum(2 ** len(part.order) for part in ready.parts) * 16
    sizes = []
    run = type(ready).run

    def counting(self, inputs, *shared):
        sizes.append(inputs.shape[1])
        return run(self, inputs, *shared)

    monkeypatch.setattr(type(ready), "run", counting)
    # Room for the states of three samples: chunks of 3, 3, 1, run again in the backward pass.
    depth = max(len(part.blocks) for part in ready.parts) + 2
    limited = StatevectorSimulator(memory_limit=3 * state_bytes * depth)
    chunked = value_and_gradients(limited, circuit, *sample(circuit, 2, 7))
    assert sizes[:3] == [3, 3, 1]
    assert sorted(sizes[3:]) == [1, 3, 3]
    torch.testing.assert_close(chunked, whole, rtol=0, atol=1e-12)
    # A smaller cache makes chunks too, but they are run once.
    sizes.clear()
    monkeypatch.setattr("hqdm.simulators.statevector.CPU_STATE_BYTES", 2 * state_bytes)
    cached = value_and_gradients(StatevectorSimulator(), circuit, *sample(circuit, 2, 7))
    assert sizes == [2, 2, 2, 1]
    torch.testing.assert_close(cached, whole, rtol=0, atol=1e-12)


def test_gates_are_fused_into_few_blocks():
    circuit = Circuit(AngleEmbedding(12), HQConv(12, 3))
    (part,) = plan(circuit, torch.device("cpu"), torch.float32).parts
    assert len(part.blocks) <= 12  # three rings and the links, times three layers, of 84 gates
    assert sum(len(block.gates) for block in part.blocks) == 84
    assert all(len(block.targets) <= 4 for block in part.blocks)


def test_parts_that_no_gate_connects_are_simulated_apart():
    circuit = Circuit(AngleEmbedding(12), FQConv(12, 3))
    parts = plan(circuit, torch.device("cpu"), torch.float32).parts
    assert [set(part.order) for part in parts] == [{k, k + 4, k + 8} for k in range(4)]
    assert [len(part.blocks) for part in parts] == [1, 1, 1, 1]
    # So that 40 qubits are no more than ten times four.
    wide = Circuit(AngleEmbedding(40), FQConv(40, 1), "probs", (39, 0, 35, 3))
    out = StatevectorSimulator()(wide, torch.randn(1, 2, 40), torch.randn(1, 1, 80))
    torch.testing.assert_close(out.sum(-1), torch.ones(1, 2))


def test_precision_follows_the_inputs():
    circuit = CIRCUITS[0]
    for dtype in (torch.float32, torch.float64):
        inputs, weights = sample(circuit, dtype=dtype)
        out, *gradients = value_and_gradients(StatevectorSimulator(), circuit, inputs, weights)
        assert {t.dtype for t in (out, *gradients)} == {dtype}


def test_an_empty_batch_has_no_outputs_and_zero_gradients():
    inputs, weights = sample(CIRCUITS[0], n_samples=0)
    out, *gradients = value_and_gradients(StatevectorSimulator(), CIRCUITS[0], inputs, weights)
    assert out.shape == (2, 0, 8)
    assert not gradients[1].any()


def test_first_use_in_inference_mode_does_not_prevent_training():
    circuit = Circuit(AngleEmbedding(4), Basic(4, 3), wires=(3, 1))  # used in no other test
    inputs, weights = sample(circuit)
    with torch.inference_mode():
        StatevectorSimulator()(circuit, inputs, weights)
    assert_agrees_with_pennylane(circuit, inputs, weights, atol=1e-12)


def test_too_many_qubits_are_refused_before_anything_is_allocated():
    circuit = Circuit(AngleEmbedding(30), Basic(30, 1))
    # 2^30 amplitudes of eight bytes.
    with pytest.raises(HQDMError, match="2 x 30 qubits would take 17,179,869,184 bytes"):
        StatevectorSimulator()(circuit, torch.zeros(2, 1, 30), torch.zeros(2, 1, 30))
    # The parts are small here, but not the probabilities of all outcomes together.
    circuit = Circuit(AngleEmbedding(40), FQConv(40), "probs")
    with pytest.raises(HQDMError, match="1 x 40 qubits would take 8,796,093,022,208 bytes"):
        StatevectorSimulator()(circuit, torch.zeros(1, 1, 40), torch.zeros(1, 1, 80))


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
    for simulator in (StatevectorSimulator(), PennyLaneSimulator("default.qubit")):
        with pytest.raises(HQDMError, match=message):
            simulator(CIRCUITS[0], torch.zeros(inputs), torch.zeros(weights))


def test_wrong_dtypes_are_refused():
    inputs, weights = sample(CIRCUITS[0])
    with pytest.raises(HQDMError, match=r"got torch\.float32 and torch\.float64"):
        StatevectorSimulator()(CIRCUITS[0], inputs.float(), weights)
    with pytest.raises(HQDMError, match=r"got torch\.float16 and torch\.float16"):
        StatevectorSimulator()(CIRCUITS[0], inputs.half(), weights.half())


def test_the_simulator_pickles():
    simulator = StatevectorSimulator(memory_limit=123)
    assert pickle.loads(pickle.dumps(simulator)) == simulator


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("circuit", CIRCUITS, ids=str)
def test_cuda_agrees_with_the_cpu(circuit):
    on_cpu = value_and_gradients(StatevectorSimulator(), circuit, *sample(circuit))
    on_gpu = value_and_gradients(StatevectorSimulator(), circuit, *sample(circuit, device="cuda"))
    for cpu, gpu in zip(on_cpu, on_gpu, strict=True):
        assert gpu.is_cuda
        torch.testing.assert_close(gpu.cpu(), cpu, rtol=0, atol=1e-11)
