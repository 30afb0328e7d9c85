r"""The product of rotations of a wave function as a PennyLane circuit, for small grids.

Coordinate a has the wires a n, ..., (a + 1) n - 1, the most significant first. A rotation

    exp(-i Y_m Theta / 2) = RX_m(-pi / 2) exp(-i Z_m Theta / 2) RX_m(pi / 2)

of `hqdm.carleman.waves.product` is a diagonal unitary in the eigenbasis of Y_m, which simulators
apply at once; `pauli_rotations` are its factors of few qubits, in which gates are counted.
"""

from collections.abc import Iterator

import numpy as np
import pennylane as qml

from hqdm.carleman.lchs.circuit import MAX_QUBITS, loaded
from hqdm.carleman.magnus import Vector
from hqdm.carleman.waves.hamiltonian import ContinuityHamiltonian
from hqdm.carleman.waves.product import Piece, rotations, signs
from hqdm.utils.errors import HQDMError


def decrement(piece: Piece) -> Iterator[qml.operation.Operator]:
    """The gates of j -> j - 2^m of the coordinate of a piece, the most significant bit first."""
    last = piece.wire
    for target in range(piece.axis * piece.grid.qubits, last):
        below = range(target + 1, last + 1)
        yield qml.MultiControlledX([*below, target], control_values=[0] * len(below))
    yield qml.X(last)


def diagonal_rotation(piece: Piece, angles: Vector) -> list[qml.operation.Operator]:
    """exp(-i Y_m Theta / 2) by a diagonal unitary.

    Args:
        piece: The piece, whose qubit m is rotated.
        angles: The theta_j by the bits of the other qubits, `(N^d / 2,)`.
    """
    half = angles.reshape(2**piece.wire, 1, -1) / 2
    phases = np.exp(-1j * np.concatenate([half, -half], axis=1)).ravel()
    wires = sorted([piece.wire, *piece.others])
    return [
        qml.RX(np.pi / 2, piece.wire),
        qml.DiagonalQubitUnitary(phases, wires=wires),
        qml.RX(-np.pi / 2, piece.wire),
    ]


def pauli_rotations(piece: Piece, angles: Vector) -> list[qml.operation.Operator]:
    """The factors exp(-i c_S Z_S Y_m / 2) of `diagonal_rotation`, which commute."""
    made = []
    for index, angle in signs(angles):
        marked = [wire for place, wire in enumerate(piece.others[::-1]) if index >> place & 1]
        made.append(qml.PauliRot(angle, "Z" * len(marked) + "Y", [*marked, piece.wire]))
    return made


def operators(hamiltonian: ContinuityHamiltonian, times: Vector) -> list[qml.operation.Operator]:
    """The operators of the evolution, one Strang step per interval of times.

    Args:
        hamiltonian: The Hamiltonian, of central differences.
        times: The grid of times, `(M + 1,)`.

    Raises:
        HQDMError: For Fourier collocation, whose matrix is not sparse.
    """
    made = []
    for piece, angles in rotations(hamiltonian, times):
        shift = list(decrement(piece)) if piece.odd else []
        made += [*shift, *diagonal_rotation(piece, angles), *map(qml.adjoint, reversed(shift))]
    return made


def run(hamiltonian: ContinuityHamiltonian, wave: Vector, times: Vector) -> Vector:
    """The wave function `(N^d,)` at the last time from the simulated circuit.

    Args:
        hamiltonian: The Hamiltonian, of central differences.
        wave: The wave function at the first time, `(N^d,)`.
        times: The grid of times, `(M + 1,)`.

    Raises:
        HQDMError: If the circuit has more than `hqdm.carleman.lchs.circuit.MAX_QUBITS` qubits, or
            as for `operators`.
    """
    wires = range(hamiltonian.grid.qubits * hamiltonian.grid.dim)
    if len(wires) > MAX_QUBITS:
        raise HQDMError(
            f"the circuit of this wave function needs {len(wires)} qubits, expected at most "
            f"{MAX_QUBITS}: use a coarser grid, or emulate it"
        )
    evolution = operators(hamiltonian, times)
    tape = qml.tape.QuantumScript([loaded(wave, wires), *evolution], [qml.state()])
    (state,) = qml.execute([tape], qml.device("default.qubit", wires=len(wires)))
    return np.asarray(state.real)
