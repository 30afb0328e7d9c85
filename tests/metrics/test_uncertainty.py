"""Standard errors against simulations, numerical derivatives and definitions, in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.image.kid import maximum_mean_discrepancy

from hqdm.metrics.distribution import frechet_distance
from hqdm.metrics.uncertainty import (
    Estimate,
    Gaussian,
    difference,
    fid_infinity,
    gaussian_kernel,
    median_distance,
    mmd,
    polynomial,
)
from hqdm.utils.errors import HQDMError

SEEDS = st.integers(0, 2**31)


def normal(n, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, dtype=torch.float64, generator=generator)


def whitened(n, d):
    """Vectors of mean 0 and covariance 1 up to rounding."""
    x = normal(n, d)
    return torch.linalg.qr(x - x.mean(0)).Q * (n - 1) ** 0.5


def simulated(n, shift, scale, seed, d=16):
    """Normal vectors, and their true FID to mean 0 and covariance 1."""
    mean, std = torch.zeros(d).double(), torch.ones(d).double()
    mean[0], std[: d // 2] = shift, scale
    return normal(n, d, seed) * std + mean, shift**2 + d // 2 * (scale - 1) ** 2


# --- FID ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shift", "scale", "n", "least", "most"),
    [
        (0.5, 0.8, 300, 0.92, 0.98),
        pytest.param(0.5, 0.8, 2000, 0.93, 0.97, marks=pytest.mark.slow),
        pytest.param(0.0, 1.3, 2000, 0.93, 0.97, marks=pytest.mark.slow),
    ],
)
def test_the_interval_covers_the_true_fid(shift, scale, n, least, most):
    """In n simulations a coverage of 95 % scatters by 1.3 % (300) and 0.5 % (2,000)."""
    real, hits, values, errors = whitened(40, 16), 0, [], []
    for seed in range(n):
        fake, true = simulated(400, shift, scale, seed)
        found = fid_infinity(real, fake, seed)
        low, high = found.interval
        hits += low <= true <= high
        values.append(found.value)
        errors.append(found.error)
    assert least <= hits / n <= most
    assert np.mean(values) == pytest.approx(true, abs=0.2 * np.mean(errors))
    # The error is too high by the noise of G.
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)


def test_the_limit_has_no_bias_of_the_number_of_images():
    real = whitened(40, 16)
    few, many = [], []
    for seed in range(100):
        fake, true = simulated(256, 0.5, 0.8, seed)
        few.append(frechet_distance(real, fake))
        many.append(fid_infinity(real, fake, seed).value)
    error = np.std(many) / 10
    assert np.mean(few) > true + 4 * error
    assert abs(np.mean(many) - true) < 3 * error


@settings(deadline=None, max_examples=10)
@given(SEEDS, st.integers(1, 6))
def test_influences_are_derivatives_with_respect_to_weights(seed, d):
    """By central differences."""
    real, fake = normal(30, d, seed), 1.5 * normal(20, d, seed + 1) + 0.3
    reference = Gaussian.of(real)

    own = Gaussian.of(fake)

    def moved(place, step):
        """The FID after a step towards the image in mean and covariance."""
        away = fake[place] - own.mean
        mean = own.mean + step * away
        covariance = own.covariance + step * (torch.outer(away, away) - own.covariance)
        change = (mean - reference.mean).square().sum()
        traces = reference.covariance.trace() + covariance.trace()
        return float(change + traces) - 2 * trace_of_root(reference.covariance @ covariance)

    influences = fid_infinity(real, fake).influences
    for place in (0, 7, 19):
        slope = (moved(place, 1e-4) - moved(place, -1e-4)) / 2e-4
        # The error of a central difference is of the order 1e-8 times the third derivative.
        assert slope == pytest.approx(float(influences[place]), rel=1e-4, abs=1e-5)


def trace_of_root(product):
    """The trace of the root of a product of covariances."""
    values = np.linalg.eigvals(product.numpy())
    return float(np.sqrt(values.astype(complex)).real.sum())


def test_a_collapsed_feature_is_no_error():
    """Features that are constant in one set, or in both."""
    real, fake = normal(50, 4), normal(50, 4, 1)
    real[:, 0] = fake[:, 0] = 0.0
    fake[:, 1] = 1.0
    found = fid_infinity(real, fake)
    assert math.isfinite(found.error)
    assert found.value == pytest.approx(frechet_distance(real, fake), rel=0.2)


# --- MMD ------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=10)
@given(SEEDS, st.integers(5, 12), st.integers(5, 12))
def test_mmd_is_its_definition(seed, n, m):
    real, fake = normal(m, 3, seed), 1.5 * normal(n, 3, seed + 1) + 0.3
    for kernel in (polynomial, gaussian_kernel(0.7)):
        xx, yy, xy = (kernel(a, b) for a, b in ((fake, fake), (real, real), (fake, real)))
        expected = (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1))
        expected = float(expected - 2 * xy.mean())
        assert mmd(real, fake, kernel).value == pytest.approx(expected, rel=1e-9, abs=1e-9)
    x, y = fake[0], real[0]
    assert float(polynomial(fake, real)[0, 0]) == pytest.approx(float((x @ y / 3 + 1) ** 3))
    width = gaussian_kernel(0.7)(fake, real)[0, 0]
    assert float(width) == pytest.approx(math.exp(-float((x - y).square().sum()) / (2 * 0.49)))


def test_kid_is_that_of_torchmetrics():
    """Whose sets are equally large."""
    real, fake = normal(40, 6), 1.2 * normal(40, 6, 1)
    kernels = (polynomial(*pair) for pair in ((real, real), (real, fake), (fake, fake)))
    expected = float(maximum_mean_discrepancy(*kernels))
    assert mmd(real, fake).value == pytest.approx(expected, rel=1e-9)


def test_mmd_in_blocks(monkeypatch):
    real, fake = normal(50, 4), normal(33, 4, 1) + 0.2
    whole = mmd(real, fake)
    monkeypatch.setattr("hqdm.metrics.uncertainty.ROWS", 7)
    parts = mmd(real, fake)
    assert parts.value == pytest.approx(whole.value, abs=1e-12)
    assert parts.error == pytest.approx(whole.error, abs=1e-12)


def test_the_interval_covers_the_true_mmd():
    """In 400 simulations, for the Gaussian kernel, whose MMD has a closed form.

    For N(0, 1) and N(m, 1) in d dimensions and width w, with c = w^2 / (w^2 + 2), it is
    2 c^(d / 2) (1 - exp(-m^2 / (2 (w^2 + 2)))).
    """
    d, width, shift, hits = 3, 1.5, 0.8, 0
    wide = width**2 + 2
    true = 2 * (width**2 / wide) ** (d / 2) * (1 - math.exp(-(shift**2) / (2 * wide)))
    values, errors = [], []
    for seed in range(400):
        fake = normal(150, d, 2 * seed)
        fake[:, 0] += shift
        found = mmd(normal(200, d, 2 * seed + 1), fake, gaussian_kernel(width))
        low, high = found.interval
        hits += low <= true <= high
        values.append(found.value)
        errors.append(found.error)
    assert 0.92 <= hits / 400 <= 0.98  # three standard deviations
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)


def test_the_median_distance():
    real = normal(301, 4)
    expected = torch.pdist(real).median()
    assert median_distance(real) == pytest.approx(float(expected))
    assert median_distance(torch.ones(5, 3)) == 1.0
    many = normal(5000, 4, 3)
    assert median_distance(many) == pytest.approx(float(torch.pdist(many).median()), rel=0.05)


# --- differences ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_interval_of_a_difference_covers_it():
    """Of two sets from the same noise, in 200 simulations."""
    real, hits, errors, alone = whitened(40, 16), 0, [], []
    for seed in range(200):
        first, true_first = simulated(400, 0.5, 0.8, seed)
        second, true_second = simulated(400, 0.4, 0.85, seed)
        a, b = fid_infinity(real, first, seed), fid_infinity(real, second, seed)
        found = difference(a, b)
        low, high = found.interval
        hits += low <= true_first - true_second <= high
        errors.append(found.error)
        alone.append(math.hypot(a.error, b.error))
    assert 0.9 <= hits / 200 <= 0.99  # three standard deviations
    assert np.mean(errors) < 0.5 * np.mean(alone)


def test_a_difference_needs_as_many_images():
    first, second = (Estimate(1.0, 0.1, torch.zeros(n)) for n in (3, 4))
    with pytest.raises(HQDMError, match="as many images from the same noise in both sets, got 3"):
        difference(first, second)


def test_sets_without_an_estimate_are_refused():
    for function in (fid_infinity, mmd):
        for real, fake in ((normal(9, 3), normal(9, 4)), (normal(9, 3), normal(3, 3))):
            with pytest.raises(HQDMError, match="with N from 4 and M from 2"):
                function(real, fake)
