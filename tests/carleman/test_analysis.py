"""Error bounds and their hypotheses, and quantities with closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import foldnorm

from hqdm.carleman.analysis import (
    energy_distance,
    integrate,
    liu_bound,
    log_norm,
    matrix_facts,
    quadratic_parts,
    r_number,
    relative_errors,
    shot_error,
    spectral_abscissa,
)
from hqdm.carleman.drift import FixedDrift
from hqdm.carleman.linearization import CarlemanSystem
from hqdm.carleman.magnus import Direct, generators
from hqdm.utils.errors import HQDMError

LOGISTIC = FixedDrift(np.array([[0.0, -1.0, 0.5]]), 2)


def quadratic(seed, scale=0.3):
    """A dissipative quadratic drift in two variables with a normal linear part."""
    rng = np.random.default_rng(seed)
    matrix = np.zeros((2, 6))
    decay, turn = rng.uniform(0.5, 2), rng.normal()
    matrix[:, 1:3] = [[-decay, turn], [-turn, -decay]]
    matrix[:, 3:] = scale * rng.normal(size=(2, 3))
    return FixedDrift(matrix, 2)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 999), st.integers(1, 6), st.floats(0.1, 3.0))
def test_error_never_exceeds_the_bound(seed, order, t):
    drift = quadratic(seed)
    x0 = np.random.default_rng(seed + 1).normal(size=2) * 0.5
    try:
        bound = liu_bound(drift, x0, order, t)
    except HQDMError:
        return  # outside the hypotheses: another test
    system = CarlemanSystem(drift, order)
    made = generators(system.matrix, np.array([0, t]), 2)
    found = system.project(Direct().solve(made, system.lift(x0[None])[0]).y)
    exact = integrate(drift, x0[None], 0, t)[0]
    assert np.linalg.norm(found - exact) <= bound + 1e-8  # the direct integration's tolerance


def test_bound_is_sharp_in_its_rate_for_the_logistic_equation():
    # Its series has the ratio x0 / 2 (1 - e^-t) = R (1 - e^-t), so that only a factor remains.
    x0, t = np.array([0.4]), 1.0
    exact = 2 / (1 + (2 / 0.4 - 1) * np.exp(t))
    for order in (2, 5, 8):
        system = CarlemanSystem(LOGISTIC, order)
        made = generators(system.matrix, np.array([0, t]), 2)
        error = abs(Direct().solve(made, system.lift(x0[None])[0]).y[1] - exact)
        assert 0.3 < error / liu_bound(LOGISTIC, x0, order, t) <= 1


def test_outside_the_region_truncation_diverges_and_no_bound_is_given():
    # The series has the ratio |x0| / 2 (1 - e^-t) = 1.3, the solution itself a limit.
    x0, t = np.array([-3.0]), 2.0
    exact = integrate(LOGISTIC, x0[None], 0, t)[0, 0]
    assert exact == pytest.approx(2 / (1 + (2 / x0[0] - 1) * np.exp(t)), rel=1e-8)
    errors = []
    for order in (2, 5, 8):
        system = CarlemanSystem(LOGISTIC, order)
        made = generators(system.matrix, np.array([0, t]), 2)
        errors.append(abs(Direct().solve(made, system.lift(x0[None])[0]).y[1] - exact))
        with pytest.raises(HQDMError, match="needs R < 1, got 1.5"):
            liu_bound(LOGISTIC, x0, order, t)
    assert errors[0] < errors[1] < errors[2]


def constant_part():
    matrix = quadratic(0).matrix.copy()
    matrix[0, 0] = 0.1
    return FixedDrift(matrix, 2)


def not_normal():
    matrix = quadratic(0).matrix.copy()
    matrix[0, 2] += 1.0
    return FixedDrift(matrix, 2)


class Moving:
    dim, degree = 1, 2

    def coefficients(self, t):
        return np.array([[0.0, -1.0, t]])


@pytest.mark.parametrize(
    ("drift", "x0", "said"),
    [
        (Moving(), [0.1], "independent of time"),
        (FixedDrift(np.array([[0.0, -1.0]]), 1), [0.1], "degree 2, got 1"),
        (constant_part(), [0.1, 0.1], "without constant part"),
        (not_normal(), [0.1, 0.1], "normal linear part"),
        (FixedDrift(np.array([[0.0, 1.0, 0.5]]), 2), [0.1], "real part 1"),
    ],
)
def test_no_bound_outside_its_hypotheses(drift, x0, said):
    with pytest.raises(HQDMError, match=said):
        liu_bound(drift, np.array(x0), 3, 1.0)


def test_r_number_by_hand():
    # F_0 = 0.3, F_1 = -2, F_2 = 0.5 at x0 = 0.4: (0.2 + 0.75) / 2
    drift = FixedDrift(np.array([[0.3, -2.0, 0.5]]), 2)
    assert r_number(drift, np.array([0.4])) == pytest.approx(0.475)
    with pytest.raises(HQDMError, match="other than 0"):
        r_number(drift, np.array([0.0]))
    with pytest.raises(HQDMError, match="degree 2 or less, got 3"):
        r_number(FixedDrift(np.zeros((1, 4)), 3), np.array([1.0]))


def test_norm_of_the_quadratic_part_is_the_largest_value_on_symmetric_pairs():
    # |F_2 z| over symmetric z of norm 1, found by the singular values of the full (d, d^2) matrix.
    drift = quadratic(3)
    full = np.zeros((2, 2, 2))
    for k, (i, j) in enumerate([(0, 0), (0, 1), (1, 1)]):
        full[:, i, j] += drift.matrix[:, 3 + k] / 2
        full[:, j, i] += drift.matrix[:, 3 + k] / 2
    expected = np.linalg.svd(full.reshape(2, 4))[1][0]
    assert quadratic_parts(drift).f2 == pytest.approx(expected)


def test_spectrum_of_a_carleman_matrix_is_that_of_sums_of_eigenvalues():
    # Triangular blocks without constant part: eigenvalues of degree k are sums of k of F_1's.
    drift = quadratic(5)
    matrix = CarlemanSystem(drift, 3).matrix(0.0)
    assert spectral_abscissa(matrix) == pytest.approx(0, abs=1e-12)  # the constant monomial
    decay = quadratic_parts(drift).decay
    inner = sparse.csr_array(matrix[1:, 1:])
    assert spectral_abscissa(inner) == pytest.approx(-decay)


def test_large_matrices_agree_with_small_ones():
    diagonal = -np.arange(1.0, 2001.0)
    matrix = sparse.csr_array(sparse.diags_array(diagonal) + sparse.eye_array(2000, k=1))
    assert spectral_abscissa(matrix) == pytest.approx(-1, abs=1e-6)
    # the top of the tridiagonal's symmetric part is decided by its first rows
    small = np.diag(diagonal[:60]) + (np.eye(60, k=1) + np.eye(60, k=-1)) / 2
    assert log_norm(matrix) == pytest.approx(np.linalg.eigvalsh(small).max(), abs=1e-6)


def test_log_norm_bounds_growth():
    matrix = np.array([[-1.0, 4.0], [0.0, -1.0]])
    assert log_norm(sparse.csr_array(matrix)) == pytest.approx(1)  # -1 + 4 / 2
    facts = matrix_facts(sparse.csr_array(matrix))
    assert (facts.size, facts.entries, facts.norm_1) == (2, 3, 5)
    assert facts.abscissa == pytest.approx(-1)


def test_integration_of_a_known_solution():
    x0 = np.array([[0.4], [1.5]])
    exact = 2 / (1 + (2 / x0 - 1) * np.exp(2.0))
    np.testing.assert_allclose(integrate(LOGISTIC, x0, 0, 2.0), exact, rtol=1e-8)


def test_divergence_is_reported():
    with pytest.raises(HQDMError, match="itself diverges"):
        integrate(FixedDrift(np.array([[0.0, 0.0, 1.0]]), 2), np.array([[1.0]]), 0, 2.0)


def test_energy_distance_of_points():
    # Two points each, by hand: 2 * mean(|0-1|, |0-3|, |2-1|, |2-3|) - 2 - 2
    x, y = np.array([[0.0], [2.0]]), np.array([[1.0], [3.0]])
    assert energy_distance(x, y) == pytest.approx(2 * 1.5 - 2 - 2)


def test_energy_distance_of_normal_samples():
    # X ~ N(0, 1), Y ~ N(1, 1): E|X - Y| of N(1, 2) against that of N(0, 2), closed forms.
    x, y = np.random.default_rng(0).normal(size=(2, 2000, 1)) + np.array([0, 1])[:, None, None]
    scale = np.sqrt(2)
    expected = 2 * foldnorm.mean(1 / scale, scale=scale) - 2 * foldnorm.mean(0, scale=scale)
    assert energy_distance(x, y) == pytest.approx(expected, abs=0.06)
    assert abs(energy_distance(x[:1000], x[1000:])) < 0.02


def test_shot_error_falls_with_the_root_of_shots():
    vector = np.random.default_rng(0).normal(size=16)
    shots = np.array([10**3, 10**4, 10**5, 10**6])
    errors = [np.mean([shot_error(vector, n, seed) for seed in range(20)]) for n in shots]
    slope = np.polyfit(np.log(shots), np.log(errors), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.08)


def test_relative_errors():
    exact = np.array([[3.0, 4.0], [0.0, 2.0]])
    np.testing.assert_allclose(relative_errors(exact + np.array([[0, 1], [0, 0]]), exact), [0.2, 0])
