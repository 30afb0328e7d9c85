"""Precision, recall, density and coverage against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hqdm.data.images import load_images
from hqdm.metrics import coverage, load_extractor
from hqdm.metrics.coverage import NEIGHBOURS, coverage_scores
from hqdm.metrics.distribution import extract
from hqdm.utils.errors import HQDMError


def normal(n, d, seed=0):
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_definition(real, fake, k):
    """The scores by loops over all pairs."""

    def radius(own, i):
        distances = sorted(np.linalg.norm(own[i] - own[j]) for j in range(len(own)) if j != i)
        return distances[k - 1]

    around_real = [radius(real, i) for i in range(len(real))]
    around_fake = [radius(fake, i) for i in range(len(fake))]
    distances = np.array([[np.linalg.norm(r - f) for f in fake] for r in real])
    inside = distances <= np.array(around_real)[:, None]
    return {
        "precision": np.mean(inside.any(0)),
        "recall": np.mean((distances <= np.array(around_fake)).any(1)),
        "density": inside.sum() / (k * len(fake)),
        "coverage": np.mean(inside.any(1)),
    }


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), n=st.integers(2, 30), m=st.integers(2, 30), d=st.integers(1, 4))
def test_definitions(seed, n, m, d):
    """Also of few images, of which fewer neighbours count."""
    real, fake = normal(m, d, seed), 1.5 * normal(n, d, seed + 1) + 0.5
    k = min(NEIGHBOURS, n - 1, m - 1)
    expected = by_definition(real.numpy(), fake.numpy(), k)
    assert coverage_scores(real, fake) == pytest.approx(expected)


def test_blocks(monkeypatch):
    real, fake = normal(50, 3), normal(40, 3, 1)
    expected = coverage_scores(real, fake)
    monkeypatch.setattr(coverage, "ROWS", 7)
    assert coverage_scores(real, fake) == pytest.approx(expected)


def test_repeated_digits_are_told_from_different_ones():
    """40 images repeated eight times, against 320 different ones, in the features of digits."""
    images = load_images("digits", "train").images
    features, _ = extract(images, load_extractor("digits"))
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))
    real, other = features[order[:320]], features[order[320:640]]
    different, repeated = (coverage_scores(real, fake) for fake in (other, other[:40].repeat(8, 1)))
    # The share of 320 images has a standard deviation of 0.028 at most.
    assert different["coverage"] > repeated["coverage"] + 0.3
    assert different["recall"] > repeated["recall"] + 0.3
    assert abs(different["precision"] - repeated["precision"]) < 0.1


def test_sets_without_scores_are_refused():
    for real, fake in ((normal(9, 3), normal(9, 4)), (normal(1, 3), normal(9, 3))):
        with pytest.raises(HQDMError, match="with M and N from 2"):
            coverage_scores(real, fake)
