"""Phases of quantum signal processing, by multiplying the matrices out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import chebyshev
from scipy.optimize import approx_fprime

from hqdm.carleman.qlss.phases import MAX_DEGREE, symmetric_phases, value_and_jacobian
from hqdm.utils.errors import HQDMError


def product(phases, x):
    """<0| exp(i phi_0 Z) W(x) ... W(x) exp(i phi_d Z) |0>."""
    y = 1j * np.sqrt(1 - x**2)
    made = np.diag(np.exp(1j * phases[0] * np.array([1, -1])))
    for phase in phases[1:]:
        made = made @ [[x, y], [y, x]] @ np.diag(np.exp(1j * phase * np.array([1, -1])))
    return made[0, 0]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 30), st.floats(0.01, 0.99))
def test_the_imaginary_part_is_the_polynomial(seed, terms, top):
    coefficients = np.random.default_rng(seed).normal(size=terms)
    series = np.stack([np.zeros(terms), coefficients], axis=1).ravel()
    x = np.linspace(-1, 1, 41)
    largest = np.abs(chebyshev.chebval(np.linspace(-1, 1, 5001), series)).max()
    phases = symmetric_phases(top / largest * coefficients)
    np.testing.assert_allclose(
        [product(phases, at).imag for at in x],
        top / largest * chebyshev.chebval(x, series),
        atol=1e-10,
    )
    np.testing.assert_array_equal(phases, phases[::-1])


def test_derivatives_are_those_of_differences():
    half, angles = np.array([0.3, -0.2, 0.5]), np.array([0.2, 0.7, 1.1])

    def value(half):
        return value_and_jacobian(np.concatenate([half, half[::-1]]), angles)[0]

    jacobian = value_and_jacobian(np.concatenate([half, half[::-1]]), angles)[1]
    np.testing.assert_allclose(jacobian, approx_fprime(half, value), atol=1e-6)


def test_a_polynomial_above_one_has_no_phases():
    with pytest.raises(HQDMError, match="no phases found for a polynomial of degree 5"):
        symmetric_phases(np.array([0.9, 0.4, 0.6]))


def test_a_degree_beyond_the_limit_is_refused():
    with pytest.raises(HQDMError, match="up to degree 3,000, got 3,001: raise eps"):
        symmetric_phases(np.zeros(MAX_DEGREE // 2 + 1))
