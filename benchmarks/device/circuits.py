"""Circuits of the comparisons, with inputs and cotangents, and the errors of results."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hqdm.circuits import (
    AmplitudeEmbedding,
    AngleEmbedding,
    Circuit,
    FQConv,
    HQConv,
    StronglyEntangling,
)
from hqdm.simulators import Simulator
from hqdm.simulators.program.tracing import trace

ROUNDINGS_PER_GATE = 8  # additions and multiplications of an amplitude in a complex 4x4 product

LARGE = {
    "FQConv, 12 qubits": Circuit(AngleEmbedding(12), FQConv(12, 3)),
    "HQConv, 8 qubits": Circuit(AngleEmbedding(8), HQConv(8, 2)),
    "strongly entangling, 7 qubits, probs": Circuit(
        AngleEmbedding(7), StronglyEntangling(7, 6), "probs"
    ),
    "amplitudes, 6 qubits, probs": Circuit(
        AmplitudeEmbedding(6, 50), StronglyEntangling(6, 4), "probs", (5, 0, 3), 5
    ),
    "amplitudes, 6 qubits": Circuit(AmplitudeEmbedding(6), StronglyEntangling(6, 4), wires=(4, 1)),
}
SMALL = {
    "FQConv, 8 qubits": Circuit(AngleEmbedding(8), FQConv(8, 1)),
    "amplitudes, 3 qubits, probs": Circuit(
        AmplitudeEmbedding(3, 5), StronglyEntangling(3, 1), "probs", (2, 0), 3
    ),
}


@dataclass(frozen=True)
class Task:
    """A circuit with its arguments, on the CPU in float64.

    Attributes:
        circuit: The circuit.
        inputs: `(n_circuits, B, n_inputs)`.
        weights: `(n_circuits, *weights_shape)`.
    """

    circuit: Circuit
    inputs: Tensor
    weights: Tensor

    @classmethod
    def make(cls, circuit: Circuit, n_circuits: int, n_samples: int, seed: int) -> "Task":
        """Random arguments, which float32 represents exactly."""
        draws = torch.Generator().manual_seed(seed)
        inputs = torch.randn(n_circuits, n_samples, circuit.n_inputs, generator=draws)
        weights = 6.3 * torch.rand(n_circuits, *circuit.weights_shape, generator=draws)
        return cls(circuit, inputs.double(), weights.double())

    def results(
        self, simulator: Simulator, dtype: torch.dtype, device: torch.device
    ) -> tuple[Tensor, ...]:
        """Outputs, and the gradients of a weighted sum of them, on the device."""
        inputs, weights = (
            x.to(device, dtype).requires_grad_() for x in (self.inputs, self.weights)
        )
        out = simulator(self.circuit, inputs, weights)
        cotangents = torch.arange(out.numel(), dtype=torch.float64).cos().reshape(out.shape)
        loss = (out * cotangents.to(out)).sum()
        return out.detach(), *torch.autograd.grad(loss, (inputs, weights))

    def tolerance(self, dtype: torch.dtype) -> float:
        """A bound on rounding errors relative to the largest number of a result.

        An output follows from one product per gate, forward and again backward; a gradient of the
        weights is a sum over the samples.
        """
        roundings = ROUNDINGS_PER_GATE * 2 * len(trace(self.circuit).gates) + self.inputs.shape[1]
        return torch.finfo(dtype).eps * roundings


def error(ours: tuple[Tensor, ...], reference: tuple[Tensor, ...]) -> float:
    """The largest difference, relative to the largest number of each tensor (at least 1)."""
    errors = []
    for one, other in zip(ours, reference, strict=True):
        expected = other.double().cpu()
        scale = max(1.0, float(expected.abs().max()))
        errors.append(float((one.double().cpu() - expected).abs().max()) / scale)
    return float(torch.tensor(errors).max())  # NaN if one of them is
