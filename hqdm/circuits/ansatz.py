"""Ansaetze: the trainable parts of circuits, each with its weight shape and gates.

FQConv and HQConv are the quantum convolutions of De Falco et al. (arXiv 2402.16147, KI 2024), on
groups of four qubits, the 2x2 patch of one channel. All angles are in radians.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from torch import Tensor

from hqdm.circuits.lazy import qml
from hqdm.utils.errors import HQDMError, check_names
from hqdm.utils.registry import Registry

GROUP = 4  # qubits in the 2x2 patch of one channel
SIZES = ("n_wires", "n_layers")


@dataclass(frozen=True)
class Ansatz(ABC):
    """A stack of layers of parametrised gates.

    To define an ansatz, write a frozen dataclass with `weights_shape` and `queue`;
    `register_ansatz` makes it available to configurations by its class name.

    Attributes:
        n_wires: Number of qubits.
        n_layers: Number of layers.

    Raises:
        HQDMError: If either is not positive, or the ansatz does not support `n_wires` qubits.
    """

    n_wires: int
    n_layers: int = 1

    def __post_init__(self) -> None:
        if self.n_wires < 1 or self.n_layers < 1:
            raise HQDMError(
                f"{self.name} needs at least one wire and one layer, "
                f"got n_wires={self.n_wires}, n_layers={self.n_layers}"
            )

    @property
    def name(self) -> str:
        """Name of the ansatz in the registry."""
        return type(self).__name__

    @property
    @abstractmethod
    def weights_shape(self) -> tuple[int, ...]:
        """Shape of the weights; the first axis is `n_layers`."""

    @abstractmethod
    def queue(self, weights: Tensor) -> None:
        """Queue the PennyLane gates for weights of the right shape."""

    def apply(self, weights: Tensor) -> None:
        """Check the weights and queue the gates.

        Args:
            weights: Angles in radians, of shape `weights_shape`.

        Raises:
            HQDMError: If the shape is not `weights_shape`.
        """
        shape = tuple(weights.shape)
        if shape != self.weights_shape:
            raise HQDMError(f"{self.name} needs weights of shape {self.weights_shape}, got {shape}")
        self.queue(weights)


ANSATZE: Registry[type[Ansatz]] = Registry("ansatz")
"""Ansaetze by class name."""

AnsatzType = TypeVar("AnsatzType", bound=type[Ansatz])


def register_ansatz(cls: AnsatzType) -> AnsatzType:
    """Class decorator: make an ansatz available by its class name."""
    ANSATZE.register(cls.__name__, cls)
    return cls


def build_ansatz(name: str, n_wires: int, n_layers: int, **options: Any) -> Ansatz:
    """Build a registered ansatz.

    Args:
        name: A key of `ANSATZE`.
        n_wires: Number of qubits.
        n_layers: Number of layers.
        **options: Further fields of the ansatz.

    Raises:
        HQDMError: If the name is not registered, the ansatz has no such option, or it does not
            support the sizes.
    """
    cls = ANSATZE[name]
    known = [field.name for field in fields(cls) if field.name not in SIZES]
    check_names(f"option of the ansatz {name}", options, known)
    return cls(n_wires, n_layers, **options)


def ansatz_options(ansatz: Ansatz) -> dict[str, Any]:
    """The fields of an ansatz other than its sizes, as options of `build_ansatz`."""
    return {f.name: getattr(ansatz, f.name) for f in fields(ansatz) if f.name not in SIZES}


def _queue_controlled_rotations(angles: Tensor, pairs: list[tuple[int, int]]) -> None:
    """CRZ on every (control, target) pair, then CRX on the same pairs, one angle per gate."""
    for i, pair in enumerate(pairs):
        qml.CRZ(angles[i], wires=pair)
    for i, pair in enumerate(pairs, start=len(pairs)):
        qml.CRX(angles[i], wires=pair)


def _queue_interleaved_rotations(angles: Tensor, pairs: list[tuple[int, int]]) -> None:
    """CRZ and CRX on one (control, target) pair after the other, one angle per gate."""
    for pair, (z, x) in zip(pairs, angles.reshape(-1, 2), strict=True):
        qml.CRZ(z, wires=pair)
        qml.CRX(x, wires=pair)


@register_ansatz
@dataclass(frozen=True)
class FQConv(Ansatz):
    """Every group of four qubits controlled by the next four, cyclically, last group first.

    Qubit k of the controlling group acts on qubit k of the target group, k = 3, 2, 1, 0: four CRZ,
    then four CRX on the same pairs. `2 * n_wires` angles per layer. Qubit k of a group interacts
    only with qubit k of other groups: the circuit is a product of four independent circuits, one
    per position in the patch.

    Raises:
        HQDMError: If `n_wires` is not a multiple of four, or below eight.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_wires % GROUP or self.n_wires < 2 * GROUP:
            raise HQDMError(
                f"FQConv needs two or more groups of {GROUP} wires, got n_wires={self.n_wires}: "
                "use HQConv or Basic for a single group"
            )

    @property
    def weights_shape(self) -> tuple[int, ...]:
        """`(n_layers, 2 * n_wires)`."""
        return (self.n_layers, 2 * self.n_wires)

    def queue(self, weights: Tensor) -> None:
        """Queue the layers, group by group."""
        starts = range(self.n_wires - GROUP, -1, -GROUP)
        for layer in weights:
            for start, angles in zip(starts, layer.reshape(-1, 2 * GROUP), strict=True):
                _queue_controlled_rotations(
                    angles,
                    [
                        ((start + GROUP + k) % self.n_wires, start + k)
                        for k in reversed(range(GROUP))
                    ],
                )


