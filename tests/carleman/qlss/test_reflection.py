"""The kernel reflection against its definition by dense matrices, and against a direct solution."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from hqdm.carleman.magnus import Direct
from hqdm.carleman.qlss.reflection import reflection
from hqdm.carleman.qlss.solver import QLSS
from hqdm.utils.errors import HQDMError


def problem(n=6, kappa=20.0, seed=0):
    """B with singular values from 1 / kappa to 1, b of norm 1, and x."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(2))
    B = (left * np.geomspace(1 / kappa, 1, n)) @ right
    b = rng.normal(size=n)
    b /= np.linalg.norm(b)
    return B, b, np.linalg.solve(B, b)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 9),
    kappa=st.floats(1.5, 200),
    digits=st.floats(0.5, 9),
    seed=st.integers(0, 1000),
)
def test_the_error_is_at_most_eps(n, kappa, digits, seed):
    B, b, x = problem(n, kappa, seed)
    eps = 10.0**-digits
    made = reflection(kappa, float(np.linalg.norm(x)), eps)
    found = made.apply(sparse.csr_array(B), b)
    assert np.linalg.norm(found - x) <= (made.bound + 1e-10) * np.linalg.norm(x)
    assert made.bound <= eps
    # kappa log(2 sqrt 2 / eps) of theorem 1; atanh(1 / kappa) is above 1 / kappa
    assert made.degree <= kappa * math.log(2 * math.sqrt(2) / eps) + 2
    # the success probability: close to 1
    amplitudes = found / made.normalisation
    assert (1 - eps) ** 4 - 1e-9 <= amplitudes @ amplitudes <= 1 + 1e-9


def test_products_are_the_polynomial_of_the_singular_values():
    B, b, x = problem()
    t = np.linalg.norm(x)
    made = reflection(20.0, float(t), 1e-2)
    right = np.append(b, 1) / np.sqrt(2)
    G = (np.eye(7) - np.outer(right, right)) @ np.block(
        [[B, np.zeros((6, 1))], [np.zeros((1, 6)), 1 / t]]
    )
    _, S, Vt = np.linalg.svd(G)
    assert S[-1] < 1e-14
    assert S[-2] >= 1 / 20 * (1 - 1e-12)
    z = (1 + 20.0**-2 - 2 * S**2) / (1 - 20.0**-2)
    with np.errstate(invalid="ignore"):
        F = np.where(z > 1, np.cosh(made.terms * np.arccosh(z)), np.cos(made.terms * np.arccos(z)))
    F = F / np.cosh(made.terms * np.arccosh((1 + 20.0**-2) / (1 - 20.0**-2)))
    assert np.abs(F[:-1]).max() <= made.remainder * (1 + 1e-9)
    e = np.eye(7)[-1]
    expected = (2 * Vt.T @ (F * (Vt @ e)) - e)[:-1] * t
    np.testing.assert_allclose(made.apply(sparse.csr_array(B), b), expected, rtol=1e-10)


def test_one_term_less_misses_eps():
    for eps in (1e-1, 1e-4):
        made = reflection(50.0, 1.0, eps)
        less = reflection(50.0, 1.0, eps, made.degree - 2)
        assert made.bound <= eps < less.bound
        assert less.terms == made.terms - 1


def test_queries_grow_as_the_theorem_says():
    kappas, digits = np.array([50.0, 100, 200, 400]), np.arange(2, 9)
    degrees = [reflection(kappa, 1.0, 1e-3).degree for kappa in kappas]
    assert np.polyfit(np.log(kappas), np.log(degrees), 1)[0] == pytest.approx(1, abs=0.01)
    degrees = [reflection(100.0, 1.0, 10.0**-d).degree for d in digits]
    assert np.polyfit(digits * math.log(10), degrees, 1)[0] == pytest.approx(100, rel=0.02)


def test_an_evolution_succeeds_far_more_often_than_by_an_inverse_polynomial():
    made = [sparse.csr_array([[-0.3, 0.5], [-0.5, -0.1]])] * 3
    y0 = np.array([1.0, 0.5])
    exact = Direct().solve(made, y0).y
    solutions = [
        QLSS(eps=1e-5, polynomial=kind).solve(made, y0) for kind in ("minimax", "reflection")
    ]
    minimax, reflected = (solution.account.inversion for solution in solutions)
    for solution in solutions:
        np.testing.assert_allclose(solution.y, exact, rtol=1e-4)
    assert reflected.history_error <= 1e-5
    assert reflected.inverse_probability == pytest.approx(1, abs=1e-4)
    assert minimax.inverse_probability < 0.1
    assert reflected.final_probability == pytest.approx(minimax.final_probability, rel=1e-3)
    assert reflected.queries == pytest.approx(minimax.queries, rel=0.1)


def test_a_circuit_of_a_reflection_is_refused():
    with pytest.raises(HQDMError, match='no circuit: use mode="emulate" or the minimax polynomial'):
        QLSS("circuit", polynomial="reflection")
