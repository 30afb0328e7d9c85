r"""Monomials, the coordinates in which a polynomial equation becomes linear.

    y = (x^gamma : |gamma| <= N),    x^gamma = x_1^gamma_1 ... x_d^gamma_d,

each once: there are C(d + N, N) of them, fewer than the (d^(N+1) - 1) / (d - 1) entries of the
tensor powers (1, x, x (x) x, ...). They are ordered by degree. Within a degree, a monomial is the
sorted list of its variables, x_1 x_1 x_3 = (0, 0, 2), and lists are ordered lexicographically. The
position has a closed form. With s_i = gamma_{i+1} + ... + gamma_d, a monomial follows all of lower
degree, C(s_0 - 1 + d, d) of them, and for each i those with the same gamma_1, ..., gamma_{i-1} and
a larger gamma_i:

    index = sum_{i=0}^{d-1} C(s_i - 1 + d - i, d - i).

The probabilists' Hermite polynomials He_gamma(x) = prod_i He_{gamma_i}(x_i), orthogonal under
N(0, I), span the same space: He = T x^gamma with a unit lower triangular T.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import chain, combinations_with_replacement
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import gamma as gamma_function

from hqdm.carleman.magnus import Matrix, Vector
from hqdm.utils.errors import HQDMError

Integers = NDArray[np.int64]


def n_monomials(dim: int, order: int) -> int:
    """C(d + N, N), the number of monomials of d variables up to degree N."""
    return comb(dim + order, order)


@dataclass(frozen=True)
class Monomials:
    """The monomials of d variables up to degree N.

    Args:
        dim: Number of variables d, 1 or more.
        order: Highest degree N, 0 or more.

    Raises:
        HQDMError: If either is out of range.
    """

    dim: int
    order: int

    def __post_init__(self) -> None:
        """Check the sizes."""
        if self.dim < 1 or self.order < 0:
            raise HQDMError(
                "monomials need 1 variable or more and a degree of 0 or more, "
                f"got {self.dim} and {self.order}"
            )

    def __len__(self) -> int:
        """C(d + N, N)."""
        return n_monomials(self.dim, self.order)

    def start(self, degree: int) -> int:
        """The index of the first monomial of a degree."""
        return n_monomials(self.dim, degree - 1) if degree else 0

    @cached_property
    def variables(self) -> tuple[Integers, ...]:
        """The sorted lists of variables, `(n_k, k)` for each degree k = 0, ..., N."""
        found = []
        for k in range(self.order + 1):
            count = comb(self.dim + k - 1, k)
            lists = combinations_with_replacement(range(self.dim), k)
            flat = np.fromiter(chain.from_iterable(lists), np.int64, count * k)
            found.append(flat.reshape(count, k))
        return tuple(found)

    @cached_property
    def exponents(self) -> Integers:
        """The exponents gamma of every monomial, `(n, d)`."""
        counts = [
            (lists[:, :, None] == np.arange(self.dim)).sum(axis=1) for lists in self.variables
        ]
        return np.concatenate(counts)

    @cached_property
    def _counts(self) -> Integers:
        """The binomials of the closed form by s_i and i, `(N + 1, d)`."""
        left = range(self.dim, 0, -1)
        return np.array(
            [[comb(s - 1 + k, k) for k in left] for s in range(self.order + 1)], dtype=np.int64
        )

    def indices(self, exponents: Integers) -> Integers:
        """The indices of monomials given as exponents `(..., d)`, `(...)`."""
        sums = exponents[..., ::-1].cumsum(axis=-1)[..., ::-1]
        found: Integers = self._counts[sums, np.arange(self.dim)].sum(axis=-1)
        return found

    @cached_property
    def _parents(self) -> tuple[tuple[Integers, Integers], ...]:
        """Per degree from 1: indices of the monomials without the last variable, and the latter."""
        found = []
        for degree, lists in enumerate(self.variables[1:], start=1):
            last = lists[:, -1]
            without = self.exponents[self.start(degree) : self.start(degree + 1)].copy()
            without[np.arange(len(last)), last] -= 1
            found.append((self.indices(without), last))
        return tuple(found)

    def lift(self, x: Vector) -> Vector:
        """Evaluate the monomials at points, by one multiplication per monomial.

        Args:
            x: Points `(B, d)`.

        Returns:
            The monomials `(B, n)`.
        """
        x = np.asarray(x, dtype=np.float64)
        y = np.empty((len(self), len(x)))
        y[0] = 1
        for degree, (parents, last) in enumerate(self._parents, start=1):
            begin = self.start(degree)
            np.multiply(y[parents], x.T[last], out=y[begin : begin + len(parents)])
        return y.T

    @property
    def linear(self) -> slice:
        """The indices of x itself among the monomials."""
        return slice(1, self.dim + 1)

    def hermite(self) -> Matrix:
        """T `(n, n)`, the coefficients of the Hermite polynomials in the monomials."""
        one = _hermite_coefficients(self.order)
        rows, terms = np.arange(len(self)), self.exponents
        values = np.ones(len(rows))
        for variable in range(self.dim):
            powers = terms[:, variable]
            counts = powers // 2 + 1  # He_k has the powers k, k - 2, ..., down to 1 or 0
            below = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
            powers = np.repeat(powers, counts)
            rows, values = np.repeat(rows, counts), np.repeat(values, counts)
            terms = np.repeat(terms, counts, axis=0)
            terms[:, variable] = powers - 2 * below
            values *= one[powers, terms[:, variable]]
        entries = values, (rows, self.indices(terms))
        return sparse.csr_array(entries, shape=(len(self), len(self)))


def _hermite_coefficients(order: int) -> Vector:
    """The coefficients of He_k in row k, by He_{k+1} = x He_k - k He_{k-1}."""
    rows = np.zeros((order + 1, order + 1))
    rows[0, 0] = 1
    for k in range(order):
        rows[k + 1, 1:] = rows[k, :-1]
        if k:
            rows[k + 1] -= k * rows[k - 1]
    return rows


def orthonormal_hermite(monomials: Monomials) -> Matrix:
    """The coefficients of He_gamma / sqrt(gamma!) in the monomials, `(n, n)`."""
    norm = np.sqrt(np.prod(gamma_function(monomials.exponents + 1.0), axis=1))
    return sparse.csr_array(sparse.diags_array(1 / norm) @ monomials.hermite())
