"""A circuit: embedding, ansatz and measurement as one PennyLane quantum function.

f(x, w)_i = <0| V(x)^dag U(w)^dag  M_i  U(w) V(x) |0>,   M_i = Z on a wire, or a basis projector;

or the state U(w) V(x) |0> itself. With data re-uploading the embedding is repeated between parts of
the ansatz, U(w_r) V(x) ... U(w_1) V(x).
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hqdm.circuits.ansatz import Ansatz
from hqdm.circuits.embeddings import AmplitudeEmbedding, Embedding
from hqdm.circuits.identity import state_of
from hqdm.circuits.lazy import qml
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError, unknown

MEASUREMENTS = ("expval_z", "probs", "state")
BASES = ("X", "Y", "Z")
MAX_ANGLES = 200_000  # of one circuit; tracing takes about 0.3 ms and 5 kB per gate


@dataclass(frozen=True)
class QuantumFunction:
    """A user-defined PennyLane quantum function, embedding and ansatz in one, with its sizes.

    Attributes:
        fn: `fn(x, weights)`, see `Circuit.from_qfunc`.
        n_wires: Number of qubits.
        n_inputs: Number of features of one sample.
        weights_shape: Shape of the weights.
        prepares: Whether the last `2**n_wires` inputs are the real amplitudes of the initial state,
            which the function does not prepare itself.
    """

    fn: Callable[[Tensor, Tensor], Any]
    n_wires: int
    n_inputs: int
    weights_shape: tuple[int, ...]
    prepares: bool = False

    def amplitudes(self, x: Tensor) -> Tensor:
        """The amplitudes of the initial state, `(..., n_inputs)` to `(..., 2**n_wires)`."""
        return x[..., -(2**self.n_wires) :]


@dataclass(frozen=True, eq=False)
class Circuit:
    """Embedding, ansatz and measurement.

    Circuits are equal if all that their parts consist of is, see `hqdm.circuits.identity`.

    Attributes:
        embedding: The gates that encode a sample.
        ansatz: The trainable gates.
        measure: "expval_z" for the expectation of Pauli Z on each measured wire, "probs" for the
            probabilities of their joint outcomes (first wire most significant), "state" for the
            amplitudes of the state of all wires, real and imaginary part of each in turn.
        wires: The measured wires, in the order of the outputs; None measures all.
        n_outcomes: With "probs", the number of outcomes kept, from 0...0 on; None keeps all.
        repeats: How often the features are embedded: before each of this number of parts of
            the layers, split as by `numpy.array_split` (Perez-Salinas et al., arXiv 1907.02085).
        basis: The Pauli matrix, "X", "Y" or "Z", of which "expval_z" is the expectation: a gate on
            each measured wire maps it to Z.

    Raises:
        HQDMError: If the parts have different numbers of wires, the weights are more than
            `MAX_ANGLES`, the measurement is unknown or refers to wires or outcomes that do not
            exist, or the features cannot be embedded that often.
    """

    embedding: Embedding | QuantumFunction
    ansatz: Ansatz | QuantumFunction
    measure: str = "expval_z"
    wires: tuple[int, ...] | None = None
    n_outcomes: int | None = None
    repeats: int = 1
    basis: str = "Z"

    def __post_init__(self) -> None:
        if self.measure not in MEASUREMENTS:
            raise unknown("measurement", self.measure, MEASUREMENTS)
        if self.basis not in BASES:
            raise unknown("basis", self.basis, BASES)
        if self.basis != "Z" and self.measure != "expval_z":
            raise HQDMError(f"basis={self.basis!r} is of measure='expval_z', got {self.measure!r}")
        if self.embedding.n_wires != self.ansatz.n_wires:
            raise HQDMError(
                f"the embedding has {self.embedding.n_wires} wires and the ansatz "
                f"{self.ansatz.n_wires}: give both the same n_wires"
            )
        if self.embedding is not self.ansatz and isinstance(self.ansatz, QuantumFunction):
            raise HQDMError(
                "a quantum function replaces embedding and ansatz: use Circuit.from_qfunc"
            )
        n_angles = math.prod(self.weights_shape)
        if n_angles > MAX_ANGLES:
            raise HQDMError(
                f"a circuit of {n_angles:,} angles is too large, the limit is {MAX_ANGLES:,}: use "
                "fewer layers"
            )
        if self.wires is not None:
            object.__setattr__(self, "wires", tuple(self.wires))
        measured = self.measured_wires
        if len(set(measured)) < max(len(measured), 1) or not set(measured) <= set(
            range(self.n_wires)
        ):
            raise HQDMError(
                f"measured wires must be different and within 0..{self.n_wires - 1}, got {measured}"
            )
        if self.measure == "state" and self.wires is not None:
            raise HQDMError(
                f"measure='state' is of all wires, got wires={self.wires}: leave it out"
            )
        if self.n_outcomes is not None:
            self._check_outcomes(self.n_outcomes)
        self._check_repeats()

    @property
    def identity(self) -> Hashable:
        """A key: circuits of equal identity have the same gates and the same measurement."""
        embedding = None if self.embedding is self.ansatz else state_of(self.embedding)
        parts = embedding, state_of(self.ansatz)
        measured = self.measure, self.wires, self.n_outcomes, self.basis
        return type(self), parts, *measured, self.repeats

    def __eq__(self, other: object) -> bool:
        """True for a circuit of the same identity."""
        return isinstance(other, Circuit) and self.identity == other.identity

    def __hash__(self) -> int:
        """The hash of the identity."""
        return hash(self.identity)

    def _check_outcomes(self, n_outcomes: int) -> None:
        n_possible = 2 ** len(self.measured_wires)
        if self.measure != "probs" or not 1 <= n_outcomes <= n_possible:
            raise HQDMError(
                f"n_outcomes needs measure='probs' and 1 to {n_possible} outcomes, "
                f"got n_outcomes={n_outcomes} with measure={self.measure!r}"
            )

    def _check_repeats(self) -> None:
        if whole("repeats", self.repeats, 1) == 1:
            return
        if isinstance(self.embedding, QuantumFunction | AmplitudeEmbedding):
            raise HQDMError(
                f"repeats={self.repeats} needs an embedding by gates, got "
                f"{type(self.embedding).__name__}: use an AngleEmbedding"
            )
        if self.repeats > self.weights_shape[0]:
            raise HQDMError(
                f"repeats={self.repeats} needs as many layers or more, got {self.weights_shape[0]}"
            )

    @classmethod
    def from_qfunc(
        cls,
        fn: Callable[[Tensor, Tensor], Any],
        *,
        n_wires: int,
        n_inputs: int,
        weights_shape: Sequence[int],
        measure: str = "expval_z",
        wires: Sequence[int] | None = None,
        prepares: bool = False,
    ) -> "Circuit":
        """A circuit from a user-defined PennyLane quantum function.

        Args:
            fn: `fn(x, weights)` queues gates on wires `0..n_wires-1` for one sample `x` of shape
                `(n_inputs,)`, as in `qml.RX(x[0], wires=0)`; its return value is ignored. Angles
                may depend on the values of `x` and `weights`, the choice of gates may not. It is
                traced once, so other variables that it reads must not change. The circuit can be
                pickled if the function can be imported by name.
            n_wires: Number of qubits.
            n_inputs: Number of features of one sample.
            weights_shape: Shape of the weights.
            measure: As in `Circuit`.
            wires: As in `Circuit`.
            prepares: As in `QuantumFunction`.

        Raises:
            HQDMError: If a size is not positive.
        """
        if min(n_wires, n_inputs) < 1:
            raise HQDMError(
                "a circuit needs at least one wire and one input, "
                f"got n_wires={n_wires}, n_inputs={n_inputs}"
            )
        body = QuantumFunction(fn, n_wires, n_inputs, tuple(weights_shape), prepares)
        return cls(body, body, measure, None if wires is None else tuple(wires))

    @property
    def n_wires(self) -> int:
        """Number of qubits."""
        return self.ansatz.n_wires

    @property
    def n_inputs(self) -> int:
        """Number of features of one sample."""
        return self.embedding.n_inputs

    @property
    def weights_shape(self) -> tuple[int, ...]:
        """Shape of the weights of one circuit."""
        return self.ansatz.weights_shape

    @property
    def measured_wires(self) -> tuple[int, ...]:
        """The measured wires, in the order of the outputs."""
        return tuple(range(self.n_wires)) if self.wires is None else self.wires

    @property
    def n_outputs(self) -> int:
        """Number of outputs of one sample."""
        n_measured = len(self.measured_wires)
        if self.measure == "expval_z":
            return n_measured
        if self.measure == "state":
            return 2 * 2**self.n_wires
        return self.n_outcomes or 2**n_measured

    @property
    def n_measured_midway(self) -> int:
        """Number of measurements before the end, each of which PennyLane defers to a spare wire."""
        with qml.queuing.AnnotatedQueue() as queue:
            self.queue(*self._example())
        operations = qml.tape.QuantumScript.from_queue(queue).operations
        return sum("MidMeasure" in type(operation).__name__ for operation in operations)

    def queue(self, x: Tensor, weights: Tensor) -> None:
        """Queue the gates, without the measurement."""
        if isinstance(self.ansatz, QuantumFunction):
            if self.ansatz.prepares:
                amplitudes = self.ansatz.amplitudes(x)
                qml.StatePrep(amplitudes, wires=range(self.n_wires), validate_norm=False)
            self.ansatz.fn(x, weights)
        else:
            assert not isinstance(self.embedding, QuantumFunction)
            for ansatz, part in self._parts(self.ansatz, weights):
                self.embedding.apply(x)
                ansatz.apply(part)
        if self.basis != "Z":
            from hqdm.circuits.readout import BASIS_CHANGE  # imports PennyLane, see `lazy`

            for wire in self.measured_wires:
                BASIS_CHANGE[self.basis](wire)

    def _parts(self, ansatz: Ansatz, weights: Tensor) -> list[tuple[Ansatz, Tensor]]:
        """The parts of the ansatz before which the features are embedded, and their weights."""
        if self.repeats == 1:
            return [(ansatz, weights)]
        parts = weights.tensor_split(self.repeats)
        return [(replace(ansatz, n_layers=len(part)), part) for part in parts]

    def qfunc(self, x: Tensor, weights: Tensor) -> Any:
        """The circuit as a PennyLane quantum function, which every simulator executes.

        Args:
            x: Features of one sample, `(n_inputs,)`.
            weights: Angles in radians, of shape `weights_shape`.

        Returns:
            PennyLane measurements: a list of `qml.expval`, or one `qml.probs` over all outcomes, of
            which simulators keep the first `n_outputs`, or `qml.state`.
        """
        self.queue(x, weights)
        if self.measure == "state":
            return qml.state()
        if self.measure == "probs":
            return qml.probs(wires=self.measured_wires)
        return [qml.expval(qml.Z(wire)) for wire in self.measured_wires]

    def draw(self) -> str:
        """A text drawing of the gates, without the values of the angles."""
        return qml.draw(self._qnode(), decimals=None, level="device")(*self._example())

    def specs(self) -> dict[str, Any]:
        """Resources as PennyLane counts them.

        Returns:
            `n_wires`, `n_weights` (trainable angles), `n_gates`, `gates` (count by gate type) and
            `depth`.
        """
        resources = qml.specs(self._qnode(), level="device")(*self._example()).resources
        return {
            "n_wires": self.n_wires,
            "n_weights": torch.Size(self.weights_shape).numel(),
            "n_gates": resources.num_gates,
            "gates": dict(resources.gate_types),
            "depth": resources.depth,
        }

    def to_openqasm(self, x: Tensor, weights: Tensor, version: str = "2.0") -> str:
        """The circuit for one sample in OpenQASM, measuring every wire.

        Args:
            x: Features of one sample, `(n_inputs,)`.
            weights: Angles in radians, of shape `weights_shape`.
            version: "2.0" or "3.0".

        Raises:
            HQDMError: If the version is unknown, or an operation is neither gate nor reset.
        """
        from hqdm.circuits.openqasm import openqasm  # imports PennyLane, see `lazy`

        with qml.queuing.AnnotatedQueue() as queue:
            self.queue(x.detach().double(), weights.detach().double())
        operations = qml.tape.QuantumScript.from_queue(queue).operations
        return openqasm(operations, self.n_wires, version)

    def _qnode(self) -> "qml.QNode":
        return qml.QNode(self.qfunc, qml.device("default.qubit", wires=self.n_wires))

    def _example(self) -> tuple[Tensor, Tensor]:
        """Features and weights of the right shapes; ones are valid features for any embedding."""
        return torch.ones(self.n_inputs).double(), torch.ones(self.weights_shape).double()
