"""A layer of independent quantum circuits with trainable angles 2 pi theta."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from hqdm.circuits import Circuit
from hqdm.simulators import Simulator, resolve_simulator
from hqdm.utils.errors import HQDMError


class QuantumLayer(nn.Module):
    """Several circuits of one kind, each with its own weights and its own inputs.

    The angles are `2 * pi * theta`, with `theta` drawn uniformly from [0, 1) (De Falco et al.,
    arXiv 2402.16147). The circuits run in the dtype of `theta`, also under autocast.

    Args:
        circuit: What every circuit computes.
        n_circuits: Number of circuits.
        simulator: A simulator or its name, see `hqdm.simulators.resolve_simulator`.

    Attributes:
        theta: The angles in turns, `(n_circuits, *circuit.weights_shape)`.

    Raises:
        HQDMError: If there are no circuits or the simulator is unknown.
    """

    def __init__(
        self, circuit: Circuit, n_circuits: int = 1, simulator: str | Simulator = "auto"
    ) -> None:
        super().__init__()
        if n_circuits < 1:
            raise HQDMError(f"QuantumLayer needs at least one circuit, got n_circuits={n_circuits}")
        self.circuit = circuit
        self.n_circuits = n_circuits
        self.simulator = resolve_simulator(simulator)
        self.theta = nn.Parameter(torch.empty(n_circuits, *circuit.weights_shape))
        self.reset_parameters()

    def quantum_parameters(self) -> Iterator[nn.Parameter]:
        """The angles, or the parameters that they are computed from (`torch.nn.utils.parametrize`).

        See `hqdm.nn.parts.QuantumModule`.
        """
        return self.parameters()

    def reset_parameters(self) -> None:
        """Draw the angles anew."""
        for parameter in self.quantum_parameters():
            nn.init.uniform_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate the circuits.

        Args:
            x: Features, `(..., n_circuits, n_inputs)`.

        Returns:
            `(..., n_circuits, n_outputs)`, in the dtype of `theta`.

        Raises:
            HQDMError: If the last two axes have other sizes.
        """
        expected = (self.n_circuits, self.circuit.n_inputs)
        if tuple(x.shape[-2:]) != expected:
            raise HQDMError(
                f"QuantumLayer needs inputs of shape (..., {expected[0]}, {expected[1]}), "
                f"got {tuple(x.shape)}"
            )
        inputs = x.to(self.theta.dtype).reshape(-1, *expected).transpose(0, 1)
        with torch.autocast(x.device.type, enabled=False):
            outputs = self.simulator(self.circuit, inputs, 2 * math.pi * self.theta)
        return outputs.transpose(0, 1).reshape(*x.shape[:-1], self.circuit.n_outputs)

    def extra_repr(self) -> str:
        """The sizes, for `print`."""
        return (
            f"{self.n_circuits} x {self.circuit.n_wires} qubits, "
            f"weights_shape={self.circuit.weights_shape}, simulator={self.simulator.name}"
        )
