"""Properties of PennyLane operations that circuits, programs and exports need."""

import numpy as np
import pennylane as qml
from pennylane.operation import Operator
from torch import Tensor

NO_EFFECT = ("Identity", "Barrier", "Snapshot", "WireCut")
"""Names of operations that change no state."""

NOT_UNITARY = 1e-5
"""Largest error of M^dag M of a unitary matrix; matrices in single precision stay below."""


def measures(operation: Operator) -> bool:
    """True if an operation measures before the end, or depends on such a measurement."""
    conditional = isinstance(operation, qml.ops.Conditional)
    return conditional or "MidMeasure" in type(operation).__name__


def resets(operation: Operator) -> bool:
    """True for a measurement after which the wire is reset to |0>, for any outcome."""
    return (
        "MidMeasure" in type(operation).__name__
        and operation.reset
        and operation.postselect is None
    )


def matrix_of(operation: Operator) -> np.ndarray:
    """The matrix of a constant operation on its wires, in their order."""
    matrix = qml.matrix(operation, wire_order=operation.wires)
    if isinstance(matrix, Tensor):
        matrix = matrix.detach().resolve_conj().resolve_neg().numpy()
    return np.ascontiguousarray(matrix, dtype=np.complex128)
