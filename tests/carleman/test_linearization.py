"""Carleman systems by hand, against the chain rule, and against equations with known solutions."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from hqdm.carleman.analysis import liu_bound
from hqdm.carleman.drift import FixedDrift, evaluate
from hqdm.carleman.linearization import (
    CarlemanSystem,
    DropHermite,
    LeastSquares,
    Structure,
    degree_weights,
    fit_closure,
    structure_bytes,
)
from hqdm.carleman.magnus import Direct, generators
from hqdm.carleman.monomials import Monomials
from hqdm.surrogate.noise_polynomial import DiffusionDrift, levels
from hqdm.utils.errors import HQDMError

LOGISTIC = FixedDrift(np.array([[0.0, -1.0, 0.5]]), 2)  # dx/dt = -x + x^2 / 2


def logistic(x0, t):
    """The solution of LOGISTIC, a Bernoulli equation."""
    return 2 / (1 + (2 / x0 - 1) * np.exp(t))


def coefficients(dim, degree, seed=0):
    shape = dim, len(Monomials(dim, degree))
    return np.random.default_rng(seed).normal(size=shape)


def flow(system, x0, time, steps=1):
    made = generators(system.matrix, np.linspace(0, time, steps + 1))
    return system.project(Direct().solve(made, system.lift(x0[None])[0]).y)


def test_matrix_of_the_logistic_equation_by_hand():
    # d x^k / dt = k x^{k-1} (-x + x^2 / 2) = -k x^k + k / 2 x^{k+1}
    expected = [[0, 0, 0, 0], [0, -1, 0.5, 0], [0, 0, -2, 1], [0, 0, 0, -3]]
    np.testing.assert_array_equal(CarlemanSystem(LOGISTIC, 3).matrix(0.0).toarray(), expected)


def test_matrix_of_two_variables_by_hand():
    # dx/dt = 2 + y, dy/dt = 3 x^2: in (1, x, y, x^2, xy, y^2)
    drift = FixedDrift(np.array([[2.0, 0, 1, 0, 0, 0], [0, 0, 0, 3, 0, 0]]), 2)
    expected = [
        [0, 0, 0, 0, 0, 0],
        [2, 0, 1, 0, 0, 0],
        [0, 0, 0, 3, 0, 0],
        [0, 4, 0, 0, 2, 0],  # 2 x (2 + y)
        [0, 0, 2, 0, 0, 1],  # y (2 + y) + x 3 x^2, the cube dropped
        [0, 0, 0, 0, 0, 0],  # 2 y 3 x^2, dropped
    ]
    np.testing.assert_array_equal(CarlemanSystem(drift, 2).matrix(0.0).toarray(), expected)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.integers(0, 99))
def test_matrix_is_the_chain_rule(dim, degree, order, seed):
    # Exact: the directional derivative of monomials, written with their exponents.
    structure = Structure(dim, degree, order, order + degree - 1)
    drift = coefficients(dim, degree, seed)
    x = np.random.default_rng(seed).normal(size=(3, dim))
    velocity = Monomials(dim, degree).lift(x) @ drift.T
    gamma = Monomials(dim, order).exponents
    expected = np.zeros((len(x), len(gamma)))
    for i in range(dim):
        less = gamma.copy()
        less[:, i] = np.maximum(less[:, i] - 1, 0)
        slope = gamma[:, i] * np.prod(x[:, None] ** less, axis=2)
        expected += slope * velocity[:, i : i + 1]
    found = Monomials(dim, order + degree - 1).lift(x) @ structure.matrix(drift).toarray().T
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_matrix_of_a_high_order():
    """The logistic equation by hand, as above."""
    k = np.arange(401.0)
    expected = np.diag(-k) + np.diag(k[:-1] / 2, 1)
    np.testing.assert_array_equal(CarlemanSystem(LOGISTIC, 400).matrix(0.0).toarray(), expected)


def test_truncation_keeps_the_monomials_up_to_the_order():
    drift = coefficients(3, 3)
    wide, narrow = (Structure(3, 3, 4, reach).matrix(drift).toarray() for reach in (6, 4))
    np.testing.assert_array_equal(wide[:, : narrow.shape[1]], narrow)


def test_linear_drift_is_solved_exactly_at_any_order():
    matrix = np.array([[0.3, -0.4, 1.0], [-0.2, 0.2, -0.5]])
    drift, x0 = FixedDrift(matrix, 1), np.array([0.5, -1.0])
    exact = solve_ivp(lambda t, x: matrix @ [1, *x], (0, 1), x0, rtol=1e-12, atol=1e-13).y[:, -1]
    for order in (1, 2, 3):
        for basis in ("monomial", "hermite"):
            found = flow(CarlemanSystem(drift, order, basis), x0, 1.0)
            np.testing.assert_allclose(found, exact, rtol=1e-10)


def test_error_falls_with_the_order_at_the_predicted_rate():
    # x(t) is a power series in x0 whose term of degree k falls like (x0 (1 - e^-t) / 2)^k.
    x0, orders = 0.4, np.arange(2, 9)
    errors = [
        abs(flow(CarlemanSystem(LOGISTIC, int(n)), np.array([x0]), 1.0)[0] - logistic(x0, 1.0))
        for n in orders
    ]
    rate = np.exp(np.polyfit(orders, np.log(errors), 1)[0])
    assert rate == pytest.approx(x0 / 2 * (1 - np.exp(-1)), rel=0.01)


def test_quadratic_system_of_two_variables_converges_within_the_bound():
    # dx/dt = -x + (c . x) x keeps its direction: x(t) = x0 e^-t / (1 - c . x0 (1 - e^-t)).
    c, x0, t = np.array([0.8, -0.6]), np.array([0.5, 0.1]), 1.5
    matrix = np.zeros((2, 6))
    matrix[:, 1:3] = -np.eye(2)
    matrix[0, [3, 4]], matrix[1, [4, 5]] = c, c
    drift = FixedDrift(matrix, 2)
    exact = x0 * np.exp(-t) / (1 + c @ x0 * np.expm1(-t))
    orders = np.arange(2, 9)
    errors = []
    for order in orders:
        error = np.linalg.norm(flow(CarlemanSystem(drift, int(order)), x0, t) - exact)
        assert error <= liu_bound(drift, x0, int(order), t)
        errors.append(error)
    rate = np.exp(np.polyfit(orders, np.log(errors), 1)[0])
    assert rate == pytest.approx(c @ x0 * -np.expm1(-t), rel=0.01)


class ExactGaussian:
    """The noise prediction of N(0, diag(v)), without a spline between nodes."""

    degree = 1

    def __init__(self, variances):
        self.variances, self.dim = variances, len(variances)

    def coefficients(self, t):
        alpha, sigma = levels(t)
        slopes = np.diag(sigma / (alpha**2 * self.variances + sigma**2))
        return np.concatenate([np.zeros((self.dim, 1)), slopes], axis=1)


def test_linear_case_is_the_gaussian_flow():
    # The Gauss error is T h^4 / 4,320 times a fourth derivative of order 1: 7 (7 / 1024)^4 / 4,320
    # is 4e-12
    variances, x0 = np.array([0.81, 0.3, 0.05]), np.array([1.0, -0.5, 2.0])
    system = CarlemanSystem(DiffusionDrift(ExactGaussian(variances)), 2)
    made = generators(system.matrix, np.linspace(-4, 3, 1025))
    found = system.project(Direct().solve(made, system.lift(x0[None])[0]).y)
    (a, s), (b, r) = levels(-4), levels(3)
    exact = x0 * np.sqrt((b**2 * variances + r**2) / (a**2 * variances + s**2))
    np.testing.assert_allclose(found, exact, rtol=1e-10)


def test_cubic_system_converges():
    # A damped rotation with cubic damping, r' = -r - r^3 / 2, angle' = 1: a Bernoulli equation.
    matrix = np.zeros((2, 10))
    matrix[0, [1, 2]], matrix[1, [1, 2]] = [-1, -1], [1, -1]
    matrix[0, [6, 8]], matrix[1, [7, 9]] = -0.5, -0.5
    drift, x0, t = FixedDrift(matrix, 3), np.array([0.5, 0.2]), 1.0
    square = x0 @ x0
    radius = np.sqrt(1 / ((1 / square + 0.5) * np.exp(2 * t) - 0.5))
    angle = np.arctan2(x0[1], x0[0]) + t
    exact = radius * np.array([np.cos(angle), np.sin(angle)])
    errors = [
        np.abs(flow(CarlemanSystem(drift, order), x0, t) - exact).max() for order in (1, 3, 5, 7)
    ]
    # two further orders give a factor of about r^2 / 2 (1 - e^-2t) = 0.125
    assert all(b < 0.2 * a for a, b in pairwise(errors))
    assert errors[-1] < 1e-4


def test_bases_are_equivalent_if_nothing_is_dropped():
    # With the same closure, the basis is a change of coordinates and no more.
    drift = FixedDrift(coefficients(2, 3) / 5, 3)
    x0 = np.array([0.3, -0.4])
    closure = DropHermite(2, 3, 3)
    monomial = flow(CarlemanSystem(drift, 3, "monomial", closure), x0, 0.5)
    hermite = flow(CarlemanSystem(drift, 3, "hermite"), x0, 0.5)
    np.testing.assert_allclose(monomial, hermite, rtol=1e-11)


def test_dropping_hermite_polynomials_is_a_projection_under_the_normal_distribution():
    # E[y_out He_gamma] = E[(C y) He_gamma] for every gamma inside; quadrature exact to degree 15.
    z, w = np.polynomial.hermite_e.hermegauss(8)
    x = np.stack(np.meshgrid(z, z), axis=-1).reshape(-1, 2)
    weights = np.outer(w, w).ravel() / (2 * np.pi)
    inner, outer = Monomials(2, 3), Monomials(2, 5)
    lifted = outer.lift(x)
    inside, outside = lifted[:, : len(inner)], lifted[:, len(inner) :]
    residual = outside - inside @ DropHermite(2, 3, 3).matrix(0.0).toarray().T
    tests = inside @ inner.hermite().toarray().T
    np.testing.assert_allclose(residual.T * weights @ tests, 0, atol=1e-9)


def test_least_squares_closure_is_exact_where_samples_allow_it():
    # Where x is -1, 0 or 1: x^3 = x and x^4 = x^2.
    points = np.array([[-1.0], [0.0], [1.0]])
    closure = fit_closure(np.array([0.0]), lambda t: points, dim=1, order=2, degree=3)
    expected = [[0, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(closure.matrix(0.0), expected, atol=1e-6)  # the ridge is 1e-8


def test_closure_interpolates_between_nodes():
    closure = LeastSquares(np.array([0.0, 1.0]), np.arange(8.0).reshape(2, 2, 2))
    np.testing.assert_allclose(closure.matrix(0.25), [[1, 2], [3, 4]])
    np.testing.assert_allclose(closure.matrix(7.0), [[4, 5], [6, 7]])


def test_least_squares_closure_improves_on_dropping():
    # Samples along the flow itself, from starts around 0.8: dropping x^3 costs more.
    starts = np.random.default_rng(0).normal(0.8, 0.05, size=(500, 1))
    nodes = np.linspace(0, 1, 9)
    closure = fit_closure(nodes, lambda t: logistic(starts, t), dim=1, order=2, degree=2)
    exact, x0 = logistic(0.8, 1.0), np.array([0.8])
    dropped = abs(flow(CarlemanSystem(LOGISTIC, 2), x0, 1.0, 8)[0] - exact)
    closed = abs(flow(CarlemanSystem(LOGISTIC, 2, closure=closure), x0, 1.0, 8)[0] - exact)
    assert closed < dropped / 20


def test_lift_and_project():
    x = np.random.default_rng(0).normal(size=(4, 2))
    for basis in ("monomial", "hermite"):
        system = CarlemanSystem(FixedDrift(coefficients(2, 2), 2), 3, basis)
        y = system.lift(x)
        assert y.shape == (4, len(system)) == (4, 10)
        np.testing.assert_allclose(system.project(y), x)
        np.testing.assert_allclose(y @ system.projection(), x)


@pytest.mark.parametrize("basis", ["monomial", "hermite"])
def test_weights_change_the_lift_and_not_the_flow(basis):
    drift, x0 = FixedDrift(coefficients(2, 3) / 5, 3), np.array([0.3, -0.4])
    plain = CarlemanSystem(drift, 3, basis)
    weights = degree_weights(plain.monomials, [0.3, 0.6, 0.5, 0.2])
    assert weights[[0, 1, 2, 3, 5, 6, 9]].tolist() == [0.3, 0.6, 0.6, 0.5, 0.5, 0.2, 0.2]
    for scaled in (CarlemanSystem(drift, 3, basis, weights=weights), plain.with_weights(weights)):
        np.testing.assert_allclose(scaled.lift(x0[None]), weights * plain.lift(x0[None]))
        change = np.diag(weights)
        expected = change @ plain.matrix(0.0).toarray() @ np.linalg.inv(change)
        np.testing.assert_allclose(scaled.matrix(0.0).toarray(), expected, rtol=1e-12, atol=1e-15)
        y = scaled.lift(x0[None])
        np.testing.assert_allclose(scaled.project(y)[0], x0, rtol=1e-15)
        np.testing.assert_allclose((y @ scaled.projection())[0], x0, rtol=1e-15)
        # rounding: about eps times the largest ratio of weights
        np.testing.assert_allclose(flow(scaled, x0, 0.5), flow(plain, x0, 0.5), rtol=1e-13)
    np.testing.assert_allclose(plain.weights, 1)  # the first system is not changed


def test_time_enters_through_the_coefficients():
    class Growing:
        dim, degree = 1, 1

        def coefficients(self, t):
            return np.array([[0.0, t]])

    system = CarlemanSystem(Growing(), 2)
    np.testing.assert_allclose(system.matrix(2.0).toarray(), np.diag([0, 2, 4]))
    x0 = np.array([0.5])
    assert flow(system, x0, 1.0)[0] == pytest.approx(0.5 * np.exp(0.5))


def test_estimate_of_memory_covers_what_is_built():
    structure = Structure(4, 3, 5, 7)
    values = structure._values
    held = values.data.nbytes + values.indices.nbytes + values.indptr.nbytes
    assert held < structure_bytes(4, 3, 5, 7) < 100 * held


def normal_points(t):
    return np.random.default_rng(0).normal(size=(200, 1))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: CarlemanSystem(LOGISTIC, 2, weights=np.array([1.0, 0.0, 1.0])),
            "a lifted basis of 3 polynomials needs 3 positive, finite weights, got shape .3,.",
        ),
        (
            lambda: CarlemanSystem(LOGISTIC, 2).with_weights(np.ones(2)),
            "needs 3 positive, finite weights, got shape .2,.",
        ),
        (lambda: CarlemanSystem(LOGISTIC, 0), "order 1 or more, got 0"),
        (lambda: CarlemanSystem(LOGISTIC, 2, "fourier"), "unknown basis 'fourier'"),
        (
            lambda: CarlemanSystem(FixedDrift(coefficients(64, 2), 2), 6),
            r"needs [\d,]+ bytes, the limit is 4,294,967,296: lower the order",
        ),
        (  # few entries, but lists of thousands of variables
            lambda: CarlemanSystem(FixedDrift(coefficients(2, 2), 2), 2000),
            r"needs [\d,]+ bytes, the limit is 4,294,967,296: lower the order",
        ),
        (
            lambda: fit_closure(np.zeros(17), np.zeros, dim=16, order=3, degree=3),
            "needs 2,553,973,920 bytes, the limit is 1,073,741,824: lower the order, or drop",
        ),
        (
            lambda: fit_closure(np.zeros(1), normal_points, dim=1, order=60, degree=3),
            "the least-squares closure of order 60 has a norm of .*; lower the order",
        ),
    ],
)
def test_bad_input_is_refused(call, said):
    with pytest.raises(HQDMError, match=said):
        call()


def test_values_of_the_drift_are_those_of_the_system():
    drift = FixedDrift(coefficients(3, 2), 2)
    x = np.random.default_rng(0).normal(size=(2, 3))
    system = CarlemanSystem(drift, 2)
    velocity = system.project(system.lift(x) @ system.matrix(0.0).toarray().T)
    np.testing.assert_allclose(velocity, evaluate(drift, x, 0.0))
