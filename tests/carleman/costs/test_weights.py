"""Weights of the lifted basis: by hand, against search on a grid, and in all solvers."""

import numpy as np
import pytest
from scipy import sparse

from hqdm.carleman.costs.weights import optimal_weights, weighted_cost
from hqdm.carleman.drift import FixedDrift
from hqdm.carleman.lchs.solver import LCHS
from hqdm.carleman.linearization import CarlemanSystem, degree_weights
from hqdm.carleman.magnus import Direct, generators
from hqdm.carleman.qlss.solver import QLSS

# damped, with a constant and a quadratic part
DRIFT = FixedDrift(np.array([[0.2, -1.0, 0.3, 0.4, 0.1, 0.0], [0.1, 0.0, -0.8, 0.0, 0.3, 0.5]]), 2)
X0 = np.array([[0.7, -0.5]])


def lifted(weights=None):
    system = CarlemanSystem(DRIFT, 3, weights=weights)
    made = generators(system.matrix, np.linspace(0, 0.6, 3))
    return system, made, system.lift(X0)[0]


def test_the_cost_by_hand():
    """dx/dt = a - x and the constant 1: weighted, [[0, 0], [a w / c, -1]]."""
    generator = sparse.csr_array([[0.0, 0.0], [0.3, -1.0]])
    y0, c, w = np.array([1.0, 2.0]), 0.5, 0.8
    y = np.array([1.0, 0.3 + 1.7 * np.exp(-1)])
    off = 0.3 * w / c
    # eigenvalues of the symmetric part [[0, off / 2], [off / 2, -1]]
    high, low = (np.array([1, -1]) * np.sqrt(1 + off**2) - 1) / 2
    time = 10 * (high - low) + off / 2
    start, end = np.hypot(c, 2 * w), np.hypot(c, y[1] * w)
    expected = time * np.exp(high) * start / end / (y[1] * w / end) ** 2
    found = weighted_cost([generator], y0, y, slice(1, 2), np.array([c, w]))
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
def test_no_weights_on_a_grid_are_cheaper():
    system, made, y0 = lifted()
    best = optimal_weights(made, y0, system.monomials)
    y = Direct().solve(made, y0).y

    def cost(weights):
        return weighted_cost(made, y0, y, system.monomials.linear, weights)

    grid = np.geomspace(0.05, 2, 5)
    factors = [(c, 1.0, w, v) for c in grid for w in grid for v in grid]
    costs = [cost(degree_weights(system.monomials, f)) for f in factors]
    # the search ends at a gradient of 0.02: a few thousandths above the minimum
    assert cost(best) <= 1.005 * min(costs)
    assert cost(best) < 0.5 * cost(np.ones(len(system)))


def test_all_solvers_find_the_same_x_for_less():
    system, made, y0 = lifted()
    weights = optimal_weights(made, y0, system.monomials)
    scaled, scaled_made, scaled_y0 = lifted(weights)
    exact = system.project(Direct().solve(made, y0).y)
    np.testing.assert_allclose(
        scaled.project(Direct().solve(scaled_made, scaled_y0).y), exact, rtol=1e-13
    )
    share = []
    for basis, args in ((system, (made, y0)), (scaled, (scaled_made, scaled_y0))):
        y = Direct().solve(*args).y
        share.append((np.linalg.norm(y[basis.monomials.linear]) / np.linalg.norm(y)) ** 2)
        for backend in (QLSS(eps=1e-6), LCHS(tolerance=1e-6)):
            found = basis.project(backend.solve(*args).y)
            # the tolerance, relative to |y_0| or to the history; x is more than a tenth of y
            np.testing.assert_allclose(found, exact, atol=1e-5)
    before, after = (LCHS().solve(*args).account for args in ((made, y0), (scaled_made, scaled_y0)))
    assert share[1] > 3 * share[0]
    reading = [a.evolution / np.sqrt(a.success_probability) for a in (before, after)]
    assert reading[1] / share[1] < 0.5 * reading[0] / share[0]
