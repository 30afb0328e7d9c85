r"""Magnus integrators of linear differential equations, and the interface of their backends.

    dy/dt = A(t) y,        y(t_M) = exp(G_M) ... exp(G_2) exp(G_1) y(t_0).

A Magnus integrator gives the generators G_m. The integrator of order 2 takes G = h A(t + h / 2);
the commutator-free integrator of order 4 takes two exponentials per step, with A_1 and A_2 at the
Gauss points (Alvermann and Fehske 2011, eq. 43),

    G_1 = h (a A_1 + b A_2),    G_2 = h (b A_1 + a A_2),    a, b = 1/4 +- sqrt(3) / 6.

All backends receive the same generators, so their results differ only by the backends' errors.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import expm_multiply

from hqdm.utils.errors import HQDMError, unknown

Vector: TypeAlias = NDArray[np.float64]
Matrix: TypeAlias = sparse.csr_array
"""A sparse, real, square matrix."""

ORDERS = (2, 4)
LARGEST_NORM = 1 / np.finfo(np.float64).eps  # rounding then changes a generator by 1
GAUSS = np.array([0.5 - np.sqrt(3) / 6, 0.5 + np.sqrt(3) / 6])
WEIGHTS = 0.25 + np.array([1, -1]) * np.sqrt(3) / 6


@dataclass(frozen=True)
class Solution:
    """The solution of a linear differential equation at the final time.

    Attributes:
        y: The solution at the final time, `(n,)`, or `(n, B)` for several initial values.
        account: The backend's report of its errors and costs; None if it has none.
    """

    y: Vector
    account: Any = None


class Backend(Protocol):
    """A solver that applies a product of exponentials of generators to a vector."""

    def solve(self, generators: Sequence[Matrix], y0: Vector) -> Solution:
        """exp(G_M) ... exp(G_1) y0.

        Args:
            generators: G_1, ..., G_M, `(n, n)` each.
            y0: The initial value, `(n,)`.
        """
        ...


def check_norm(what: str, matrix: Vector | Matrix) -> None:
    """Refuse a matrix whose rounding errors are as large as those of a lost solution.

    exp(G) is computed as exp(G + E) with |E| about 2e-16 |G|, in a time proportional to |G|.

    Args:
        what: The subject of the message, such as `"a generator"`.
        matrix: The matrix.

    Raises:
        HQDMError: If its 1-norm exceeds `LARGEST_NORM`, or it is not finite.
    """
    norm = float(abs(matrix).sum(axis=0).max())
    if not norm <= LARGEST_NORM:
        raise HQDMError(
            f"{what} has a norm of {norm:.1e}: above {LARGEST_NORM:.1e} no digit of the solution "
            'is correct in double precision; lower the order, or use the closure "drop" in the '
            "monomial basis"
        )


@dataclass(frozen=True)
class Direct:
    """The action of matrix exponentials by scipy (Al-Mohy and Higham 2011), to machine precision.

    It is the only backend that accepts several initial values at once, `(n, B)`.
    """

    def solve(self, generators: Sequence[Matrix], y0: Vector) -> Solution:
        """See `Backend.solve`.

        Raises:
            HQDMError: If a generator is too large, see `check_norm`.
        """
        y = np.asarray(y0, dtype=np.float64)
        for generator in generators:
            check_norm("a generator of the linear equation", generator)
            y = expm_multiply(generator, y, traceA=float(generator.trace()))
        return Solution(y)


def amplified_runs(probability: float) -> float:
    """Expected number of runs until success, with amplitude amplification if it lowers the number.

    m rounds take 2 m + 1 runs and succeed with probability sin^2((2 m + 1) arcsin sqrt p)
    (Brassard, Hoyer, Mosca and Tapp 2002).
    """
    if not probability:
        return math.inf
    angle = math.asin(min(1.0, math.sqrt(probability)))
    full = math.floor(math.pi / (4 * angle))
    return min(runs / math.sin(runs * angle) ** 2 for runs in (1, 2 * full + 1))


def generators(matrix: Callable[[float], Matrix], times: Vector, order: int = 4) -> list[Matrix]:
    """The generators of the integration over the grid `times`, first to last.

    Args:
        matrix: A(t).
        times: Grid t_0, ..., t_M, `(M + 1,)`.
        order: Order of the Magnus integrator, 2 or 4.

    Raises:
        HQDMError: If the order is neither, or there are fewer than two times.
    """
    if order not in ORDERS:
        raise unknown("order of a Magnus integrator", str(order), map(str, ORDERS))
    if len(times) < 2:
        raise HQDMError(f"a time grid needs two times or more, got {len(times)}")
    made = []
    for t, s in pairwise(np.asarray(times, dtype=np.float64)):
        h = s - t
        if order == 2:
            made.append(h * matrix(t + h / 2))
            continue
        first, second = (matrix(t + c * h) for c in GAUSS)
        a, b = h * WEIGHTS
        made += [a * first + b * second, b * first + a * second]
    return made
