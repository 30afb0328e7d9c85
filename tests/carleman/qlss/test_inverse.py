"""Inverse polynomials against exact coefficients, 1 / x and the singular value decomposition."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from hqdm.carleman.qlss.inverse import (
    POLYNOMIALS,
    InversePolynomial,
    cks_coefficients,
    cks_power,
    inverse_polynomial,
    needed_degree,
)
from hqdm.utils.errors import HQDMError

both = pytest.mark.parametrize("kind", POLYNOMIALS)


def with_singular_values(values, seed=0):
    """A matrix of these singular values, and its decomposition."""
    rng = np.random.default_rng(seed)
    W, V = (np.linalg.qr(rng.normal(size=(len(values),) * 2))[0] for _ in range(2))
    return (W * values) @ V.T, W, V


@pytest.mark.parametrize("b", [1, 2, 7, 40])
def test_coefficients_are_exact_binomial_sums(b):
    exact = [
        4 * (-1) ** j * Fraction(sum(comb(2 * b, b + i) for i in range(j + 1, b + 1)), 4**b)
        for j in range(b)
    ]
    np.testing.assert_allclose(cks_coefficients(b, b), [float(c) for c in exact], rtol=1e-13)


@pytest.mark.parametrize("b", [10**4, 10**6])
def test_coefficients_of_large_powers_are_binomial_tails(b):
    j = np.arange(0, 4000, 37)
    tails = binom.sf(b + j, 2 * b, 0.5)
    np.testing.assert_allclose(np.abs(cks_coefficients(b, 4000)[j]), 4 * tails, rtol=1e-9)


def test_all_terms_together_are_the_power_that_they_expand():
    # (1 - (1 - x^2)^b) / x with nothing cut
    x, b = np.linspace(0.05, 1, 50), 12
    g = InversePolynomial(cks_coefficients(b, b), kappa=2.0, bound=1.0)
    np.testing.assert_allclose(g(x), (1 - (1 - x**2) ** b) / x, rtol=1e-12)


@pytest.mark.parametrize(
    ("kappa", "eps", "power", "degree"),
    [
        # 100 log(200) = 529.8; sqrt(530 log(42400)) = 75.2
        (10, 0.1, 530, 2 * 76 + 1),
        # 2500 log(1e5) = 28782.3; sqrt(28783 log(230,264,000)) = 744.7
        (50, 1e-3, 28_783, 2 * 745 + 1),
    ],
)
def test_power_and_degree_are_those_of_the_paper(kappa, eps, power, degree):
    """b = kappa^2 log(2 kappa / eps), D = sqrt(b log(8 b / eps)), each rounded up."""
    assert cks_power(kappa, eps) == power
    assert needed_degree("cks", kappa, eps) == degree
    # By this power alone, g differs from 1 / x by (1 - x^2)^b / x: by eps / 2 at 1 / kappa.
    left = kappa * (1 - 1 / kappa**2) ** power
    assert 0.9 * eps / 2 < left < eps / 2


@both
@settings(deadline=None, max_examples=25)
@given(kappa=st.floats(1.1, 60), exponent=st.floats(0.5, 9))
def test_polynomials_are_odd_and_close_to_the_inverse(kind, kappa, exponent):
    eps = 10**-exponent
    g = inverse_polynomial(kind, kappa, eps)
    x = np.geomspace(1 / kappa, 1, 1000)
    # rounding: sums of some thousand terms of order one
    assert np.abs(x * g(x) - 1).max() <= g.bound + 1e-11
    assert g.bound <= eps * (1 + 1e-9)
    np.testing.assert_allclose(g(-x), -g(x), rtol=1e-12, atol=1e-9)
    assert g.degree == needed_degree(kind, kappa, eps)
    if kind == "cks":
        assert np.abs(g(x) - 1 / x).max() <= eps + 1e-11 * kappa


@both
def test_error_and_normalisation_are_measured(kind):
    g = inverse_polynomial(kind, 12.0, 1e-3)
    x = np.linspace(0, 1, 200_001)
    values = g(x)
    near = x >= 1 / 12
    assert g.error == pytest.approx(np.abs(x * values - 1)[near].max(), rel=1e-3)
    # the bound is at most 1 / cos(pi / 32) = 1.005 times the maximum at the nodes
    assert np.abs(values).max() <= g.normalisation <= 1.005 * np.abs(values).max()


def test_minimax_error_alternates_at_its_bound():
    g = inverse_polynomial("minimax", 6.0, 1e-3)
    x = np.linspace(1 / 6, 1, 100_001)
    error = x * g(x) - 1
    turns = error[1:-1][(np.diff(error)[1:] * np.diff(error)[:-1]) < 0]
    peaks = np.concatenate([error[:1], turns, error[-1:]])
    # of n + 1 free numbers: n + 1 points where it attains its bound with alternating signs
    assert len(peaks) == (g.degree + 1) // 2 + 1
    np.testing.assert_allclose(np.abs(peaks), g.bound, rtol=1e-5)
    assert (peaks[1:] * peaks[:-1] < 0).all()


@both
def test_a_stated_degree_is_kept_and_its_error_bounded(kind):
    for degree in (1, 9, 41):
        g = inverse_polynomial(kind, 4.0, 1e-6, degree=degree)
        x = np.linspace(1 / 4, 1, 1001)
        assert g.degree == degree
        assert np.abs(x * g(x) - 1).max() <= g.bound + 1e-12


@both
def test_whole_numbers_of_any_kind_are_condition_numbers(kind):
    expected = inverse_polynomial(kind, 4.0, 1e-3).coefficients
    for kappa in (4, np.int64(4), np.float32(4)):
        found = inverse_polynomial(kind, kappa, 1e-3).coefficients
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_high_degree_does_not_overflow():
    g = inverse_polynomial("minimax", 2.0, 1e-3, degree=2001)
    x = np.linspace(0.5, 1, 101)
    np.testing.assert_allclose(x * g(x), 1, rtol=1e-10)


def slope(x, y):
    return np.polyfit(x, y, 1)[0]


def test_degrees_scale_as_in_the_theory():
    kappas, logs = np.array([10, 30, 100, 300, 1000]), np.arange(2, 11) * np.log(10)
    degrees = [needed_degree("minimax", kappa, 1e-4) for kappa in kappas]
    assert slope(np.log(kappas), np.log(degrees)) == pytest.approx(1, abs=0.01)
    degrees = [needed_degree("minimax", 100, np.exp(-log)) for log in logs]
    assert slope(logs, degrees) == pytest.approx(100, rel=0.01)  # kappa log(2 / eps)
    degrees = np.array([needed_degree("cks", kappa, 1e-4) for kappa in kappas])
    # 2 kappa sqrt(log(2 kappa / eps) log(8 b / eps)), b of order kappa^2: kappa log(kappa / eps)
    assert slope(np.log(kappas), np.log(degrees / np.log(kappas / 1e-4))) == pytest.approx(
        1, abs=0.05
    )
    degrees = [needed_degree("cks", 100, np.exp(-log)) for log in logs]
    assert slope(np.log(logs + np.log(100)), np.log(degrees)) == pytest.approx(1, abs=0.2)


@both
def test_products_apply_the_polynomial_to_singular_values(kind):
    values = np.array([1.0, 0.8, 0.31, 0.2])
    matrix, W, V = with_singular_values(values)
    b = np.array([1.0, -2.0, 0.5, 3.0])
    g = inverse_polynomial(kind, 5.0, 1e-6)
    np.testing.assert_allclose(g.apply(matrix, b), V @ (g(values) * (W.T @ b)), rtol=1e-11)
    np.testing.assert_allclose(g.apply(matrix, b), np.linalg.solve(matrix, b), rtol=3e-6)


class Counting:
    """A matrix that counts its products and those of its transpose."""

    def __init__(self, matrix, counts):
        self.matrix, self.counts = matrix, counts

    @property
    def T(self):
        return Counting(self.matrix.T, self.counts)

    def __matmul__(self, vector):
        self.counts.append(1)
        return self.matrix @ vector


def test_the_degree_is_the_number_of_products():
    counts = []
    g = inverse_polynomial("minimax", 5.0, 1e-3)
    g.apply(Counting(np.eye(2) / 2, counts), np.ones(2))
    assert len(counts) == g.degree


def test_bad_input_is_refused():
    with pytest.raises(
        HQDMError, match="unknown inverse polynomial 'minmax'.*did you mean 'minimax'"
    ):
        inverse_polynomial("minmax", 2.0, 0.1)
    for kappa, eps in ((1.0, 0.1), (np.inf, 0.1), (2.0, 0.0), (2.0, 1.0)):
        with pytest.raises(HQDMError, match="kappa above 1 and eps in"):
            inverse_polynomial("cks", kappa, eps)
    for degree in (0, 4):
        with pytest.raises(HQDMError, match=f"odd degree of 1 or more, got {degree}"):
            inverse_polynomial("cks", 2.0, 0.1, degree=degree)
