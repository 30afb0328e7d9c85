r"""Carleman linearisation: a polynomial equation as a linear one in the monomials of x.

With dx_i/dt = sum_beta F_{i beta} x^beta, |beta| <= p, the monomials obey

    d x^gamma / dt = sum_i gamma_i sum_beta F_{i beta} x^{gamma - e_i + beta},

whose right side reaches degree N + p - 1 when |gamma| <= N. With the monomials inside (degree up to
N) and outside (above), dy/dt = A_in y + A_out y_out, and a closure y_out = C y makes it

    dy/dt = (A_in + A_out C) y:

* drop           C = 0;
* drop in the Hermite basis: the Hermite polynomials above degree N are dropped, and not the
                 monomials, so that y_out keeps its projection on those below, under N(0, I);
* least squares  C(t) minimises mean |y_out - C y|^2 over samples of the flow at t.

In the Hermite basis y = T m(x), and the matrix is T (A_in + A_out C) T^{-1}.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from math import comb
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import spsolve_triangular

from hqdm.carleman.drift import Coefficients
from hqdm.carleman.magnus import Matrix, Vector
from hqdm.carleman.monomials import Integers, Monomials, n_monomials, orthonormal_hermite
from hqdm.utils.errors import HQDMError, unknown

Array: TypeAlias = NDArray[Any]

BASES = ("monomial", "hermite")
MEMORY_LIMIT = 4 * 2**30
CLOSURE_LIMIT = 2**30
BYTES_PER_ENTRY = 80  # of the structure while it is built: indices, weights, the sort
BYTES_PER_VARIABLE = 24  # of the products of one degree while they are sorted: three copies
RIDGE = 1e-8  # of the least-squares closure, relative to the mean square of a feature


def structure_bytes(dim: int, degree: int, order: int, reach: int) -> int:
    """Bytes that building a system takes, before it is built; the arguments are `Structure`'s."""
    sizes = [comb(dim + k - 1, k) for k in range(max(order, reach) + 1)]
    rows, columns = sizes[: order + 1], sizes[: reach + 1]
    drift = n_monomials(dim, degree)
    entries = drift * sum(size * min(k, dim) for k, size in enumerate(rows))
    lists = 8 * sum(size * k for part in (rows, columns) for k, size in enumerate(part))
    widest = drift * max(size * (k + degree) for k, size in enumerate(rows))
    return entries * BYTES_PER_ENTRY + lists + widest * BYTES_PER_VARIABLE


