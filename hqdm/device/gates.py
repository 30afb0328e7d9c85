"""Operations that the device runs as they are, and the structure of a sequence of them.

The structure of an operation is all but the values of its angles: equal structures, one program.
The numbers of an operation are of one of two kinds:

    angles      arguments of the program, as RX(t), and differentiable
    constants   a part of the structure, as the matrix of QubitUnitary
"""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pennylane as qml
from pennylane.exceptions import DeviceError
from pennylane.operation import Operator, StatePrepBase
from pennylane.ops.functions import bind_new_parameters
from pennylane.ops.op_math import Adjoint, Controlled, Exp, Pow
from torch import Tensor

from hqdm.circuits.identity import state_of
from hqdm.circuits.operations import NO_EFFECT
from hqdm.simulators.program.decomposition import exponential, has_tensors

DIRECT: tuple[type[Operator], ...] = (
    *(qml.RX, qml.RY, qml.RZ, qml.PhaseShift, qml.U1, qml.U2, qml.U3, qml.Rot, qml.GlobalPhase),
    *(qml.CRX, qml.CRY, qml.CRZ, qml.CRot, qml.ControlledPhaseShift),
    *(qml.IsingXX, qml.IsingYY, qml.IsingZZ, qml.IsingXY, qml.PSWAP, qml.MultiRZ),
    *(qml.SingleExcitation, qml.SingleExcitationPlus, qml.SingleExcitationMinus),
    *(qml.DoubleExcitation, qml.DoubleExcitationPlus, qml.DoubleExcitationMinus),
    qml.FermionicSWAP,
)
"""Gates whose matrix is a function of their angles, fixed by their type and number of wires."""

LAYERS: dict[type[Operator], int] = {
    qml.AngleEmbedding: 1,
    qml.BasicEntanglerLayers: 2,
    qml.StronglyEntanglingLayers: 3,
}
"""Layers of such gates, and the number of axes of their parameter."""

WITHOUT_ANGLES: tuple[type[Operator], ...] = (
    *(qml.Hadamard, qml.X, qml.Y, qml.Z, qml.S, qml.T, qml.SX, qml.SWAP, qml.ISWAP, qml.SISWAP),
    *(qml.ECR, qml.CNOT, qml.CY, qml.CZ, qml.CH, qml.CCZ, qml.CSWAP, qml.Toffoli),
)
"""Gates that are fixed by their type and the order of their wires."""

ANGLES = frozenset((*DIRECT, qml.PauliRot, *LAYERS))
FIXED = frozenset(DIRECT + WITHOUT_ANGLES)
CONSTANT = (
    *(qml.QubitUnitary, qml.ControlledQubitUnitary, qml.DiagonalQubitUnitary),
    qml.MultiControlledX,
)
ARRAYS = (qml.QubitUnitary, qml.ControlledQubitUnitary)
"""Gates whose matrix is a parameter; their gradient is not computed."""


def is_supported(operation: Operator) -> bool:
    """True if the device runs an operation without PennyLane's decomposition.

    Raises:
        DeviceError: If the operation has parameters whose gradient the device cannot compute.
    """
    kind = type(operation)
    if kind in LAYERS:  # PennyLane passes other shapes on to the gates, as batches
        if getattr(operation.data[0], "dtype", None) in (None, object):  # traced by autograd
            return False
        n_axes = qml.math.ndim(operation.data[0]) - (operation.batch_size is not None)
        return n_axes == LAYERS[kind]
    if kind in ANGLES or kind in FIXED or operation.name in NO_EFFECT:
        return True
    if isinstance(operation, (qml.Projector, qml.allocation.Allocate, qml.allocation.Deallocate)):
        return True
    trains = any(map(qml.math.requires_grad, operation.data))
    if trains and (isinstance(operation, StatePrepBase) or kind in ARRAYS):
        raise DeviceError(
            f"hqdm.qubit has no gradient with respect to the numbers of {operation.name}, except "
            "for a state that is prepared first: use default.qubit"
        )
    if isinstance(operation, (Adjoint, Controlled)) and kind not in CONSTANT:
        return is_supported(operation.base) and not isinstance(operation.base, qml.Projector)
    if isinstance(operation, StatePrepBase) or trains or operation.batch_size is not None:
        return False
    if kind in CONSTANT:
        return True
    if isinstance(operation, Pow) or operation.num_params:
        return operation.has_matrix and not operation.has_decomposition
    return operation.has_matrix


