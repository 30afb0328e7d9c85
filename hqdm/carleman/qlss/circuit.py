r"""A PennyLane circuit that applies an odd polynomial to the singular values of a matrix.

Wires: `real`, `encoding`, then the system. For B = W S V^T with |B| <= 1 the block encoding of
the transpose is the orthogonal matrix

    U = [[B^T, V C V^T], [W C W^T, -B]],     C = sqrt(1 - S^2),

and with Pi the projector on encoding = 0 the circuit between two Hadamard gates on `real` is

    exp(i phi_d Z (2 Pi - 1)) U ... U^T exp(i phi_1 Z (2 Pi - 1)) U exp(i phi_0 Z (2 Pi - 1)),

Z on `real`: U is the same on both of its branches, the phases have opposite signs, so that the
branches are complex conjugates and their sum is the real part. On real = encoding = 0 the system
is therefore left in V P(S) W^T |b> exactly: the probability of that outcome is its squared norm.
The phase gates are rotations exp(i phi Z Z); U is applied `degree` times, never controlled.
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
"""What the circuit is made of once the QSVT template is written out."""


@dataclass(frozen=True, eq=False)
class QSVTCircuit:
    """The circuit for V P(S) W^T |b>, with P an odd polynomial.

    Attributes:
        matrix: B, `(n, n)`, of spectral norm 1 or less.
        b: `(n,)`, of norm 1.
        coefficients: Of P, on T_1, T_3, ..., with |P| < 1 on [-1, 1].
    """

    matrix: Dense
    b: Vector
    coefficients: Vector

    @property
    def n_qubits(self) -> int:
        """Qubits in total."""
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
        """V P(S) W^T b, `(n,)`: the amplitudes of the outcome real = encoding = 0, simulated."""
        import pennylane as qml

        node = qml.QNode(with_state(self.qfunc), qml.device("default.qubit", wires=self.n_qubits))
        # The template as a whole would be simulated by its matrix: products of matrices, not of
        # matrices and a state.
        state = np.asarray(qml.transforms.decompose(node, gate_set=GATES)())
        return np.ascontiguousarray(state[: len(self.b)].real)


def with_state(qfunc: Callable[[], None]) -> Callable[[], Any]:
    """A quantum function that returns the state after another one."""
    import pennylane as qml

    def run() -> Any:
        qfunc()
        return qml.state()

    return run


def circuit_qubits(n: int) -> int:
    """Qubits of the circuit for n unknowns: the system, one to encode, one for the real part."""
    return max(1, math.ceil(math.log2(n))) + 2


def reflection_phases(phases: Vector) -> Vector:
    """Phases for reflections in place of W(x), of which Re P is f.

    W(x) = i exp(-i pi/4 Z) R(x) exp(-i pi/4 Z) with R the reflection that a block encoding is; the
    factor i^d, and -i to turn the imaginary part into the real one, go to the first phase.
    """
    d = len(phases) - 1
    turned = phases - np.pi / 2
    turned[[0, -1]] += np.pi / 4
    turned[0] += (d - 1) * np.pi / 2
    return turned


def dilation(matrix: Dense) -> Dense:
    """The orthogonal matrix with B in its upper left corner and -B^T in its lower right one."""
    W, S, Vt = np.linalg.svd(matrix)
    S = np.minimum(S, 1)  # rounding may leave a norm of 1 above it
    C = np.sqrt((1 - S) * (1 + S))
    return np.block([[(W * S) @ Vt, (W * C) @ W.T], [(Vt.T * C) @ Vt, -(Vt.T * S) @ W.T]])


def padded_matrix(matrix: Dense) -> Dense:
    """B and the identity beside it, of a size that is a power of two."""
    n = len(matrix)
    padded = np.eye(padded_size(n))
    padded[:n, :n] = matrix
    return padded


def padded_vector(b: Vector) -> Vector:
    """The vector b and zeros, of a length that is a power of two."""
    return np.pad(b, (0, padded_size(len(b)) - len(b)))


def padded_size(n: int) -> int:
    """The states of the system's qubits."""
    return int(2 ** (circuit_qubits(n) - 2))