class Structure:
    """Which coefficients of a drift stand where in the matrix of its lift.

    Args:
        dim: Number of variables, d.
        degree: Of the drift, p.
        order: Degree up to which monomials have rows, N.
        reach: Degree up to which they have columns, up to N + p - 1; what lies above is left out.
        memory_limit: Bytes.

    Raises:
        HQDMError: If the order is below 1, or building would take more memory than the limit.
    """

    def __init__(
        self, dim: int, degree: int, order: int, reach: int, memory_limit: int = MEMORY_LIMIT
    ) -> None:
        if order < 1:
            raise HQDMError(f"a Carleman truncation needs order 1 or more, got {order}")
        needed = structure_bytes(dim, degree, order, reach)
        if needed > memory_limit:
            raise HQDMError(
                f"a Carleman system of dimension {dim}, order {order} and degree {degree} needs "
                f"{needed:,} bytes, the limit is {memory_limit:,}: lower the order or the dimension"
            )
        self.rows, self.columns = Monomials(dim, order), Monomials(dim, reach)
        self.drift = Monomials(dim, degree)
        shape = len(self.rows), len(self.columns)
        row, column, source, weight = (
            np.concatenate(part) for part in zip(*self._terms(), strict=True)
        )
        place, slot = np.unique(row * shape[1] + column, return_inverse=True)
        self._values = sparse.csr_array(
            (weight, (slot, source)), shape=(len(place), dim * len(self.drift))
        )
        self._columns = place % shape[1]
        self._starts = np.searchsorted(place // shape[1], np.arange(shape[0] + 1))
        self._shape = shape

    def _terms(self) -> list[tuple[Array, ...]]:
        """Rows, columns, places in the flattened coefficients and weights gamma_i, in parts."""
        parts = []
        for k, lists in enumerate(self.rows.variables):
            for slot in range(k):
                first = lists[:, slot] != lists[:, slot - 1] if slot else np.ones(len(lists), bool)
                chosen = lists[first]
                rest, variable = np.delete(chosen, slot, axis=1), chosen[:, slot]
                rows = self.rows.start(k) + np.flatnonzero(first)
                weights = (chosen == variable[:, None]).sum(axis=1).astype(np.float64)
                for q in range(min(self.drift.order, self.columns.order - k + 1) + 1):
                    parts.append(self._products(rows, rest, variable, weights, q))
        return parts

    def _products(
        self, rows: Integers, rest: Integers, variable: Integers, weights: Vector, q: int
    ) -> tuple[Array, ...]:
        """The terms in which monomials of degree q of the drift stand for one variable."""
        betas = self.drift.variables[q]
        shape = len(rest), len(betas)
        joined = np.concatenate(
            [
                np.broadcast_to(rest[:, None], (*shape, rest.shape[1])),
                np.broadcast_to(betas[None], (*shape, q)),
            ],
            axis=2,
        )
        columns = self.columns.places(np.sort(joined, axis=2))
        source = variable[:, None] * len(self.drift) + self.drift.start(q) + np.arange(shape[1])
        spread = (np.broadcast_to(part[:, None], shape).ravel() for part in (rows, weights))
        row, weight = spread
        return row, columns.ravel(), source.ravel(), weight

    def matrix(self, coefficients: Vector) -> Matrix:
        """The matrix `(n, n_reach)` of a drift with these coefficients `(d, n_p)`."""
        values = self._values @ coefficients.ravel()
        return sparse.csr_array((values, self._columns, self._starts), shape=self._shape)


class Closure(Protocol):
    """What stands for the monomials above the order."""

    @property
    def reach(self) -> bool:
        """Whether it needs them at all."""
        ...

    def matrix(self, t: float) -> Vector | Matrix:
        """C(t), `(n_out, n)`."""
        ...


@dataclass(frozen=True)
class Drop:
    """The monomials above the order are taken for 0."""

    reach: bool = False

    def matrix(self, t: float) -> Vector | Matrix:
        """There is none."""
        raise NotImplementedError("nothing above the order is kept: `reach` says not to ask")


@dataclass(frozen=True)
class DropHermite:
    """The Hermite polynomials above the order are taken for 0.

    With T = [[T_in, 0], [P, Q]] that is  y_out = -Q^{-1} P y.
    """

    dim: int
    order: int
    degree: int
    reach: bool = True

    @cached_property
    def _matrix(self) -> Matrix:
        change = Monomials(self.dim, self.order + self.degree - 1).hermite()
        n = n_monomials(self.dim, self.order)
        below, above = change[n:, :n], change[n:, n:]
        return -sparse.csr_array(spsolve_triangular(above, below.toarray(), lower=True))

    def matrix(self, t: float) -> Vector | Matrix:
        """See `Closure`."""
        return self._matrix


@dataclass(frozen=True)
class LeastSquares:
    """The monomials above the order are what regression on those below makes of them.

    Args:
        nodes: Times of the samples, increasing, `(L,)`.
        values: C at the nodes, `(L, n_out, n)`; straight lines between them.
    """

    nodes: Vector
    values: Vector
    reach: bool = True

    def matrix(self, t: float) -> Vector | Matrix:
        """See `Closure`."""
        if len(self.nodes) == 1:
            return self.values[0]
        i = int(np.clip(np.searchsorted(self.nodes, t) - 1, 0, len(self.nodes) - 2))
        share = np.clip((t - self.nodes[i]) / (self.nodes[i + 1] - self.nodes[i]), 0, 1)
        return (1 - share) * self.values[i] + share * self.values[i + 1]


def dropping(drift: Coefficients, order: int, basis: str) -> Closure:
    """The closure that drops the polynomials of a basis above the order."""
    if basis == "hermite" and drift.degree > 1:
        return DropHermite(drift.dim, order, drift.degree)
    return Drop()


def fit_closure(
    nodes: Vector,
    samples: Callable[[float], Vector],
    dim: int,
    order: int,
    degree: int,
    memory_limit: int = CLOSURE_LIMIT,
) -> LeastSquares:
    """The least-squares closure of samples of a flow.

    Args:
        nodes: Times, increasing, `(L,)`.
        samples: Points `(M, d)` at a time.
        dim: Number of variables, d.
        order: N.
        degree: Of the drift, p.
        memory_limit: Bytes that the matrices may take.

    Raises:
        HQDMError: If they would take more.
    """
    outer, inner = Monomials(dim, order + degree - 1), Monomials(dim, order)
    needed = len(nodes) * (len(outer) - len(inner)) * len(inner) * 8
    if needed > memory_limit:
        raise HQDMError(
            f"a least-squares closure of dimension {dim}, order {order} and degree {degree} needs "
            f"{needed:,} bytes, the limit is {memory_limit:,}: lower the order, or drop what is "
            "above it"
        )
    change = orthonormal_hermite(inner)
    n = len(inner)
    values = []
    for t in nodes:
        lifted = outer.lift(samples(float(t)))
        features = (change @ lifted[:, :n].T).T
        gram = features.T @ features / len(lifted)
        gram[np.diag_indices_from(gram)] += RIDGE
        weights = cho_solve(cho_factor(gram), features.T @ lifted[:, n:] / len(lifted))
        values.append(weights.T @ change)
    return LeastSquares(np.asarray(nodes), np.stack(values))


class CarlemanSystem:
    """The linear equation dy/dt = A(t) y of the lift of a polynomial equation.

    Args:
        drift: dx/dt.
        order: N, 1 or more.
        basis: "monomial" or "hermite".
        closure: What stands for what lies above the order; None drops it in the basis.
        memory_limit: Bytes that the matrix may take to build.

    Attributes:
        monomials: Those up to the order.

    Raises:
        HQDMError: If the basis is unknown, the order below 1, or the memory too small.
    """

    def __init__(
        self,
        drift: Coefficients,
        order: int,
        basis: Literal["monomial", "hermite"] = "monomial",
        closure: Closure | None = None,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        if basis not in BASES:
            raise unknown("basis", basis, BASES)
        self.drift, self.order, self.basis = drift, order, basis
        self.closure = closure or dropping(drift, order, basis)
        reach = order + drift.degree - 1 if self.closure.reach else order
        self._structure = Structure(drift.dim, drift.degree, order, reach, memory_limit)
        self.monomials = self._structure.rows

    def __len__(self) -> int:
        """The dimension of the lift, C(d + N, N)."""
        return len(self.monomials)

    def with_drift(self, drift: Coefficients) -> "CarlemanSystem":
        """The system of another drift of the same dimension and degree."""
        other = copy(self)
        other.drift = drift
        return other

    @cached_property
    def _change(self) -> tuple[Matrix, Matrix]:
        """T and its inverse."""
        change = self.monomials.hermite()
        inverse = spsolve_triangular(change, np.eye(len(self)), lower=True, unit_diagonal=True)
        return change, sparse.csr_array(inverse)

    def matrix(self, t: float) -> Matrix:
        """A(t), `(n, n)`."""
        whole = self._structure.matrix(self.drift.coefficients(t))
        n = len(self)
        matrix = whole[:, :n]
        if self.closure.reach:
            matrix = matrix + sparse.csr_array(whole[:, n:] @ self.closure.matrix(t))
        if self.basis == "hermite":
            change, inverse = self._change
            matrix = change @ matrix @ inverse
        return sparse.csr_array(matrix)

    def lift(self, x: Vector) -> Vector:
        """The lift y of points `(B, d)`: `(B, n)`."""
        y = self.monomials.lift(x)
        return y @ self._change[0].T if self.basis == "hermite" else y

    def project(self, y: Vector) -> Vector:
        """The points x of lifts `(..., n)`: `(..., d)`; the same in both bases, as He_1(x) = x."""
        return y[..., self.monomials.linear]

    def projection(self) -> Vector:
        """The matrix `(n, d)` with x = y @ projection."""
        return np.eye(len(self))[:, self.monomials.linear]