@register_ansatz
@dataclass(frozen=True)
class HQConv(Ansatz):
    """A ring inside every group of four qubits, then a link between neighbouring groups.

    Ring, last group first: qubit k + 1 (modulo four) of the group controls qubit k, k = 3, 2, 1, 0,
    by a CRZ and, next, a CRX. Link, last pair first: the first qubit of a group controls the first
    qubit of the next: one CRZ, one CRX. Eight angles per group and two per link.

    Attributes:
        interleaved: Whether the two gates of a pair follow each other, as published. Otherwise the
            four CRZ of a ring precede its four CRX: another circuit, since the gates of
            neighbouring pairs do not commute. It is the order of models saved in formats 1 and 2.

    Raises:
        HQDMError: If `n_wires` is not a multiple of four, or `interleaved` is not true or false.
    """

    interleaved: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.interleaved, bool):
            raise HQDMError(f"HQConv: interleaved must be true or false, got {self.interleaved!r}")
        if self.n_wires % GROUP:
            raise HQDMError(
                f"HQConv needs groups of {GROUP} wires, got n_wires={self.n_wires}: "
                "use Basic for another number of wires"
            )

    @property
    def weights_shape(self) -> tuple[int, ...]:
        """`(n_layers, 10 * n_wires / 4 - 2)`."""
        n_groups = self.n_wires // GROUP
        return (self.n_layers, 2 * GROUP * n_groups + 2 * (n_groups - 1))

    def queue(self, weights: Tensor) -> None:
        """Queue the layers: rings, then links."""
        starts = range(self.n_wires - GROUP, -1, -GROUP)
        n_ring_angles = 2 * self.n_wires
        rotate = _queue_interleaved_rotations if self.interleaved else _queue_controlled_rotations
        for layer in weights:
            rings = layer[:n_ring_angles].reshape(-1, 2 * GROUP)
            for start, angles in zip(starts, rings, strict=True):
                rotate(
                    angles,
                    [(start + (k + 1) % GROUP, start + k) for k in reversed(range(GROUP))],
                )
            links = layer[n_ring_angles:].reshape(-1, 2)
            for start, angles in zip(starts[1:], links, strict=True):
                rotate(angles, [(start, start + GROUP)])


