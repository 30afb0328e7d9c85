"""Noise polynomials against closed forms: Gaussian data, and polynomials that are known."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from hqdm.carleman.drift import evaluate
from hqdm.carleman.monomials import Monomials, orthonormal_hermite
from hqdm.surrogate.noise_polynomial import (
    DiffusionDrift,
    ExpandedPolynomial,
    NoisePolynomial,
    fit_noise,
    gaussian_noise,
    levels,
)
from hqdm.utils.errors import HQDMError

NODES = np.linspace(-3, 2, 21)
VARIANCES = np.array([0.81, 0.2])


def gaussian_samples(seed=0, n=4000):
    """Noised samples of N(0, diag(VARIANCES)), and their noise."""
    rng = np.random.default_rng(seed)

    def noised(lam):
        alpha, sigma = levels(lam)
        x0, eps = rng.normal(size=(2, n, 2)) * np.stack([np.sqrt(VARIANCES), np.ones(2)])[:, None]
        return alpha * x0 + sigma * eps, eps

    return noised


def cubic_noise(lam):
    """Any cubic, smooth in lambda."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 2, len(Monomials(2, 3))))
    return a + np.tanh(lam) * b


def test_levels_are_variance_preserving():
    for lam in (-7.0, 0.0, 3.0):
        alpha, sigma = levels(lam)
        assert alpha**2 + sigma**2 == pytest.approx(1)
        assert np.log(alpha / sigma) == pytest.approx(lam)


def test_gaussian_noise_has_the_closed_form():
    x = np.random.default_rng(1).normal(size=(5, 2))
    lam = NODES[7]
    alpha, sigma = levels(lam)
    expected = sigma * x / (alpha**2 * VARIANCES + sigma**2)
    np.testing.assert_allclose(evaluate(gaussian_noise(NODES, VARIANCES), x, lam), expected)


def test_flow_of_gaussian_data_keeps_its_distribution():
    # Along the flow each coordinate is proportional to the deviation sqrt(alpha^2 v + sigma^2).
    nodes = np.linspace(-3, 2, 401)  # the spline's error falls with the 4th power: below 1e-9
    drift = DiffusionDrift(gaussian_noise(nodes, VARIANCES))
    x = np.array([1.0, -0.5])
    flow = solve_ivp(
        lambda t, y: evaluate(drift, y[None], t)[0], (-3, 2), x, rtol=1e-11, atol=1e-12
    )
    (a, s), (b, r) = levels(-3), levels(2)
    ratio = np.sqrt((b**2 * VARIANCES + r**2) / (a**2 * VARIANCES + s**2))
    np.testing.assert_allclose(flow.y[:, -1], ratio * x, rtol=1e-8)


def test_fit_recovers_a_polynomial_exactly():
    rng = np.random.default_rng(0)

    def noised(lam):
        x = rng.normal(size=(400, 2))
        return x, Monomials(2, 3).lift(x) @ cubic_noise(lam).T

    fit = fit_noise(NODES, noised, degree=3, ridge=0)
    expected = np.stack([cubic_noise(lam) for lam in NODES])
    # a well-conditioned least-squares problem without noise: rounding only
    np.testing.assert_allclose(fit.polynomial.values, expected, atol=1e-10)
    np.testing.assert_allclose(fit.r2, 1)


def test_fit_approaches_the_posterior_mean_of_gaussian_data():
    fit = fit_noise(NODES[::5], gaussian_samples(n=40_000), degree=1, ridge=0)
    exact = gaussian_noise(NODES[::5], VARIANCES)
    # standard error of a slope: residual deviation (below 1) over sqrt(32,000 * variance of x)
    np.testing.assert_allclose(fit.polynomial.values, exact.values, atol=4 / np.sqrt(32_000 * 0.2))


