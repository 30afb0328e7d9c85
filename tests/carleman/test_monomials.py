"""Monomials against products of powers, and Hermite polynomials against numpy's."""

import pickle
from math import comb, factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import hermite_e

from hqdm.carleman.monomials import Monomials, orthonormal_hermite
from hqdm.utils.errors import HQDMError

sizes = st.tuples(st.integers(1, 5), st.integers(0, 4))


def points(dim, n=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim))


@settings(deadline=None, max_examples=30)
@given(sizes)
def test_every_monomial_occurs_once(size):
    monomials = Monomials(*size)
    exponents = monomials.exponents
    assert len(exponents) == len(monomials) == comb(sum(size), size[1])
    assert len({tuple(row) for row in exponents.tolist()}) == len(monomials)
    assert (np.diff(exponents.sum(axis=1)) >= 0).all()


@settings(deadline=None, max_examples=30)
@given(sizes)
def test_lift_is_the_product_of_powers(size):
    monomials, x = Monomials(*size), points(size[0])
    expected = np.prod(x[:, None] ** monomials.exponents, axis=2)
    np.testing.assert_allclose(monomials.lift(x), expected, rtol=1e-13)


@settings(deadline=None, max_examples=30)
@given(sizes)
def test_indices_of_exponents(size):
    monomials = Monomials(*size)
    np.testing.assert_array_equal(monomials.indices(monomials.exponents), np.arange(len(monomials)))
    assert monomials.indices(monomials.exponents[None, :1]).shape == (1, 1)


def test_order_by_hand():
    expected = [[0, 0], [1, 0], [0, 1], [2, 0], [1, 1], [0, 2]]
    assert Monomials(2, 2).exponents.tolist() == expected


def test_indices_of_many_variables_are_exact():
    # 64 variables, degree 4: the last of all, and x_2^4, counted by hand: before it are those of
    # lower degree, and those of degree 4 that begin with x_1, C(66, 3) of them.
    monomials = Monomials(64, 4)
    fourth = 4 * np.eye(64, dtype=np.int64)
    assert monomials.indices(fourth[63]) == comb(68, 4) - 1
    assert monomials.indices(fourth[1]) == comb(67, 3) + comb(66, 3)


def test_linear_part_is_x():
    x = points(3)
    np.testing.assert_array_equal(Monomials(3, 2).lift(x)[:, Monomials(3, 2).linear], x)


@settings(deadline=None, max_examples=20)
@given(sizes)
def test_hermite_polynomials(size):
    monomials, x = Monomials(*size), points(size[0])
    values = monomials.lift(x) @ monomials.hermite().toarray().T
    ones = np.eye(size[1] + 1)
    expected = np.ones_like(values)
    for place, gamma in enumerate(monomials.exponents):
        for variable, power in enumerate(gamma):
            expected[:, place] *= hermite_e.hermeval(x[:, variable], ones[power])
    np.testing.assert_allclose(values, expected, rtol=1e-10, atol=1e-10)


def test_hermite_change_is_unit_lower_triangular():
    change = Monomials(3, 4).hermite().toarray()
    np.testing.assert_array_equal(np.diag(change), 1)
    np.testing.assert_array_equal(np.triu(change, 1), 0)


def test_hermite_polynomials_of_high_degree():
    """Coefficients in closed form: (-1)^k n! / (2^k k! (n - 2 k)!), exact in Python's integers."""
    n, m = 37, 23
    monomials = Monomials(2, n + m)
    row = monomials.hermite()[[int(monomials.indices(np.array([n, m])))]].toarray()[0]

    def closed(n, k):
        return (-1) ** k * factorial(n) // (2**k * factorial(k) * factorial(n - 2 * k))

    expected = np.zeros(len(monomials))
    for j in range(n // 2 + 1):
        for k in range(m // 2 + 1):
            place = monomials.indices(np.array([n - 2 * j, m - 2 * k]))
            expected[place] = closed(n, j) * closed(m, k)
    # the recurrence subtracts numbers of opposite signs only, so that no digits cancel
    np.testing.assert_allclose(row, expected, rtol=1e-13)


def test_monomials_pickle():
    monomials = pickle.loads(pickle.dumps(Monomials(2, 3)))
    np.testing.assert_array_equal(monomials.exponents, Monomials(2, 3).exponents)


@pytest.mark.parametrize("size", [(0, 2), (2, -1)])
def test_bad_sizes_are_refused(size):
    with pytest.raises(HQDMError, match="1 variable or more"):
        Monomials(*size)


def test_orthonormal_hermite_is_orthonormal():
    # Gauss-Hermite quadrature with 8 points a variable is exact up to degree 15.
    z, w = np.polynomial.hermite_e.hermegauss(8)
    x = np.stack(np.meshgrid(z, z), axis=-1).reshape(-1, 2)
    weights = np.outer(w, w).ravel() / (2 * np.pi)
    values = Monomials(2, 3).lift(x) @ orthonormal_hermite(Monomials(2, 3)).T
    np.testing.assert_allclose(values.T * weights @ values, np.eye(10), atol=1e-12)
