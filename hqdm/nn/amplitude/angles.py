r"""Circuits with bounded angles, phi = pi tanh(w) (Koelle et al., arXiv 2401.07049).

The derivative of an angle with respect to w is pi (1 - tanh(w)^2), which vanishes for large |w|.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hqdm.circuits import Circuit
from hqdm.nn.quantum_layer import QuantumLayer
from hqdm.simulators import Simulator

STD = 0.4
"""Standard deviation of the initial w of the dense circuits."""


def normal(w: Tensor) -> Tensor:
    """Draw the initial w of the dense circuits from N(0, 0.4^2), in place."""
    return nn.init.normal_(w, std=STD)


def uniform(w: Tensor) -> Tensor:
    """Draw the initial w of the convolutions from U(-pi/2, pi/2), in place."""
    return nn.init.uniform_(w, -math.pi / 2, math.pi / 2)


class TanhLayer(QuantumLayer):
    """A `QuantumLayer` whose angles are `pi * tanh(theta)`.

    Args:
        circuit: The common circuit.
        n_circuits: Number of circuits.
        simulator: A simulator or its name, see `hqdm.simulators.resolve_simulator`.
        init: Draws the initial `theta` in place.

    Attributes:
        theta: The parameters w, `(n_circuits, *circuit.weights_shape)`.

    Raises:
        HQDMError: As `QuantumLayer`.
    """

    def __init__(
        self,
        circuit: Circuit,
        n_circuits: int = 1,
        simulator: str | Simulator = "auto",
        init: Callable[[Tensor], Tensor] = normal,
    ) -> None:
        self.init = init
        super().__init__(circuit, n_circuits, simulator)

    def reset_parameters(self) -> None:
        """Reinitialise w."""
        for parameter in self.quantum_parameters():
            self.init(parameter)

    def angles(self, theta: Tensor) -> Tensor:
        """See `QuantumLayer.angles`."""
        return math.pi * torch.tanh(theta)
