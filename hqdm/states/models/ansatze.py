"""Ansaetze of the papers on diffusion over quantum states.

RotationZZ    RX, RY, RX on every qubit, then exp(-i theta ZZ / 2) on pairs
(Chen et al., QD3PM, by the first author of QGDM)
RotationCZ    RX, RY on every qubit, then CZ on the pairs (0, 1), (2, 3), ... and on
(1, 2), (3, 4), ...  (Zhang et al., PRL 132, 100602: QuDDPM; MSQuDDPM)
"""

from dataclasses import dataclass
from itertools import combinations

from torch import Tensor

from hqdm.circuits.ansatz import Ansatz, register_ansatz
from hqdm.circuits.lazy import qml
from hqdm.utils.errors import unknown

CONNECTIONS = ("all", "chain", "star")


@register_ansatz
@dataclass(frozen=True)
class RotationZZ(Ansatz):
    """RX, RY, RX on every qubit, then a rotation about ZZ on every pair.

    Measurements in the computational basis do not depend on the rotations about ZZ of the last
    layer, so their gradients are zero; in a backward model the state after them is kept.

    Attributes:
        connections: The pairs: "all", "chain" for neighbours, "star" for those of qubit 0.

    Raises:
        HQDMError: If the pairs are unknown.
    """

    connections: str = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.connections not in CONNECTIONS:
            raise unknown("connections of RotationZZ", self.connections, CONNECTIONS)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The pairs of qubits, in the order of their angles."""
        if self.connections == "all":
            return list(combinations(range(self.n_wires), 2))
        first = (lambda i: i) if self.connections == "chain" else (lambda i: 0)
        return [(first(i), i + 1) for i in range(self.n_wires - 1)]

    @property
    def weights_shape(self) -> tuple[int, ...]:
        """`(n_layers, 3 n_wires + number of pairs)`."""
        return (self.n_layers, 3 * self.n_wires + len(self.pairs))

    def queue(self, weights: Tensor) -> None:
        """Queue the layers."""
        for layer in weights:
            rotations = layer[: 3 * self.n_wires].reshape(self.n_wires, 3)
            for wire, (first, second, third) in enumerate(rotations):
                qml.RX(first, wires=wire)
                qml.RY(second, wires=wire)
                qml.RX(third, wires=wire)
            for pair, angle in zip(self.pairs, layer[3 * self.n_wires :], strict=True):
                qml.IsingZZ(angle, wires=pair)


@register_ansatz
@dataclass(frozen=True)
class RotationCZ(Ansatz):
    """RX and RY on every qubit, then CZ on neighbours, even pairs first."""

    @property
    def weights_shape(self) -> tuple[int, ...]:
        """`(n_layers, n_wires, 2)`."""
        return (self.n_layers, self.n_wires, 2)

    def queue(self, weights: Tensor) -> None:
        """Queue the layers."""
        for layer in weights:
            for wire, (x, y) in enumerate(layer):
                qml.RX(x, wires=wire)
                qml.RY(y, wires=wire)
            for start in (0, 1):
                for wire in range(start, self.n_wires - 1, 2):
                    qml.CZ(wires=(wire, wire + 1))
