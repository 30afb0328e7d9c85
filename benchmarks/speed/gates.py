"""A circuit as a plain list of gates, from which every library builds its own circuit.

Each angle is one entry of the inputs or of the weights. Which one is determined by queueing
the circuit once with the numbers 1, 2, 3, ... as angles, so that no circuit is written twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # not installed for the other libraries
    from hqdm.circuits import Circuit

GATE_SET = {"RX", "RY", "RZ", "Rot", "CRX", "CRZ", "CNOT"}


class Angle(NamedTuple):
    """The source of an angle.

    Attributes:
        of_inputs: Whether it is a feature; otherwise it is a weight.
        place: Index among the features or the flattened weights.
    """

    of_inputs: bool
    place: int


class Gate(NamedTuple):
    """A gate.

    Attributes:
        name: PennyLane's name, one of `GATE_SET`.
        wires: Controls first; qubit 0 is the most significant.
        angles: Its angles in PennyLane's order.
    """

    name: str
    wires: tuple[int, ...]
    angles: tuple[Angle, ...]

    def shifted(self, n: int) -> Gate:
        """The same gate with the indices of its weights increased by `n`."""
        return self._replace(
            angles=tuple(
                angle if angle.of_inputs else angle._replace(place=angle.place + n)
                for angle in self.angles
            )
        )


@dataclass(frozen=True)
class GateList:
    """A circuit without objects of any library.

    Attributes:
        n_wires: Number of qubits.
        amplitudes: Whether the normalised features are the amplitudes of the initial state.
        gates: The gates, in order.
        measure: "expval_z" (of every qubit) or "probs" (of all).
    """

    n_wires: int
    amplitudes: bool
    gates: tuple[Gate, ...]
    measure: str

    def repeated_block(self) -> tuple[tuple[Gate, ...], int]:
        """The shortest block of gates of which the circuit is a repetition.

        Each repetition has the next weights; the last one may be incomplete.

        Returns:
            The block, and its number of weights.
        """
        for size in range(1, len(self.gates) // 2 + 1):
            block = self.gates[:size]
            n_weights = sum(not angle.of_inputs for gate in block for angle in gate.angles)
            if all(
                gate.shifted(n_weights) == later
                for gate, later in zip(self.gates, self.gates[size:], strict=False)
            ):
                return block, n_weights
        return self.gates, 0


def gate_list(circuit: Circuit) -> GateList:
    """List the gates of a circuit that measures all qubits.

    Args:
        circuit: Its angles must be single features or weights, unscaled.
    """
    import pennylane as qml
    import torch

    from hqdm.circuits import AmplitudeEmbedding

    n_weights = torch.Size(circuit.weights_shape).numel()
    tags = torch.arange(1, 1 + circuit.n_inputs + n_weights).double()
    features, weights = tags.split([circuit.n_inputs, n_weights])
    with qml.queuing.AnnotatedQueue() as queue:
        circuit.qfunc(features, weights.reshape(circuit.weights_shape))
    operations = qml.tape.QuantumScript.from_queue(queue).operations
    amplitudes = isinstance(circuit.embedding, AmplitudeEmbedding)
    if amplitudes:
        operations = operations[1:]  # the state preparation
    (tape,), _ = qml.transforms.decompose(qml.tape.QuantumScript(operations), gate_set=GATE_SET)

    def angle(tag: torch.Tensor) -> Angle:
        place = int(tag) - 1
        assert place + 1 == tag, "an angle is not a plain feature or weight"
        of_inputs = place < circuit.n_inputs
        return Angle(of_inputs, place if of_inputs else place - circuit.n_inputs)

    gates = tuple(
        Gate(operation.name, tuple(operation.wires), tuple(map(angle, operation.parameters)))
        for operation in tape.operations
    )
    return GateList(circuit.n_wires, amplitudes, gates, circuit.measure)
