"""Query counts by hand, at the values that their papers print, and against one another."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from hqdm.carleman.costs.queries import (
    MEASURED,
    SOLVERS,
    discrete_adiabatic,
    marching_queries,
    randomised_adiabatic,
    shortcut,
    solver_queries,
)
from hqdm.utils.errors import HQDMError


def test_the_shortcut_by_hand():
    assert shortcut(100.0, math.exp(-10)) == pytest.approx(5600 + 1050)
    assert solver_queries("shortcut", 100.0, math.exp(-10)) == 6650


def test_a_known_norm_takes_kappa_log_of_the_error():
    expected = 1e3 * math.log(2 * math.sqrt(2) / 1e-6)
    assert solver_queries("reflection", 1e3, 1e-6) == pytest.approx(expected, rel=1e-3)


def test_the_randomised_algorithm_by_hand():
    # kappa = (e^5 - 3) / 2, so that s = 5; eps = e^-4
    kappa, eps = (math.exp(5) - 3) / 2, math.exp(-4)
    steps = (1.064 + 0.16 / kappa ** (1 / 3)) * math.pi * 5 + 1
    first = 3.482 * math.e * math.hypot(kappa, 1) * steps
    second = 7.02 * 25 * (math.log(451 * 25) + 4 + 1)
    third = kappa * (math.log(32) + 4)
    expected = (first + second + third) / (0.39 - 0.201 * eps)
    assert randomised_adiabatic(kappa, eps) == pytest.approx(expected, rel=1e-12)
    # outside the range of the theorem, the ends of the range
    assert randomised_adiabatic(1.5, 0.9) == randomised_adiabatic(math.sqrt(12), 0.24)


@pytest.mark.parametrize("constant", [MEASURED, 50.0, 2305.0])
def test_no_other_number_of_steps_takes_fewer_queries(constant):
    kappa, eps = 200.0, 1e-4
    errors = np.linspace(0.05, 1.2, 400)
    totals = constant * kappa / errors + kappa * math.log(2 / eps)
    best = (totals / (1 - errors**2 / 2) ** 2).min()
    assert discrete_adiabatic(kappa, eps, constant) == pytest.approx(best, rel=1e-4)
    assert discrete_adiabatic(kappa, eps, constant) <= best


@settings(deadline=None, max_examples=40)
@given(kappa=st.floats(30, 1e5), digits=st.floats(1, 12))
def test_more_recent_bounds_are_lower(kappa, digits):
    eps = 10.0**-digits
    queries = [
        solver_queries(name, kappa, eps)
        for name in ("reflection", "shortcut", "randomised adiabatic", "discrete adiabatic")
    ]
    assert queries == sorted(queries)
    assert queries[0] < solver_queries("discrete adiabatic, measured", kappa, eps) < queries[1]


@pytest.mark.parametrize("name", [name for name in SOLVERS if name != "randomised adiabatic"])
def test_queries_are_linear_in_kappa_and_in_the_logarithm_of_eps(name):
    kappas, digits = np.array([1e2, 1e3, 1e4]), np.array([3, 6, 9, 12])
    queries = [solver_queries(name, kappa, 1e-4) for kappa in kappas]
    assert np.polyfit(np.log(kappas), np.log(queries), 1)[0] == pytest.approx(1, abs=0.01)
    queries = [SOLVERS[name](1e3, 10.0**-d) for d in digits]
    # the optimal number of adiabatic steps depends on eps a little
    differences = np.diff(queries)
    np.testing.assert_allclose(differences, differences[0], rtol=0.06)
    assert differences[0] >= 0.95e3 * 3 * math.log(10)


def test_the_randomised_algorithm_has_a_further_logarithm():
    kappas = np.array([1e6, 1e8, 1e10])
    queries = np.array([randomised_adiabatic(kappa, 0.1) for kappa in kappas])
    growth = queries / (kappas * np.log(2 * kappas + 3))
    np.testing.assert_allclose(growth, growth[-1], rtol=0.1)


def test_time_marching_takes_a_taylor_series_per_use():
    queries, kept = marching_queries(3.5, 1e-3)
    uses = math.e * 4 * math.log(math.e * 4 / 1e-3)
    terms = queries / (4 * uses)

    # 4 short evolutions of norm 0.875; the lowest order with an error of all of them below eps
    def tail(order):
        generator = np.array([[0.0, 0.875], [-0.875, 0.0]])
        powers = [np.eye(2)]
        for j in range(1, order + 1):
            powers.append(powers[-1] @ generator / j)
        return 4 * np.linalg.norm(expm(generator) - sum(powers), 2)

    order = round(terms)
    assert terms == pytest.approx(order, abs=0.01)
    assert tail(order) <= 1e-3 < tail(order - 2)  # the bound may ask for an order more
    assert kept == (1 - 1 / 4) ** 4
    assert marching_queries(0.1, 0.5)[1] == 0.25


def test_time_marching_is_quadratic_in_time():
    norms = np.array([100.0, 1000, 10_000])
    queries = [marching_queries(norm, 1e-3)[0] for norm in norms]
    # T^2 times powers of log(T / eps)
    slope = np.polyfit(np.log(norms), np.log(queries), 1)[0]
    assert 2 < slope < 2.3
    assert marching_queries(1e4, 1e-3)[1] == pytest.approx(math.exp(-1), rel=1e-3)


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("hhl", 10.0, 0.1), "unknown linear-system solver 'hhl'"),
        (("shortcut", 1.0, 0.1), "finite kappa above 1 and eps in .0, 1., got 1 and 0.1"),
        (("shortcut", 10.0, 1.0), "got 10 and 1"),
    ],
)
def test_bad_input_is_refused(args, line):
    with pytest.raises(HQDMError, match=line):
        solver_queries(*args)
