"""Scores against their definitions, computed independently in float64."""

import warnings

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.spatial
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hqdm.data.images import load_images
from hqdm.metrics import distribution as scores
from hqdm.metrics import load_extractor
from hqdm.metrics.distribution import (
    distribution_scores,
    extract,
    frechet_distance,
    inception_score,
    real_floor,
    warn_if_few,
)
from hqdm.utils.errors import HQDMError
from hqdm.utils.pixels import to_float

SEEDS = st.integers(0, 2**31)
SCORES = {
    *("fid", "fid_infinity", "fid_error", "kid", "kid_error", "mmd", "mmd_error"),
    *("precision", "recall", "density", "coverage", "is_mean", "is_std", "unsure"),
}


class Identity(nn.Module):
    """Pixels as features, and as logits."""

    def features_and_logits(self, images):
        return images.flatten(1), images.flatten(1)


def normal(n, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, dtype=torch.float64, generator=generator)


def gaussian(n, mean, std, seed):
    """A sample whose mean and (diagonal, unbiased) covariance are exactly the given ones."""
    x = normal(n, len(mean), seed)
    x = torch.linalg.qr(x - x.mean(0)).Q * (n - 1) ** 0.5
    return x * x.new_tensor(std) + x.new_tensor(mean)


# --- FID ------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=10)
@given(SEEDS, st.integers(2, 12))
def test_fid_agrees_with_the_matrix_square_root(seed, d):
    mix = normal(d, d, seed)
    real, fake = normal(60, d, seed) @ mix, 2 * normal(50, d, seed + 1) + 0.5
    a, b = np.cov(real.numpy().T), np.cov(fake.numpy().T)
    root = scipy.linalg.sqrtm(a @ b).real
    mean = (real.mean(0) - fake.mean(0)).square().sum().item()
    expected = mean + np.trace(a) + np.trace(b) - 2 * np.trace(root)
    # Either way of taking the square root loses half of the digits: 1e-8 of the traces.
    scale = np.trace(a) + np.trace(b)
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-7, abs=1e-7 * scale)


def test_fid_of_gaussians_is_the_closed_form():
    mean_a, std_a = [0.1, -0.2, 0.0, 0.05], [0.05, 0.10, 0.20, 0.15]
    mean_b, std_b = [0.0, 0.1, 0.1, 0.05], [0.10, 0.05, 0.02, 0.15]
    a, b = gaussian(100, mean_a, std_a, 0), gaussian(80, mean_b, std_b, 1)
    expected = sum((p - q) ** 2 for p, q in zip(mean_a + std_a, mean_b + std_b, strict=True))
    images = [x.view(-1, 1, 2, 2) for x in (a, b)]
    assert max(x.abs().max() for x in images) < 1
    fid = distribution_scores(*images, Identity())["fid"]
    assert fid == pytest.approx(expected, rel=1e-9)


def test_fid_of_a_set_with_itself_is_zero():
    x = normal(300, 20)
    # Half of the digits, as above, of a trace of 20.
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(x, x.flip(0)) == pytest.approx(0, abs=1e-6)
    # Fewer images than features: singular covariances.
    assert frechet_distance(x[:10], x[:10]) == pytest.approx(0, abs=1e-5)


# --- IS -------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=10)
@given(SEEDS, st.integers(20, 60))
def test_inception_score_is_its_definition(seed, n):
    logits = 3 * normal(n, 5, seed)
    p = np.exp(logits.numpy())
    p /= p.sum(1, keepdims=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores, "IS_SPLITS", 1)
        with warnings.catch_warnings():
            # The standard deviation of one part, which is of no interest here.
            warnings.simplefilter("ignore")
            mean, _ = inception_score(logits)
    expected = np.exp(np.mean([np.sum(q * (np.log(q) - np.log(p.mean(0)))) for q in p]))
    assert mean == pytest.approx(expected, rel=1e-12)


