r"""Wave functions on a grid, and the distances of their densities.

A cube [-L, L)^d has N = 2^n points per coordinate, at the centres of its cells,

    x_j = -L + h (j + 1/2),        h = 2 L / N,        j = 0, ..., N - 1.

A density p is represented by the unit vector psi_j = sqrt(p(x_j) h^d), up to its norm, on n d
qubits: n for each coordinate, the most significant first. A measurement draws the cell j with the
probability psi_j^2.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import rel_entr
from scipy.stats import wasserstein_distance

from hqdm.carleman.magnus import Vector
from hqdm.utils.checks import positive, whole
from hqdm.utils.errors import HQDMError

DIMS = 1, 2
MAX_QUBITS = 16
"""Maximum number of qubits, which is 65,536 points."""

EXTENT = 4.5
"""The default L: of N(0, 1), 7e-6 is outside."""


@dataclass(frozen=True)
class Grid:
    """A grid of N^d points.

    Args:
        dim: Number of coordinates d, 1 or 2.
        qubits: Qubits n of each coordinate, 2 or more.
        extent: Half of the side of the cube, L.

    Raises:
        HQDMError: If a number is out of range, or n d exceeds `MAX_QUBITS`.
    """

    dim: int
    qubits: int
    extent: float = EXTENT

    def __post_init__(self) -> None:
        """Check the numbers."""
        whole("the dimension of a wave function", self.dim, DIMS[0], DIMS[-1])
        whole("qubits of a coordinate", self.qubits, 2, MAX_QUBITS // self.dim)
        positive("the extent of a grid", self.extent)

    @property
    def side(self) -> int:
        """The number N of points of each coordinate."""
        return int(2**self.qubits)

    @property
    def spacing(self) -> float:
        """The spacing h."""
        return 2 * self.extent / self.side

    @property
    def shape(self) -> tuple[int, ...]:
        """The numbers of points, `(N,)` or `(N, N)`."""
        return (self.side,) * self.dim

    def axis(self, beyond: int = 0) -> Vector:
        """The values x_j of one coordinate, with a number of values beyond L."""
        places = np.arange(self.side + beyond, dtype=np.float64)
        return -self.extent + self.spacing * (places + 0.5)

    def lattice(self, beyond: int = 0) -> Vector:
        """The points `(M, d)`, the last coordinate fastest, with some beyond L in each."""
        axes = np.meshgrid(*[self.axis(beyond)] * self.dim, indexing="ij")
        return np.stack(axes, axis=-1).reshape(-1, self.dim)

    @cached_property
    def points(self) -> Vector:
        """The points of the grid, `(N^d, d)`."""
        return self.lattice()

    def wave(self, density: Vector) -> Vector:
        """The wave function `(N^d,)` of a density at the points.

        Args:
            density: Values that are not negative, `(N^d,)`; they need not be normalised.

        Raises:
            HQDMError: If the shape is another one, or a value is negative or not finite, or all
                are 0.
        """
        values = np.asarray(density, dtype=np.float64)
        if values.shape != (self.side**self.dim,):
            raise HQDMError(
                f"a density needs one value at each of {self.side**self.dim} points, got the shape "
                f"{values.shape}"
            )
        if not (np.isfinite(values).all() and (values >= 0).all() and values.any()):
            raise HQDMError("a density needs finite values, none below 0 and not all 0")
        return np.sqrt(values / values.sum())

    def normal(self) -> Vector:
        """The wave function of N(0, I), where diffusion flows start."""
        return self.wave(np.exp(-(self.points**2).sum(axis=1) / 2))


@dataclass(frozen=True)
class Distances:
    """Distances between probabilities q of cells and reference probabilities p.

    Attributes:
        total_variation: sum |q - p| / 2.
        kullback_leibler: sum p log(p / q), infinite if q is 0 where p is not.
        wasserstein: The Wasserstein-1 distance of a coordinate, the largest of all coordinates.
        infidelity: 1 - (sum sqrt(p q))^2.
    """

    total_variation: float
    kullback_leibler: float
    wasserstein: float
    infidelity: float


def distances(grid: Grid, found: Vector, exact: Vector) -> Distances:
    """Distances of the densities of two wave functions.

    Args:
        grid: The grid.
        found: A wave function, `(N^d,)`.
        exact: That of the reference, `(N^d,)`.
    """
    q, p = found**2, exact**2
    axes = range(grid.dim)
    marginals = [
        [values.reshape(grid.shape).sum(axis=tuple({*axes} - {axis})) for values in (q, p)]
        for axis in axes
    ]
    line = grid.axis()
    overlap = float(np.abs(found) @ np.abs(exact))
    return Distances(
        total_variation=float(np.abs(q - p).sum() / 2),
        kullback_leibler=float(rel_entr(p, q).sum()),
        wasserstein=max(float(wasserstein_distance(line, line, *pair)) for pair in marginals),
        infidelity=max(0.0, 1 - overlap**2),
    )
