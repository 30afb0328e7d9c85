r"""The continuity Hamiltonian, which moves the wave function of a density along a flow.

A flow dx/dt = v(x, t) moves a density by the continuity equation dp/dt = -div(p v), so that psi =
sqrt(p) obeys a Schrödinger equation (Layden, Sweke, Havlíček, Chowdhury and Neklyudov, arXiv
2510.08462),

    dpsi/dt = -(v . grad + (div v) / 2) psi = -i H psi,        H = (v . P + P . v) / 2,

with the momenta P = -i grad. H is Hermitian and linear in P, and psi remains real. With an
antisymmetric matrix D_a in place of the derivative along coordinate a,

    -i H = -sum_a (v_a D_a + D_a v_a) / 2

is real and antisymmetric, so that the evolution is orthogonal. D_a is either that of Fourier
collocation, as in the paper, or a Richardson extrapolation of central differences with the spacings
h, 2 h, ..., 2^(r - 1) h,

    (D_a psi)_j = sum_m w_m (psi_{j + s} - psi_{j - s}) / (2 s h),    s = 2^m,

of order 2 r. The latter is a sum of 1-sparse matrices, which exchange psi_j with psi_{j + s} at the
rate w_m (v_j + v_{j + s}) / (4 s h). Both continue psi periodically: it needs to vanish at the
border. Rates of pairs across the border use v beyond it, so that those of a polynomial v are a
polynomial in j.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

import numpy as np
from scipy import sparse
from scipy.linalg import circulant

from hqdm.carleman.magnus import Direct, Matrix, Vector, generators
from hqdm.carleman.waves.grid import Grid
from hqdm.utils.errors import HQDMError, check_names

Velocity: TypeAlias = Callable[[Vector, float], Vector]
"""v(x, t): the velocities `(M, d)` at points `(M, d)` and a time."""

FOURIER = "fourier"
DIFFERENCES = {"difference2": 2, "difference4": 4, "difference6": 6}
DERIVATIVES = (*DIFFERENCES, FOURIER)


@dataclass(frozen=True)
class ContinuityHamiltonian:
    """The continuity Hamiltonian of a flow on a grid.

    Args:
        grid: The grid.
        velocity: v(x, t), also asked for points beyond L, up to the longest difference.
        derivative: A key of `DIFFERENCES`, whose value is its order in h, or `FOURIER`.

    Raises:
        HQDMError: If the derivative is unknown, or the grid has fewer points than its differences.
    """

    grid: Grid
    velocity: Velocity
    derivative: str = "difference4"

    def __post_init__(self) -> None:
        """Check the derivative."""
        check_names("derivative", [self.derivative], DERIVATIVES)
        if self.levels > self.grid.qubits - 1:
            raise HQDMError(
                f"{self.derivative} needs {self.levels + 1} qubits or more per coordinate, got "
                f"{self.grid.qubits}"
            )

    @property
    def levels(self) -> int:
        """The number r of spacings of the differences; 0 for Fourier collocation."""
        return DIFFERENCES.get(self.derivative, 0) // 2

    @property
    def weights(self) -> Vector:
        """The weights w_m of Richardson's extrapolation, `(r,)`.

        The difference with spacing s h has the error sum_k c_k (s h)^(2 k); they sum to 1 and
        remove the terms k = 1, ..., r - 1.
        """
        squares = 4.0 ** np.arange(self.levels)
        powers = np.vander(squares, increasing=True).T
        return np.linalg.solve(powers, np.eye(self.levels)[0])

    def rates(self, t: float) -> list[list[Vector]]:
        """The rates of the pairs (j, j + s) by coordinate and level, each `(N^d,)`, at time t."""
        beyond = int(2 ** (self.levels - 1))
        side, dim = self.grid.side, self.grid.dim
        values = self._velocities(self.grid.lattice(beyond), t)
        values = values.reshape(*[side + beyond] * dim, dim)
        inside = (slice(0, side),) * dim
        found: list[list[Vector]] = []
        for axis in range(dim):
            own = values[..., axis]
            found.append([])
            for level, weight in enumerate(self.weights):
                stride = 2**level
                later = (*inside[:axis], slice(stride, stride + side), *inside[axis + 1 :])
                both = own[inside] + own[later]
                found[axis].append(weight / (4 * stride * self.grid.spacing) * both.ravel())
        return found

    def matrix(self, t: float) -> Matrix:
        """The matrix -i H at time t, real and antisymmetric, `(N^d, N^d)`.

        Raises:
            HQDMError: If a velocity is not finite, or the shape of the velocities is another one.
        """
        if self.derivative == FOURIER:
            return self._collocation(t)
        parts = [
            exchange(self.grid, axis, level, rates)
            for axis, levels in enumerate(self.rates(t))
            for level, rates in enumerate(levels)
        ]
        return sparse.csr_array(reduce(lambda a, b: a + b, parts))

    def _collocation(self, t: float) -> Matrix:
        values = self._velocities(self.grid.points, t)
        one, unit = sparse.csr_array(fourier_derivative(self.grid)), sparse.eye_array
        n, dim = self.grid.side, self.grid.dim
        parts = []
        for axis in range(dim):
            before, after = unit(n**axis), unit(n ** (dim - 1 - axis))
            along = sparse.kron(sparse.kron(before, one), after)
            speed = sparse.diags_array(values[:, axis])
            parts.append(speed @ along + along @ speed)
        return sparse.csr_array(-reduce(lambda a, b: a + b, parts) / 2)

    def _velocities(self, points: Vector, t: float) -> Vector:
        values = np.asarray(self.velocity(points, t), dtype=np.float64)
        if values.shape != points.shape or not np.isfinite(values).all():
            raise HQDMError(
                f"a flow needs finite velocities of shape {points.shape} on the grid, got "
                f"{values.shape} or values that are not finite: use a smaller extent"
            )
        return values


def exchange(grid: Grid, axis: int, level: int, rates: Vector) -> Matrix:
    """The antisymmetric matrix with -r_j at (j, j + s) and r_j at (j + s, j), s = 2^level.

    Args:
        grid: The grid.
        axis: The coordinate along which points are shifted.
        level: The level m.
        rates: The rates r_j, `(N^d,)`.
    """
    count = np.arange(len(rates))
    later = np.roll(count.reshape(grid.shape), -(2**level), axis=axis).ravel()
    upper = sparse.csr_array((rates, (count, later)), shape=(len(rates),) * 2)
    return sparse.csr_array(upper.T - upper)


def fourier_derivative(grid: Grid) -> Vector:
    """The derivative of the trigonometric interpolant of one coordinate, `(N, N)`.

    It is pi / (2 L) (-1)^m cot(pi m / N) at j - l = m != 0 (Trefethen 2000, eq. 3.10).
    """
    places = np.arange(1, grid.side)
    column = np.pi / (2 * grid.extent) * (-1.0) ** places / np.tan(np.pi * places / grid.side)
    return circulant(np.concatenate([[0.0], column]))


def evolve(
    hamiltonian: ContinuityHamiltonian, wave: Vector, times: Vector, order: int = 4
) -> Vector:
    """The wave function `(N^d,)` at the last time, by exact exponentials of a Magnus integrator.

    Args:
        hamiltonian: The Hamiltonian.
        wave: The wave function at the first time, `(N^d,)`.
        times: The grid of times, `(M + 1,)`.
        order: Order of the integrator, 2 (exponential midpoint rule) or 4.

    Raises:
        HQDMError: As for `hqdm.carleman.magnus.generators`, and for velocities that are not finite.
    """
    return Direct().solve(generators(hamiltonian.matrix, times, order), wave).y