def decomposition(operation: Operator) -> list[Operator]:
    """PennyLane's decomposition, except for exponentials of angles, which it has not for torch."""
    if isinstance(operation, Exp) and has_tensors(operation):
        with qml.QueuingManager.stop_recording():
            parts = exponential(operation)
        if parts is not None:
            return parts
    return list(operation.decomposition())


def has_scalars(operation: Operator) -> bool:
    """As `is_supported`, for operations whose parameters are single numbers."""
    return not any(operation.ndim_params) and is_supported(operation)


def takes_angles(operation: Operator) -> bool:
    """True if the numbers of an operation are angles; they are constants otherwise."""
    while isinstance(operation, (Adjoint, Controlled)) and type(operation) not in ANGLES:
        operation = operation.base
    return type(operation) in ANGLES


def structure(operation: Operator) -> Hashable:
    """A key of an operation on integer wires without the numbers among its parameters."""
    kind, wires = type(operation), operation.wires.labels
    if kind in FIXED:
        return kind, wires
    return kind, wires, _frozen(operation.hyperparameters)


def _frozen(value: Any) -> Hashable:
    """A key of the hyperparameters of an operation, with the numbers of operators in them.

    The base of an adjoint or controlled operation has its numbers among the parameters.
    """
    if isinstance(value, Mapping):
        return tuple(
            (name, structure(item) if name == "base" else _frozen(item))
            for name, item in value.items()
        )
    if isinstance(value, qml.wires.Wires):
        return value.labels
    if isinstance(value, Operator):
        return structure(value), tuple(map(state_of, value.data))
    if isinstance(value, (tuple, list)):
        return type(value), tuple(map(_frozen, value))
    return state_of(value)


def constants(data: Sequence[Any]) -> Hashable:
    """A key of the parameters of an operation that are constants."""
    return tuple(state_of(qml.math.unwrap(number)) for number in data)


Step = tuple[Operator, Sequence[Any]]
"""An operation and its parameters, which need not be those that it was made with."""


class Slot(NamedTuple):
    """The place of a parameter among the arguments of a program.

    Attributes:
        batched: Whether it is one of the inputs, which differ between samples, or of the weights.
        start: The index of its first number.
        shape: Its shape, without the axis of the samples.
    """

    batched: bool
    start: int
    shape: tuple[int, ...]

    @property
    def stop(self) -> int:
        """The index after its last number."""
        return self.start + math.prod(self.shape)

    def of(self, x: Tensor, weights: Tensor) -> Tensor:
        """The parameter, from the inputs of one sample and the weights."""
        numbers = (x if self.batched else weights)[self.start : self.stop]
        return numbers.reshape(self.shape)


class Layout:
    """The order of the angles of some operations in the inputs and weights of a program.

    Args:
        steps: The operations and their parameters.

    Attributes:
        slots: The places of the parameters of each operation; None for constants.
        inputs: The batched parameters, in order.
        weights: The other parameters, in order.
        n_inputs: Number of numbers per sample in the inputs.
        n_weights: Number of weights.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self.slots: list[tuple[Slot, ...] | None] = []
        self.inputs: list[Any] = []
        self.weights: list[Any] = []
        self.n_inputs = self.n_weights = 0
        for operation, data in steps:
            takes = bool(data) and takes_angles(operation)
            self.slots.append(tuple(self._places(operation, data)) if takes else None)

    def _places(self, operation: Operator, data: Sequence[Any]) -> Iterator[Slot]:
        batched = operation.batch_size is not None
        for number, n_axes in zip(data, operation.ndim_params, strict=True):
            shape = tuple(qml.math.shape(number))
            if batched and len(shape) > n_axes:
                yield Slot(True, self.n_inputs, shape[1:])
                self.n_inputs += math.prod(shape[1:])
                self.inputs.append(number)
            else:
                yield Slot(False, self.n_weights, shape)
                self.n_weights += math.prod(shape)
                self.weights.append(number)

    def key(self, steps: Sequence[Step]) -> Hashable:
        """A key of the operations and of their places."""
        return tuple(
            (structure(operation), slots if slots is not None else constants(data))
            for (operation, data), slots in zip(steps, self.slots, strict=True)
        )


def queued(
    operations: Sequence[Operator],
    slots: Sequence[tuple[Slot, ...] | None],
    x: Tensor,
    weights: Tensor,
) -> None:
    """Queue operations with the angles that inputs and weights give them."""
    for operation, places in zip(operations, slots, strict=True):
        with qml.QueuingManager.stop_recording():  # the new operation would be queued as well
            if places is not None:
                angles = [place.of(x, weights) for place in places]
                operation = bind_new_parameters(operation, angles)
        qml.apply(operation)
