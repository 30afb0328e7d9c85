r"""Carleman linearisation: a polynomial equation as a linear equation in the monomials of x.

With dx_i/dt = sum_beta F_{i beta} x^beta, |beta| <= p, the monomials obey

    d x^gamma / dt = sum_i gamma_i sum_beta F_{i beta} x^{gamma - e_i + beta},

whose right-hand side has degree up to N + p - 1 for |gamma| <= N. With y the monomials of degree up
to N and y_out those of higher degree, dy/dt = A_in y + A_out y_out. A closure y_out = C y gives

    dy/dt = (A_in + A_out C) y:

* drop           C = 0;
* drop in the Hermite basis: the Hermite polynomials above degree N are set to zero instead of the
                 monomials, so that C y is the projection of y_out on the polynomials of degree N
                 or less under N(0, I);
* least squares  C(t) minimises mean |y_out - C y|^2 over samples of the flow at t.

In the Hermite basis y = T m(x), and the matrix is T (A_in + A_out C) T^{-1}. With weights D, a
positive diagonal matrix, y becomes D y and the matrix D A D^{-1}: x is the same, but the norms and
the condition numbers on which quantum algorithms depend are not.
"""

from collections.abc import Callable, Sequence
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
from hqdm.carleman.magnus import Matrix, Vector, check_norm
from hqdm.carleman.monomials import Monomials, n_monomials, orthonormal_hermite
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError, unknown

Array: TypeAlias = NDArray[Any]

BASES = ("monomial", "hermite")
MEMORY_LIMIT = 4 * 2**30
CLOSURE_LIMIT = 2**30
MAX_ORDER = 10_000
BYTES_PER_ENTRY = 80  # of the structure during construction: indices, weights, sorting
BYTES_PER_EXPONENT = 40  # of the rows: those of the monomials and of products, and their sums
RIDGE = 1e-8  # of the least-squares closure, relative to the mean square of a feature


def structure_bytes(dim: int, degree: int, order: int, reach: int) -> int:
    """Estimate of the bytes that building a `Structure` with the same arguments takes."""
    sizes = [comb(dim + k - 1, k) for k in range(max(order, reach) + 1)]
    rows, columns = sizes[: order + 1], sizes[: reach + 1]
    entries = n_monomials(dim, degree) * sum(size * min(k, dim) for k, size in enumerate(rows))
    lists = 8 * sum(size * k for part in (rows, columns) for k, size in enumerate(part))
    return entries * BYTES_PER_ENTRY + lists + sum(rows) * dim * BYTES_PER_EXPONENT


def check_order(order: int) -> None:
    """Refuse a truncation order that is not in [1, `MAX_ORDER`].

    Raises:
        HQDMError: If it is not.
    """
    if order < 1:
        raise HQDMError(f"a Carleman truncation needs order 1 or more, got {order}")
    whole("the order of a Carleman truncation", order, 1, MAX_ORDER)


class Structure:
    """The sparsity structure of a Carleman matrix, as a linear map from the drift's coefficients.

    Args:
        dim: Number of variables, d.
        degree: Degree p of the drift.
        order: Highest degree N of the monomials that have rows.
        reach: Highest degree of the monomials that have columns, up to N + p - 1; terms of higher
            degree are omitted.
        memory_limit: Memory limit in bytes.

    Raises:
        HQDMError: If the order is not in [1, `MAX_ORDER`], or construction would exceed the memory
            limit.
    """

    def __init__(
        self, dim: int, degree: int, order: int, reach: int, memory_limit: int = MEMORY_LIMIT
    ) -> None:
        check_order(order)
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
        """Rows, columns, indices into the flattened coefficients and weights gamma_i, in parts."""
        gamma, betas = self.rows.exponents, self.drift.exponents
        parts: list[tuple[Array, ...]] = []
        for variable in range(self.rows.dim):
            rows = np.flatnonzero(gamma[:, variable])
            weights = gamma[rows, variable].astype(np.float64)
            rest = gamma[rows]
            rest[:, variable] -= 1
            for source, beta in enumerate(betas, start=variable * len(betas)):
                # rows are sorted by degree, so that those within the reach come first
                most = self.columns.order - beta.sum() + 1
                n = int(np.searchsorted(rows, n_monomials(self.rows.dim, max(most, 0))))
                columns = self.columns.indices(rest[:n] + beta)
                parts.append((rows[:n], columns, np.full(n, source), weights[:n]))
        return parts

    def matrix(self, coefficients: Vector) -> Matrix:
        """The matrix `(n, n_reach)` of a drift with these coefficients `(d, n_p)`."""
        values = self._values @ coefficients.ravel()
        return sparse.csr_array((values, self._columns, self._starts), shape=self._shape)


class Closure(Protocol):
    """A linear approximation of the monomials above the order by those up to the order."""

    @property
    def reach(self) -> bool:
        """True if the closure needs the columns of the monomials above the order."""
        ...

    def matrix(self, t: float) -> Vector | Matrix:
        """C(t), `(n_out, n)`."""
        ...


@dataclass(frozen=True)
class Drop:
    """The closure that sets the monomials above the order to zero."""

    reach: bool = False

    def matrix(self, t: float) -> Vector | Matrix:
        """Not defined: C = 0 is not stored."""
        raise NotImplementedError("this closure has no matrix, since its `reach` is False")


