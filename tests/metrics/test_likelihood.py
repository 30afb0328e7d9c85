"""Feature likelihood divergence against closed forms, scipy's optimiser and its purpose."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from hqdm.metrics.likelihood import (
    FLOOR,
    feature_likelihood_divergence,
    fit_variances,
    mean_log_likelihood,
)
from hqdm.utils.errors import HQDMError


def features(n, seed, dim=3):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)).double()


def test_the_likelihood_is_that_of_the_mixture():
    points, centres = features(50, 0), features(4, 1)
    variances = torch.tensor([0.2, 0.5, 1.0, 2.0]).double()
    parts = [
        multivariate_normal(centre, variance * np.eye(3)).pdf(points)
        for centre, variance in zip(centres.numpy(), variances.tolist(), strict=True)
    ]
    expected = np.log(np.mean(parts, axis=0)).mean()
    assert mean_log_likelihood(points, centres, variances) == pytest.approx(expected, rel=1e-12)


def test_the_variance_of_one_component_is_the_mean_square():
    points, centre = features(200, 0), features(1, 1)
    expected = (points - centre).square().mean()
    torch.testing.assert_close(fit_variances(points, centre)[0], expected)


def test_variances_maximise_the_likelihood():
    points, centres = features(300, 0), 1.5 * features(3, 1)
    found = fit_variances(points, centres)

    def loss(logs):
        return -mean_log_likelihood(points, centres, torch.from_numpy(np.exp(logs)))

    best = minimize(loss, np.zeros(3), tol=1e-12)
    # expectation maximisation converges linearly: its likelihood is exact to 1e-6
    assert -mean_log_likelihood(points, centres, found) == pytest.approx(best.fun, abs=1e-5)


def test_fresh_samples_score_zero_and_others_worse():
    """Two modes: samples of both, of one of them, and between them."""

    def modes(n, seed):
        return 0.3 * features(n, seed) + 2 * (torch.arange(n) % 2).double()[:, None]

    train, test, fresh = (modes(400, seed) for seed in (0, 1, 2))
    zero = feature_likelihood_divergence(train, test, fresh[:200])
    assert abs(zero) < 5  # the likelihood of 200 centres varies by some per cent
    for worse in (fresh[::2], fresh.mean(0) + 0.3 * features(400, 3)):
        assert feature_likelihood_divergence(train, test, worse) > zero + 10


def test_copies_of_training_images_are_told():
    """Unlike FID, for which they are perfect; the variances of copies are the floor."""
    train, test = features(200, 0), features(200, 1)
    assert (fit_variances(train, train) == FLOOR).all()
    assert feature_likelihood_divergence(train, test, train) > 1000


def test_units_of_the_features_do_not_matter():
    train, test, fake = (features(100, seed) for seed in (0, 1, 2))
    scale = torch.tensor([0.1, 3.0, 100.0]).double()
    one = feature_likelihood_divergence(train, test, fake)
    other = feature_likelihood_divergence(*(scale * part + 5 for part in (train, test, fake)))
    assert other == pytest.approx(one, rel=1e-9)


def test_bad_input_is_refused():
    with pytest.raises(HQDMError, match="expected \\(N, D\\) with N from 4 each"):
        feature_likelihood_divergence(features(9, 0), features(9, 1), features(3, 2))
    with pytest.raises(HQDMError, match=r"FLD of features \(9, 2\) by \(9, 3\) and \(9, 3\)"):
        feature_likelihood_divergence(features(9, 0), features(9, 1), features(9, 2, 2))
    with pytest.raises(HQDMError, match="seed needs a whole number"):
        feature_likelihood_divergence(features(9, 0), features(9, 1), features(9, 2), -1)