@register_ansatz
@dataclass(frozen=True)
class Basic(Ansatz):
    """RX on every qubit, then a ring of CNOTs, each qubit controlling the next."""

    @property
    def weights_shape(self) -> tuple[int, ...]:
        """`(n_layers, n_wires)`."""
        return (self.n_layers, self.n_wires)

    def queue(self, weights: Tensor) -> None:
        """Queue the layers."""
        for layer in weights:
            for wire in range(self.n_wires):
                qml.RX(layer[wire], wires=wire)
            if self.n_wires > 1:
                for wire in range(self.n_wires):
                    qml.CNOT(wires=(wire, (wire + 1) % self.n_wires))


@register_ansatz
@dataclass(frozen=True)
class StronglyEntangling(Ansatz):
    """PennyLane's `StronglyEntanglingLayers`: a general rotation on every qubit, then CNOTs.

    The last angle of each rotation in the last layer is a rotation about Z followed only by CNOTs.
    Measurements in the computational basis do not depend on it, so its gradient is zero.
    """

    @property
    def weights_shape(self) -> tuple[int, ...]:
        """`(n_layers, n_wires, 3)`."""
        return qml.StronglyEntanglingLayers.shape(self.n_layers, self.n_wires)

    def queue(self, weights: Tensor) -> None:
        """Queue the template."""
        qml.StronglyEntanglingLayers(weights, wires=range(self.n_wires))


@register_ansatz
@dataclass(frozen=True)
class BasicEntangler(Ansatz):
    """PennyLane's `BasicEntanglerLayers`: RX on every qubit, then a ring of CNOTs.

    It differs from `Basic` only on two qubits, where its ring is a single CNOT.
    """

    @property
    def weights_shape(self) -> tuple[int, ...]:
        """`(n_layers, n_wires)`."""
        return qml.BasicEntanglerLayers.shape(self.n_layers, self.n_wires)

    def queue(self, weights: Tensor) -> None:
        """Queue the template."""
        qml.BasicEntanglerLayers(weights, wires=range(self.n_wires))


@dataclass(frozen=True)
class Separable(Ansatz):
    """An ansatz without entanglement, with the same weights: a control of `hqdm.nn.controls`.

    Templates are decomposed. Of the gates on several wires, those without angles are left out, and
    a rotation loses its control: CRX is RX on the target. The circuit is a product of circuits of
    one qubit.

    Attributes:
        ansatz: The ansatz, which takes the numbers of wires and layers of this one.
    """

    ansatz: Ansatz = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        sized = replace(self.ansatz, n_wires=self.n_wires, n_layers=self.n_layers)
        object.__setattr__(self, "ansatz", sized)

    @property
    def weights_shape(self) -> tuple[int, ...]:
        """That of the ansatz."""
        return self.ansatz.weights_shape

    def queue(self, weights: Tensor) -> None:
        """Queue the gates on one wire.

        Raises:
            HQDMError: If a gate on several wires has angles, no control and no decomposition.
        """
        with qml.queuing.AnnotatedQueue() as queue:
            self.ansatz.queue(weights)
        for operation in qml.tape.QuantumScript.from_queue(queue).operations:
            _queue_separably(operation)


def _queue_separably(operation: Any) -> None:
    """Queue what is left of an operation without entanglement, see `Separable`."""
    if len(operation.wires) == 1:
        qml.apply(operation)
    elif isinstance(operation, qml.ops.Controlled):
        if operation.num_params:
            _queue_separably(operation.base)
    elif operation.has_decomposition:
        with qml.QueuingManager.stop_recording():
            parts = operation.decomposition()
        for part in parts:
            _queue_separably(part)
    elif operation.num_params:
        raise HQDMError(
            f"{operation.name} on the wires {list(operation.wires)} has no decomposition into "
            "rotations and gates without angles: give the ansatz one without it"
        )
