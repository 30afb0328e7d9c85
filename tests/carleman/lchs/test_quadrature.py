"""The kernels of LCHS against the scalar identity, their integrals and their bounds."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ellipk, exp1

from hqdm.carleman.lchs.quadrature import (
    Cauchy,
    NearOptimal,
    mass,
    quadrature,
    sizes,
    spacing_error,
)
from hqdm.utils.errors import HQDMError

KERNELS = (Cauchy(), NearOptimal(0.5), NearOptimal(0.75), NearOptimal(0.9))


def combined(rule, x):
    """sum_j c_j exp(-i k_j x), over nodes of both signs."""
    waves = np.exp(-1j * np.outer(np.atleast_1d(x), rule.nodes))
    return waves @ rule.coefficients + waves.conj() @ rule.coefficients.conj()


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
def test_the_sum_is_a_decaying_exponential_within_its_bounds(kernel, tolerance):
    x = np.linspace(0, 5, 101)
    rule = quadrature(kernel, x.max(), tolerance)
    error = np.abs(combined(rule, x) - np.exp(-x)).max()
    bound = rule.truncation_error + rule.spacing_error
    assert error <= bound <= tolerance
    assert rule.one_norm >= 1 - tolerance  # of x = 0, where the sum is that of the coefficients


@settings(deadline=None, max_examples=25)
@given(
    beta=st.floats(0.4, 0.9),
    tolerance=st.floats(1e-9, 0.1),
    extent=st.floats(0, 20),
    where=st.floats(0, 1),
)
def test_near_optimal_sums_meet_any_tolerance(beta, tolerance, extent, where):
    rule = quadrature(NearOptimal(beta), extent, tolerance)
    x = where * extent
    # rounding: thousands of terms of size 1e-1 and less, in all below 3
    assert abs(combined(rule, x)[0] - np.exp(-x)) <= tolerance + 1e-13


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_the_kernel_has_integral_one(kernel):
    # f and g are complex: the imaginary parts of k and -k cancel
    value = 2 * quad(lambda u: np.exp(u) * kernel(np.exp(u)).real, -30, 30, limit=500)[0]
    assert value == pytest.approx(1, abs=1e-7)  # g is of order one: exp(-30) is left out below


@pytest.mark.parametrize("height", [-0.9, 0.0, 0.5])
def test_the_mass_of_the_cauchy_kernel_is_an_elliptic_integral(height):
    """1 / |1 + (k + i a)^2| = 1 / sqrt((k^2 + (1 - a)^2) (k^2 + (1 + a)^2)), over pi."""
    small, large = 1 - abs(height), 1 + abs(height)
    expected = 2 / np.pi * ellipk(1 - (small / large) ** 2) / large
    # Tails of 1e-8 are left out.
    assert mass(Cauchy(), height) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("height", [-0.9, 0.0, 0.9])
def test_the_mass_of_the_near_optimal_kernel_is_its_integral(height):
    """Over an angle, k = tan(u), of the absolute value written out."""

    def density(u):
        k = np.tan(u)
        z = 1 + 1j * (k + 1j * height)
        weight = np.exp(2**0.75 - (z**0.75).real) / (2 * np.pi * abs(2 - z))
        return weight / np.cos(u) ** 2

    edges = np.arctan([0, 0.1, 1, 10, 100, 1000])
    expected = 2 * sum(quad(density, a, b)[0] for a, b in pairwise(edges))
    # exp(-0.38 * 1000^0.75) is left out, and 1e-8 by the rule.
    assert mass(NearOptimal(0.75), height) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kernel", [Cauchy(), NearOptimal(0.75)], ids=str)
def test_the_strip_needs_few_more_nodes_than_the_best_one(kernel):
    """Any half width below 1 gives a bound; the best one depends on extent and tolerance."""

    def spacing(extent, tolerance, a):
        masses = mass(kernel, -a) + mass(kernel, a) * np.exp(a * extent)
        return 2 * np.pi * a / np.log(1 + masses / (tolerance / 2))

    for extent, tolerance in ((0.5, 1e-3), (2.0, 1e-6), (10.0, 1e-8)):
        found, _ = sizes(kernel, extent, tolerance)
        assert found == pytest.approx(spacing(extent, tolerance, 0.9), rel=1e-9)
        best = max(spacing(extent, tolerance, a) for a in np.linspace(0.3, 0.99, 24))
        assert found > 0.9 * best


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_a_growing_exponential_is_not_represented(kernel):
    rule = quadrature(kernel, 1.0, 1e-3)
    assert abs(combined(rule, -1.0)[0] - np.exp(1)) > 1


def test_the_kernels_are_those_of_the_papers():
    k, beta = 1.7, 0.6
    weight = 2 * np.pi * np.exp(-(2**beta)) * np.exp((1 + 1j * k) ** beta)
    assert NearOptimal(beta)(k) == pytest.approx(1 / weight / (1 - 1j * k), rel=1e-14)
    assert Cauchy()(k) == pytest.approx(1 / np.pi / (1 + k**2), rel=1e-14)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("cutoff", [3.0, 30.0])
def test_truncation_bounds_the_tails(kernel, cutoff):
    top = np.log(kernel.cutoff(1e-9))
    tail = 2 * quad(lambda u: np.exp(u) * abs(kernel(np.exp(u))), np.log(cutoff), top)[0]
    # near-optimal tails are at most a few times below their bound, and Cauchy's is exact
    assert tail <= kernel.truncation(cutoff) * (1 + 1e-7) <= 4 * tail
    assert kernel.cutoff(kernel.truncation(cutoff)) == pytest.approx(cutoff, rel=1e-9)


@pytest.mark.parametrize(("kernel", "x"), [(NearOptimal(0.75), 1.0), (Cauchy(), 3.0)])
def test_the_spacing_error_falls_geometrically_and_stays_below_its_bound(kernel, x):
    # beyond 1e5 lies 1e-40 of the one, and of the other, whose waves cancel there, 1e-11
    spacings = np.array([0.9, 0.7, 0.55, 0.45])
    errors = []
    for h in spacings:
        k = h * np.arange(0.5, 1e5 / h)
        errors.append(abs(2 * (h * kernel(k) @ np.exp(-1j * k * x)).real - np.exp(-x)))
        assert errors[-1] <= spacing_error(kernel, h, x)
    # poles and branch points lie at |Im k| = 1: exp(-2 pi / h), but for a power of h
    slope = np.polyfit(2 * np.pi / spacings, np.log(errors), 1)[0]
    assert slope == pytest.approx(-1, abs=0.03)


def test_cutoffs_scale_with_the_tolerance_as_in_the_papers():
    tolerances = 10.0 ** -np.arange(3, 13)
    simple = [Cauchy().cutoff(eps) for eps in tolerances]
    slope = np.polyfit(np.log(1 / tolerances), np.log(simple), 1)[0]
    assert slope == pytest.approx(1, abs=1e-4)
    for beta in (0.5, 0.75, 0.9):
        kernel = NearOptimal(beta)
        cutoffs = np.array([kernel.cutoff(eps) for eps in tolerances])
        # K^beta is linear in log(1 / eps), but for a logarithm of it, with the slope 1 / cos
        slope = np.polyfit(np.log(1 / tolerances), cutoffs**beta, 1)[0]
        assert slope == pytest.approx(1 / np.cos(np.pi * beta / 2), rel=0.07)
    assert NearOptimal(0.75).cutoff(1e-8) < 1e-5 * Cauchy().cutoff(1e-8)


def test_the_near_optimal_bound_is_an_exponential_integral():
    beta, cutoff = 0.5, 9.0
    expected = np.exp(np.sqrt(2)) / (np.pi / 2) * exp1(np.sqrt(0.5) * 3)
    assert NearOptimal(beta).truncation(cutoff) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("beta", [0, 1, -0.5, float("nan")])
def test_beta_out_of_range_is_refused(beta):
    with pytest.raises(HQDMError, match="0 < beta < 1, got"):
        NearOptimal(beta)


def test_too_many_unitaries_are_refused():
    with pytest.raises(HQDMError, match="[0-9]{3},... unitaries at the tolerance 1e-08"):
        quadrature(Cauchy(), 1.0, 1e-8)
