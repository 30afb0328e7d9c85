r"""The evolution of a wave function as a product of rotations, and their number of gates.

Each difference of the continuity Hamiltonian is split into two 1-sparse matrices (graph colouring:
Aharonov and Ta-Shma 2003, Berry, Ahokas, Cleve and Sanders 2007). The pairs (j, j + s), s = 2^m, in
which bit m of j is 0 differ in this bit only, and the exponential of their matrix over a time tau
is

    exp(-i Y_m Theta / 2),    Theta = diag(theta_j),    theta_j = 2 tau r_j,

a rotation of qubit m whose angle depends on all other qubits. The other pairs become such pairs by
j -> j - s, a decrement of the qubits from m upwards. The angle is a sum of signs,

    theta_j = sum_S c_S (-1)^(S . j),    exp(-i Y_m Theta / 2) = prod_S exp(-i c_S Z_S Y_m / 2),

by a Walsh-Hadamard transform, exact since the factors commute (Welch, Greenbaum, Mostame and
Aspuru-Guzik 2014). A polynomial of degree p in x has no c_S of more than p qubits, so that the
number of rotations is polynomial in the number of qubits. The pieces are combined by the Strang
splitting, with the rates at the middle of each step: order 2 in the step.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hqdm.carleman.magnus import Vector
from hqdm.carleman.waves.grid import Grid
from hqdm.carleman.waves.hamiltonian import DIFFERENCES, FOURIER, ContinuityHamiltonian
from hqdm.utils.errors import HQDMError

NEGLIGIBLE = 1e-13
"""Size of an angle relative to the largest one, below which it is rounding."""


@dataclass(frozen=True)
class Piece:
    """Disjoint pairs (j, j + 2^level) along a coordinate.

    Attributes:
        grid: The grid.
        axis: The coordinate.
        level: The level m.
        odd: True for the pairs in which bit m of j is 1.
    """

    grid: Grid
    axis: int
    level: int
    odd: bool

    @property
    def wire(self) -> int:
        """The qubit of bit m, counted from the most significant of the first coordinate."""
        return (self.axis + 1) * self.grid.qubits - 1 - self.level

    @property
    def others(self) -> list[int]:
        """All other qubits."""
        width = self.grid.qubits * self.grid.dim
        return [other for other in range(width) if other != self.wire]

    def angles(self, rates: Vector, time: float) -> Vector:
        """The theta_j by the bits of the other qubits, after the decrement if `odd`, `(N^d / 2,)`.

        Args:
            rates: The rates of all pairs of the coordinate and level, `(N^d,)`.
            time: The time tau.
        """
        return 2 * time * self._split(self._decremented(rates))[:, 0].ravel()

    def rotate(self, wave: Vector, angles: Vector) -> Vector:
        """The exponential applied to a wave function `(N^d,)`."""
        zero, one = np.moveaxis(self._split(self._decremented(wave)), 1, 0)
        half = angles.reshape(zero.shape) / 2
        turned = np.cos(half) * zero - np.sin(half) * one, np.sin(half) * zero + np.cos(half) * one
        return self._decremented(np.stack(turned, axis=1).ravel(), back=True)

    def _split(self, values: Vector) -> Vector:
        """Values `(N^d,)` by the qubits above, that of bit m, and those below."""
        return values.reshape(2**self.wire, 2, -1)

    def _decremented(self, values: Vector, back: bool = False) -> Vector:
        """Values `(N^d,)` moved from j to j - s, or back; unchanged if not `odd`."""
        if not self.odd:
            return values
        stride = 2**self.level if back else -(2**self.level)
        return np.roll(values.reshape(self.grid.shape), stride, axis=self.axis).ravel()


def walsh(values: Vector) -> Vector:
    """The c_S of values_j = sum_S c_S (-1)^(S . j), `(2^k,)`; the bits of S are those of j."""
    bits = (len(values) - 1).bit_length()
    found = values.reshape((2,) * bits)
    for bit in range(bits):
        zero, one = np.moveaxis(found, bit, 0)
        found = np.stack([zero + one, zero - one], axis=bit) / 2
    return found.ravel()


def signs(angles: Vector) -> Iterator[tuple[int, float]]:
    """The subsets S as numbers, and the angles c_S that are not negligible."""
    coefficients = walsh(angles)
    least = NEGLIGIBLE * np.abs(coefficients).max()
    for index in np.flatnonzero(np.abs(coefficients) > least):
        yield int(index), float(coefficients[index])


def strang(hamiltonian: ContinuityHamiltonian) -> list[tuple[Piece, float]]:
    """The pieces of a Strang step with their fractions of its time.

    Raises:
        HQDMError: For Fourier collocation, whose matrix is not sparse.
    """
    if hamiltonian.derivative == FOURIER:
        raise HQDMError(
            f"a product of rotations needs sparse differences, got {FOURIER}: use one of "
            f"{', '.join(DIFFERENCES)}"
        )
    *outer, inner = (
        Piece(hamiltonian.grid, axis, level, odd)
        for axis in range(hamiltonian.grid.dim)
        for level in range(hamiltonian.levels)
        for odd in (False, True)
    )
    halves = [(piece, 0.5) for piece in outer]
    return [*halves, (inner, 1.0), *reversed(halves)]


def rotations(hamiltonian: ContinuityHamiltonian, times: Vector) -> Iterator[tuple[Piece, Vector]]:
    """The pieces of all steps with their angles, first to last.

    Args:
        hamiltonian: The Hamiltonian, of central differences.
        times: The grid of times, one Strang step per interval, `(M + 1,)`.

    Raises:
        HQDMError: As for `strang`.
    """
    pieces = strang(hamiltonian)
    for a, b in pairwise(times):
        rates = hamiltonian.rates((a + b) / 2)
        for piece, fraction in pieces:
            own = rates[piece.axis][piece.level]
            yield piece, piece.angles(own, fraction * (b - a))


def emulate(hamiltonian: ContinuityHamiltonian, wave: Vector, times: Vector) -> Vector:
    """The wave function `(N^d,)` after the product of rotations.

    Args:
        hamiltonian: The Hamiltonian, of central differences.
        wave: The wave function at the first time, `(N^d,)`.
        times: The grid of times, `(M + 1,)`.

    Raises:
        HQDMError: As for `strang`.
    """
    for piece, angles in rotations(hamiltonian, times):
        wave = piece.rotate(wave, angles)
    return wave


@dataclass(frozen=True)
class WaveAccount:
    """Gates of a product of rotations; the preparation of its initial state is not counted.

    Attributes:
        qubits: Number of qubits, without the auxiliary ones of decrements.
        rotations: Rotations exp(-i c Z...Z Y / 2).
        controlled_nots: CNOT gates that reduce them to rotations of one qubit, 2 (k - 1) for one
            of k qubits.
        shifts: Decrements and increments.
        largest_weight: The largest number of qubits of a rotation.
    """

    qubits: int
    rotations: int
    controlled_nots: int
    shifts: int
    largest_weight: int


def account(hamiltonian: ContinuityHamiltonian, times: Vector) -> WaveAccount:
    """The gates of the product of rotations over a grid of times, see `emulate`."""
    weights, shifts = [], 0
    for piece, angles in rotations(hamiltonian, times):
        weights += [1 + index.bit_count() for index, _ in signs(angles)]
        shifts += 2 * piece.odd
    return WaveAccount(
        qubits=hamiltonian.grid.qubits * hamiltonian.grid.dim,
        rotations=len(weights),
        controlled_nots=sum(2 * (weight - 1) for weight in weights),
        shifts=shifts,
        largest_weight=max(weights, default=0),
    )