def test_r2_is_the_explained_fraction_of_the_noise():
    # R^2 = corr(x, eps)^2 = sigma^2 / (alpha^2 v + sigma^2), the mean over the coordinates
    fit = fit_noise(NODES[::5], gaussian_samples(n=40_000), degree=2)
    sigma2 = np.array([levels(lam)[1] ** 2 for lam in NODES[::5]])[:, None]
    expected = (sigma2 / ((1 - sigma2) * VARIANCES + sigma2)).mean(axis=1)
    np.testing.assert_allclose(fit.r2, expected, atol=0.03)  # 3 / sqrt(8,000 held out)


def test_r2_is_of_the_samples_held_out():
    """Against a least-squares fit by NumPy, on noise that has nothing to do with the samples.

    20 samples for 10 coefficients: R^2 is about a half on them, and below 0 on others.
    """
    x, eps = np.random.default_rng(2).normal(size=(2, 25, 2))
    fit = fit_noise(NODES[:2], lambda lam: (x, eps), degree=3, ridge=0)
    monomials = Monomials(2, 3).lift(x)
    weights, *_ = np.linalg.lstsq(monomials[:20], eps[:20])

    def r2(part):
        residual = eps[part] - monomials[part] @ weights
        return 1 - np.sum(residual**2) / np.sum((eps[part] - eps[part].mean(0)) ** 2)

    assert r2(slice(20)) > 0.3
    assert r2(slice(20, None)) < 0
    np.testing.assert_allclose(fit.r2, r2(slice(20, None)), rtol=1e-8)


def test_ridge_shrinks():
    free, held = (
        fit_noise(NODES[:2], gaussian_samples(), degree=3, ridge=ridge).polynomial.values[0]
        for ridge in (0.0, 1.0)
    )
    inverse = np.linalg.inv(orthonormal_hermite(Monomials(2, 3)).toarray())
    assert np.linalg.norm(held @ inverse) < 0.7 * np.linalg.norm(free @ inverse)


@pytest.mark.parametrize("form", ["dpm", "unipc"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_expansions_reach_their_order(form, order):
    # The error is h^k times the k-th derivative, which tanh has at every point but 0.
    nodes = np.linspace(-3, 2, 801)
    noise = NoisePolynomial(nodes, np.stack([cubic_noise(lam) for lam in nodes]), 3)
    errors, steps = [], (16, 32, 64, 128)
    for n in steps:
        edges = np.linspace(-1, 1, n + 1)
        at = edges[n * 5 // 8] + 0.9 * (edges[1] - edges[0])
        expanded = ExpandedPolynomial(noise, edges, form, order)
        errors.append(np.abs(expanded.coefficients(at) - cubic_noise(at)).max())
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.2)


def test_expansion_starts_at_the_edge():
    noise = gaussian_noise(NODES, VARIANCES)
    expanded = ExpandedPolynomial(noise, NODES[::4], "dpm", 2)
    np.testing.assert_allclose(expanded.coefficients(NODES[4]), noise.coefficients(NODES[4]))


def few_samples(lam):
    return np.ones((5, 2)), np.ones((5, 2))


def not_finite(lam):
    return np.full((50, 2), np.nan), np.ones((50, 2))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: fit_noise(NODES, few_samples, 4), "1, 2 or 3, got 4"),
        (lambda: fit_noise(NODES, few_samples, 2, ridge=-1), "0 or more, got -1"),
        (lambda: fit_noise(NODES[:1], few_samples, 2), "2 nodes in lambda or more"),
        (lambda: fit_noise(NODES, few_samples, 2), "6 coefficients need as many samples"),
        (lambda: fit_noise(NODES, not_finite, 2), "not finite"),
        (lambda: gaussian_noise(NODES, VARIANCES).coefficients(5.0), "from -3 to 2, got 5"),
        (lambda: ExpandedPolynomial(gaussian_noise(NODES, VARIANCES), NODES, "rk", 2), "'rk'"),
        (lambda: ExpandedPolynomial(gaussian_noise(NODES, VARIANCES), NODES, "dpm", 4), "got 4"),
    ],
)
def test_bad_input_is_refused(call, said):
    with pytest.raises(HQDMError, match=said):
        call()
