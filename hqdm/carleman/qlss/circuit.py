r"""A PennyLane circuit that applies an odd polynomial to the singular values of a matrix.

The wires are `real`, `encoding`, then the system. For B = W S V^T with |B| <= 1 the block encoding
of the transpose is the orthogonal matrix

    U = [[B^T, V C V^T], [W C W^T, -B]],     C = sqrt(1 - S^2).

With Pi the projector on encoding = 0 and Z on `real`, the circuit between two Hadamard gates on
`real` is

    exp(i phi_d Z (2 Pi - 1)) U ... U^T exp(i phi_1 Z (2 Pi - 1)) U exp(i phi_0 Z (2 Pi - 1)).

U is the same on both branches of `real` and the phases have opposite signs. The branches are thus
complex conjugates, and their sum is the real part: for the outcome real = encoding = 0 the system
is in V P(S) W^T |b>, whose squared norm is the probability of that outcome. The phase gates are
rotations exp(i phi Z Z); U is applied `degree` times, without control.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hqdm.carleman.magnus import Vector
from hqdm.carleman.qlss.phases import symmetric_phases

Dense = NDArray[np.float64]
REAL, ENCODING = 0, 1  # wires
GATES = {"QubitUnitary", "Adjoint(QubitUnitary)", "IsingZZ", "Hadamard", "StatePrep"}
"""Gates of the circuit after decomposition of the QSVT template."""


@dataclass(frozen=True, eq=False)
class QSVTCircuit:
    """The circuit for V P(S) W^T |b>, with P an odd polynomial.

    Attributes:
        matrix: The matrix B, `(n, n)`, of spectral norm 1 or less.
        b: The vector b, `(n,)`, of norm 1.
        coefficients: Coefficients of P in T_1, T_3, ..., with |P| < 1 on [-1, 1].
    """

    matrix: Dense
    b: Vector
    coefficients: Vector

    @property
    def n_qubits(self) -> int:
        """Total number of qubits."""
        return circuit_qubits(len(self.b))

    @cached_property
    def phases(self) -> Vector:
        """The phases of the rotations exp(i phi Z Z), first to last."""
        return reflection_phases(symmetric_phases(self.coefficients))

    def qfunc(self) -> None:
        """The circuit as a PennyLane quantum function."""
        import pennylane as qml

        wires = range(self.n_qubits)
        qml.StatePrep(padded_vector(self.b), wires=wires[2:])
        qml.Hadamard(REAL)
        encoding = qml.QubitUnitary(dilation(padded_matrix(self.matrix)).T, wires=wires[1:])
        turns = [qml.IsingZZ(-2 * phase, wires=[REAL, ENCODING]) for phase in self.phases]
        qml.QSVT(encoding, turns)
        qml.Hadamard(REAL)

    def amplitudes(self) -> Vector:
        """V P(S) W^T b `(n,)`, the simulated amplitudes of the outcome real = encoding = 0."""
        import pennylane as qml

        node = qml.QNode(with_state(self.qfunc), qml.device("default.qubit", wires=self.n_qubits))
        # Without decomposition the template would be simulated by its matrix, with products of
        # matrices instead of products of a matrix and a state.
        state = np.asarray(qml.transforms.decompose(node, gate_set=GATES)())
        return np.ascontiguousarray(state[: len(self.b)].real)


def with_state(qfunc: Callable[[], None]) -> Callable[[], Any]:
    """A quantum function that returns the state after `qfunc`."""
    import pennylane as qml

    def run() -> Any:
        qfunc()
        return qml.state()

    return run


def circuit_qubits(n: int) -> int:
    """Qubits of the circuit for n unknowns: the system, one for encoding, one for the real part."""
    return max(1, math.ceil(math.log2(n))) + 2


def reflection_phases(phases: Vector) -> Vector:
    """Phases for reflections R(x) in place of W(x), such that Re P = f.

    W(x) = i exp(-i pi/4 Z) R(x) exp(-i pi/4 Z) with R the reflection of a block encoding. The
    factor i^d, and -i to turn the imaginary into the real part, are added to the first phase.
    """
    d = len(phases) - 1
    turned = phases - np.pi / 2
    turned[[0, -1]] += np.pi / 4
    turned[0] += (d - 1) * np.pi / 2
    return turned


def dilation(matrix: Dense) -> Dense:
    """The orthogonal matrix with B as its upper left block and -B^T as its lower right block."""
    W, S, Vt = np.linalg.svd(matrix)
    S = np.minimum(S, 1)  # rounding may raise a norm of 1 above 1
    C = np.sqrt((1 - S) * (1 + S))
    return np.block([[(W * S) @ Vt, (W * C) @ W.T], [(Vt.T * C) @ Vt, -(Vt.T * S) @ W.T]])


def padded_matrix(matrix: Dense) -> Dense:
    """The block-diagonal matrix of B and an identity, of a size that is a power of two."""
    n = len(matrix)
    padded = np.eye(padded_size(n))
    padded[:n, :n] = matrix
    return padded


def padded_vector(b: Vector) -> Vector:
    """The vector b padded with zeros to a power of two."""
    return np.pad(b, (0, padded_size(len(b)) - len(b)))


def padded_size(n: int) -> int:
    """The dimension of the system register."""
    return int(2 ** (circuit_qubits(n) - 2))
