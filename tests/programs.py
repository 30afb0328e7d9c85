"""Random programs over all gates, and comparisons with PennyLane, for the tests of simulators."""

from dataclasses import dataclass
from typing import Any

import pennylane as qml
import torch
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
from hqdm.simulators import PennyLaneSimulator

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
    ("DoubleExcitation", 4, 1),
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


def assert_close(ours, theirs, atol):
    """Values and gradients agree; sums over many terms may differ by more."""
    for a, b in zip(ours, theirs, strict=True):
        scale = max(1.0, float(b.abs().max()) if b.numel() else 0.0)
        torch.testing.assert_close(a, b, rtol=0, atol=scale * atol)


def assert_agrees_with_pennylane(simulator, circuit, inputs, weights, atol):
    ours = value_and_gradients(simulator, circuit, inputs, weights)
    theirs = value_and_gradients(PennyLaneSimulator("default.qubit"), circuit, inputs, weights)
    assert_close(ours, theirs, atol)


CIRCUITS = [
    Circuit(AngleEmbedding(8), FQConv(8, 2)),
    Circuit(AngleEmbedding(8, "Y"), HQConv(8, 1), "probs", (6, 1)),
    Circuit(AngleEmbedding(5, "Z"), StronglyEntangling(5, 2)),
    Circuit(AngleEmbedding(1), Basic(1, 2)),
    Circuit(AngleEmbedding(2), BasicEntangler(2, 3), "probs"),
    Circuit(AmplitudeEmbedding(4, 11), StronglyEntangling(4, 2), "probs"),
    Circuit(AmplitudeEmbedding(3), Basic(3, 1), wires=(2,)),
    Circuit(AmplitudeEmbedding(4), StronglyEntangling(4, 1), "probs", (3, 0, 2, 1), n_outcomes=5),
    Circuit(AmplitudeEmbedding(3), Basic(3, 2), "probs", (2, 0), n_outcomes=3),
]
AMPLITUDE_CIRCUITS = [c for c in CIRCUITS if isinstance(c.embedding, AmplitudeEmbedding)]