def test_inception_score_at_its_ends():
    mean, std = inception_score(normal(1, 7).expand(40, 7))
    assert (mean, std) == pytest.approx((1, 0), abs=1e-12)
    # 10 parts of 4 images, certain of their classes: at most 4 classes in a part.
    certain = 100 * torch.eye(4, dtype=torch.float64)[torch.arange(40) % 4]
    mean, std = inception_score(certain)
    assert 2 < mean <= 4 + 1e-9
    assert std > 0


# --- all of them ----------------------------------------------------------------------------------


def test_scores_of_real_digits_and_of_noise():
    digits = load_images("digits").images
    extractor = load_extractor("digits")
    half = len(digits) // 2
    floor = real_floor(digits[:half], digits[half : 2 * half], extractor)
    assert set(floor) == SCORES
    noise = torch.randn(half, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    fake = distribution_scores(digits[:half], noise, extractor)
    assert fake["fid"] > 10 * floor["fid"] > 0
    assert fake["kid"] > 10 * abs(floor["kid"])
    assert fake["fid_infinity"] > 10 * abs(floor["fid_infinity"])
    assert fake["coverage"] < floor["coverage"] / 10
    for name in ("fid_infinity", "kid", "mmd"):
        error = floor["fid_error" if name == "fid_infinity" else f"{name}_error"]
        assert abs(floor[name]) < 4 * error
    assert 1 <= fake["is_mean"] < floor["is_mean"] <= 10


def test_scores_depend_on_the_seed_only():
    a, b = (0.1 * normal(40, 4, seed).view(-1, 1, 2, 2) for seed in (0, 1))
    state = torch.get_rng_state()
    first = distribution_scores(a, b, Identity(), seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(17)
    assert distribution_scores(a, b, Identity(), seed=3) == first
    other = distribution_scores(a, b, Identity(), seed=4)
    assert other["fid"] == first["fid"]
    assert other["kid"] == first["kid"]
    assert other["fid_infinity"] != first["fid_infinity"]
    assert other["is_mean"] != first["is_mean"]


def test_uint8_and_float_images_score_alike():
    digits = load_images("digits", limit=80).images
    a, b = digits[:40], digits[40:]
    extractor = load_extractor("digits")
    expected = distribution_scores(a, b, extractor)
    assert distribution_scores(to_float(a), to_float(b), extractor) == expected


def test_extraction_in_batches(monkeypatch):
    x = load_images("digits", limit=7).images
    extractor = load_extractor("digits")
    whole = extract(x, extractor)
    assert [y.dtype for y in whole] == [torch.float64] * 2
    monkeypatch.setattr(scores, "BATCH_SIZE", 3)
    for part, all_at_once in zip(extract(x, extractor), whole, strict=True):
        # Single precision over about a thousand additions.
        assert torch.allclose(part, all_at_once, atol=1e-4)


def test_too_few_images_and_uneven_floors():
    x = torch.zeros(30, 1, 2, 2)
    with pytest.raises(HQDMError, match="3 generated images"):
        distribution_scores(x, x[:3], Identity())
    with pytest.raises(HQDMError, match="0 real images"):
        distribution_scores(x[:0], x, Identity())
    with pytest.raises(HQDMError, match="30 against 29"):
        real_floor(x, x[:29], Identity())


def test_the_least_number_of_images():
    a, b = (0.1 * normal(4, 4, seed).view(-1, 1, 2, 2) for seed in (0, 1))
    assert np.isfinite(list(distribution_scores(a, b, Identity()).values())).all()


def test_warn_if_few():
    with pytest.warns(UserWarning, match="2047 images are few"):
        message = warn_if_few(2047)
    assert message is not None
    assert "2048" in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert warn_if_few(2048) is None


@pytest.mark.parametrize("n", [4, 10])
def test_the_inception_score_of_few_images_is_said_to_be_constant(n):
    with pytest.warns(UserWarning, match=f"the IS of {n} images is always 1"):
        mean, _ = inception_score(normal(n, 7, 1))
    assert mean == pytest.approx(1, abs=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mean, _ = inception_score(3 * normal(11, 7, 1))
    assert mean > 1.05
