"""Linear differential equations against a stiff-safe integrator of scipy."""

import math

import numpy as np
import pytest
from scipy import sparse
from scipy.integrate import solve_ivp

from hqdm.carleman.magnus import Direct, amplified_runs, generators
from hqdm.utils.errors import HQDMError

STEPS = (4, 8, 16, 32)


def rotating(seed=0, n=4):
    """A matrix that does not commute with itself at other times."""
    fixed, moving = np.random.default_rng(seed).normal(size=(2, n, n))
    return lambda t: sparse.csr_array(fixed + np.sin(3 * t) * moving)


def reference(matrix, y0):
    result = solve_ivp(lambda t, y: matrix(t) @ y, (0, 1), y0, rtol=1e-12, atol=1e-13)
    return result.y[:, -1]


@pytest.mark.parametrize("order", [2, 4])
def test_magnus_integrators_reach_their_order(order):
    matrix, y0 = rotating(), np.ones(4)
    exact = reference(matrix, y0)
    errors = [
        np.abs(Direct().solve(generators(matrix, np.linspace(0, 1, n + 1), order), y0).y - exact)
        for n in STEPS
    ]
    slope = np.polyfit(np.log(STEPS), np.log([error.max() for error in errors]), 1)[0]
    assert -slope == pytest.approx(order, abs=0.2)


def test_a_constant_matrix_needs_one_step():
    matrix = rotating()(0.3)
    made = generators(lambda t: matrix, np.array([0.0, 1.0]), order=2)
    exact = reference(lambda t: matrix, np.ones(4))
    # the reference is good to 1e-11 or so: its tolerance times its hundreds of steps
    np.testing.assert_allclose(Direct().solve(made, np.ones(4)).y, exact, rtol=1e-9)


def test_several_initial_values_at_once_equal_each_alone():
    made = generators(rotating(), np.linspace(0, 1, 5))
    starts = np.random.default_rng(1).normal(size=(4, 3))
    together = Direct().solve(made, starts).y
    alone = [Direct().solve(made, start).y for start in starts.T]
    np.testing.assert_allclose(together, np.stack(alone, axis=1), rtol=1e-12, atol=1e-13)


def test_time_may_run_backwards():
    matrix, y0 = rotating(), np.arange(4.0)
    there = generators(matrix, np.linspace(0, 1, 65))
    back = generators(matrix, np.linspace(1, 0, 65))
    returned = Direct().solve(back, Direct().solve(there, y0).y).y
    np.testing.assert_allclose(returned, y0, atol=1e-10)


def test_amplitude_amplification():
    assert amplified_runs(1.0) == 1
    assert amplified_runs(0.0) == math.inf
    assert amplified_runs(0.25) == pytest.approx(3)  # one round makes it certain
    assert amplified_runs(0.9) == pytest.approx(1 / 0.9)
    for probability in (1e-4, 1e-8):
        expected = math.pi / 2 / math.sqrt(probability)
        assert amplified_runs(probability) == pytest.approx(expected, rel=0.05)


def test_bad_input_is_refused():
    with pytest.raises(HQDMError, match="order of a Magnus integrator '3'"):
        generators(rotating(), np.array([0.0, 1.0]), order=3)
    with pytest.raises(HQDMError, match="two times or more, got 1"):
        generators(rotating(), np.array([0.0]))


@pytest.mark.parametrize("entry", [1e16, np.inf, np.nan])
def test_a_generator_that_rounding_destroys_is_refused(entry):
    """Its action would take 1e16 products, and have no correct digit."""
    made = sparse.csr_array(np.array([[0.0, entry], [0.0, 0.0]]))
    with pytest.raises(HQDMError, match="no digit of the solution is correct"):
        Direct().solve([made], np.ones(2))