@dataclass(frozen=True)
class DropHermite:
    """The closure that sets the Hermite polynomials above the order to zero.

    With T = [[T_in, 0], [P, Q]] it is  y_out = -Q^{-1} P y.
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
    """The closure that predicts the monomials above the order by linear regression.

    Args:
        nodes: Times of the samples, increasing, `(L,)`.
        values: C at the nodes, `(L, n_out, n)`, interpolated linearly in between.
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
    """The closure that drops the basis polynomials above the order."""
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
    """Fit the least-squares closure to samples of a flow.

    Args:
        nodes: Times, increasing, `(L,)`.
        samples: Function from a time to points `(M, d)` of the flow.
        dim: Number of variables, d.
        order: Truncation order N.
        degree: Degree p of the drift.
        memory_limit: Memory limit of the matrices in bytes.

    Raises:
        HQDMError: If the order is not in [1, `MAX_ORDER`], the matrices would exceed the memory
            limit, or their entries are too large for double precision.
    """
    check_order(order)
    outer, inner = Monomials(dim, order + degree - 1), Monomials(dim, order)
    needed = len(nodes) * (len(outer) - len(inner)) * len(inner) * 8
    if needed > memory_limit:
        raise HQDMError(
            f"a least-squares closure of dimension {dim}, order {order} and degree {degree} needs "
            f"{needed:,} bytes, the limit is {memory_limit:,}: lower the order, or drop the "
            "monomials above it"
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
        check_norm(f"the least-squares closure of order {order}", values[-1])
    return LeastSquares(np.asarray(nodes), np.stack(values))


def degree_weights(monomials: Monomials, factors: Sequence[float] | Vector) -> Vector:
    """The weights `(n,)` of monomials, one factor for each degree 0, ..., N."""
    return np.asarray(factors, dtype=np.float64)[monomials.exponents.sum(axis=1)]


def check_weights(weights: Vector, size: int) -> Vector:
    """Refuse weights that are not `size` positive, finite numbers.

    Raises:
        HQDMError: If they are not.
    """
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (size,) or not (np.isfinite(weights) & (weights > 0)).all():
        raise HQDMError(
            f"a lifted basis of {size} polynomials needs {size} positive, finite weights, got "
            f"shape {weights.shape}: give one per polynomial, or `degree_weights`"
        )
    return weights


def reweighted(matrix: Matrix, weights: Vector) -> Matrix:
    """D A D^{-1} with the weights on the diagonal of D."""
    rows = np.repeat(weights, np.diff(matrix.indptr))
    data = matrix.data * rows / weights[matrix.indices]
    return sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


class CarlemanSystem:
    """The linear equation dy/dt = A(t) y of the lift of a polynomial equation.

    Args:
        drift: The right-hand side dx/dt.
        order: Truncation order N, 1 or more.
        basis: "monomial" or "hermite".
        closure: Closure for the monomials above the order; by default they are dropped in the
            basis.
        memory_limit: Memory limit in bytes of the construction of the matrix.
        weights: Positive weights D of the basis polynomials, `(n,)`; ones by default. See
            `degree_weights` for weights by degree.

    Attributes:
        monomials: The monomials up to the order.

    Raises:
        HQDMError: If the basis is unknown, the order is below 1, the memory limit is exceeded, or
            the weights are not `n` positive, finite numbers.
    """

    def __init__(
        self,
        drift: Coefficients,
        order: int,
        basis: Literal["monomial", "hermite"] = "monomial",
        closure: Closure | None = None,
        memory_limit: int = MEMORY_LIMIT,
        weights: Vector | None = None,
    ) -> None:
        if basis not in BASES:
            raise unknown("basis", basis, BASES)
        self.drift, self.order, self.basis = drift, order, basis
        self.closure = closure or dropping(drift, order, basis)
        reach = order + drift.degree - 1 if self.closure.reach else order
        self._structure = Structure(drift.dim, drift.degree, order, reach, memory_limit)
        self.monomials = self._structure.rows
        self.weights = np.ones(len(self)) if weights is None else check_weights(weights, len(self))

    def __len__(self) -> int:
        """The dimension of the lift, C(d + N, N)."""
        return len(self.monomials)

    def with_drift(self, drift: Coefficients) -> "CarlemanSystem":
        """The system for another drift of the same dimension and degree."""
        other = copy(self)
        other.drift = drift
        return other

    def with_weights(self, weights: Vector) -> "CarlemanSystem":
        """The system with other weights of its basis, `(n,)`.

        Raises:
            HQDMError: If they are not `n` positive, finite numbers.
        """
        other = copy(self)
        other.weights = check_weights(weights, len(self))
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
        return reweighted(sparse.csr_array(matrix), self.weights)

    def lift(self, x: Vector) -> Vector:
        """The lift y of points `(B, d)`: `(B, n)`."""
        y = self.monomials.lift(x)
        return self.weights * (y @ self._change[0].T if self.basis == "hermite" else y)

    def project(self, y: Vector) -> Vector:
        """The points x `(..., d)` of lifts `(..., n)`, equal in both bases since He_1(x) = x."""
        linear = self.monomials.linear
        return y[..., linear] / self.weights[linear]

    def projection(self) -> Vector:
        """The matrix `(n, d)` with x = y @ projection."""
        return np.diag(1 / self.weights)[:, self.monomials.linear]
