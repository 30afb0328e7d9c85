"""Latents against the definition of principal components and of a variance-preserving process."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from hqdm.surrogate.latents import Latents
from hqdm.surrogate.noise_polynomial import levels
from hqdm.utils.errors import HQDMError

SPREAD = np.array([3.0, 2.0, 1.0, 0.5, 0.1])


def data(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    return (rng.normal(size=(n, 5)) * SPREAD) @ turn.T + np.arange(5.0)


def test_components_diagonalise_the_covariance():
    points = data()
    latents = Latents.fit(points, 2)
    coordinates = (points - latents.mean) @ latents.components.T
    covariance = coordinates.T @ coordinates / len(points)
    np.testing.assert_allclose(covariance, np.diag(latents.variances), atol=1e-9)
    assert (np.diff(latents.variances) <= 0).all()
    np.testing.assert_allclose(latents.components @ latents.components.T, np.eye(5), atol=1e-12)


def test_explained_variance():
    latents = Latents.fit(data(200_000), 2)
    # the sampling error of a fraction of variance is about sqrt(2 / n) = 0.003
    assert latents.explained == pytest.approx(13 / 14.26, abs=0.01)


def test_scale_gives_the_largest_variance():
    points = data()
    latents = Latents.fit(points, 3, largest=0.5)
    z = (points - latents.mean) @ latents.components[:3].T / latents.scale
    assert z.var(axis=0).max() == pytest.approx(0.5)
    assert latents.dissipative
    assert not Latents.fit(points, 3, largest=1.2).dissipative


def test_the_largest_variance_is_that_of_the_documentation_by_default():
    """0.81: the drift of the first latent is dissipative, and its deviation is 0.9."""
    latents = Latents.fit(data(), 3)
    assert latents.largest == pytest.approx(0.81)
    assert latents.scale == pytest.approx(np.sqrt(latents.variances[0]) / 0.9)


def test_noised_latents_are_a_variance_preserving_process():
    # z of a noised point has signal level alpha' and noise level sigma' at lambda + log s.
    latents = Latents.fit(data(), 2)
    lam = -0.7
    alpha, sigma = levels(lam)
    x0, eps = np.random.default_rng(1).normal(size=(2, 4, 5))
    x = alpha * x0 + sigma * eps
    basis = latents.components[:2].T
    z = latents.of(x, lam)
    a, s = levels(latents.time(lam))
    expected = a * ((x0 - latents.mean) @ basis / latents.scale) + s * (eps @ basis)
    np.testing.assert_allclose(z, expected)


def test_gaussian_flow_is_that_of_the_equation():
    latents = Latents.fit(data(), 2)
    v = latents.variances[2:]

    def drift(lam, c):
        alpha, sigma = levels(lam)
        return sigma**2 * (1 - 1 / (alpha**2 * v + sigma**2)) * c

    flow = solve_ivp(drift, (-2, 1.5), np.ones(3), rtol=1e-11, atol=1e-12).y[:, -1]
    np.testing.assert_allclose(latents.gaussian_flow(-2, 1.5), flow, rtol=1e-8)


def test_gaussian_mean_is_the_regression_of_clean_on_noised():
    latents = Latents.fit(data(), 2)
    rng = np.random.default_rng(2)
    alpha, sigma = levels(0.3)
    clean = rng.normal(size=(400_000, 3)) * np.sqrt(latents.variances[2:])
    noised = alpha * clean + sigma * rng.normal(size=clean.shape)
    slope = (clean * noised).mean(axis=0) / (noised**2).mean(axis=0)
    np.testing.assert_allclose(latents.gaussian_mean(0.3), slope, atol=0.01)  # 4 standard errors


@pytest.mark.parametrize(
    ("dim", "largest", "said"),
    [(1, 0.8, "2 to 5, got 1"), (6, 0.8, "2 to 5, got 6"), (2, 0.0, "positive, got 0.0")],
)
def test_bad_sizes_are_refused(dim, largest, said):
    with pytest.raises(HQDMError, match=said):
        Latents.fit(data(), dim, largest)


def test_data_without_variation_are_refused():
    points = np.outer(np.arange(10.0), np.ones(5))
    with pytest.raises(HQDMError, match="fewer than 2 directions"):
        Latents.fit(points, 2)
