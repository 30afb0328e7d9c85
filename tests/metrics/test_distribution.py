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
from hqdm.metrics import load_extractor, memorisation
from hqdm.metrics.distribution import (
    distribution_scores,
    extract,
    frechet_distance,
    inception_score,
    kernel_distance,
    real_floor,
    warn_if_few,
)
from hqdm.metrics.memorisation import nearest_training
from hqdm.metrics.pairs import pair_scores
from hqdm.utils.errors import HQDMError
from hqdm.utils.pixels import to_float, to_uint8

SEEDS = st.integers(0, 2**31)


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


# --- KID ------------------------------------------------------------------------------------------


def direct_kid(x, y):
    """The unbiased squared MMD, sum by sum."""

    def kernel(a, b):
        return (a @ b / len(a) + 1) ** 3

    n, m = len(x), len(y)
    xx = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    xy = sum(kernel(x[i], y[j]) for i in range(n) for j in range(m)) / (n * m)
    return xx + yy - 2 * xy


@settings(deadline=None, max_examples=5)
@given(SEEDS)
def test_kid_is_the_unbiased_mmd(seed):
    real, fake = normal(15, 4, seed), 1.5 * normal(15, 4, seed + 1) + 0.3
    mean, std = kernel_distance(real, fake, subset_size=15)
    # Subsets of everything are all the same, up to the order of summation.
    assert mean == pytest.approx(direct_kid(real.numpy(), fake.numpy()), rel=1e-9, abs=1e-9)
    assert std == pytest.approx(0, abs=1e-9)


def test_kid_subsets_scatter_around_the_mmd_of_all():
    real, fake = normal(50, 4), normal(50, 4, 1) + 0.3
    mean, std = kernel_distance(real, fake)
    # Subsets of all images would not scatter but for rounding.
    assert std > 1e-6
    # The mean of 100 subsets: five of its standard errors.
    assert mean == pytest.approx(direct_kid(real.numpy(), fake.numpy()), abs=5 * std / 10)


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
    assert set(floor) == {"fid", "kid_mean", "kid_std", "is_mean", "is_std"}
    noise = torch.randn(half, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    fake = distribution_scores(digits[:half], noise, extractor)
    assert fake["fid"] > 10 * floor["fid"] > 0
    assert fake["kid_mean"] > 10 * abs(floor["kid_mean"])
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
    assert other["kid_mean"] != first["kid_mean"]
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


# --- pairs ----------------------------------------------------------------------------------------


def direct_ssim(x, y):
    """Wang et al. 2004, equation 13, for one channel in [0, 1]."""

    def window(z):
        return scipy.ndimage.gaussian_filter(z, 1.5, mode="mirror", radius=5)

    mx, my = window(x), window(y)
    vx, vy, cov = window(x * x) - mx**2, window(y * y) - my**2, window(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
    return (luminance * (2 * cov + c2) / (vx + vy + c2)).mean()


@settings(deadline=None, max_examples=10)
@given(SEEDS, st.sampled_from([(1, 8, 8), (1, 28, 28), (3, 32, 20)]))
def test_ssim_and_psnr_are_their_definitions(seed, shape):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (3, *shape))
    y = np.clip(x + rng.normal(0, 0.3, x.shape), -1, 1)
    came = pair_scores(torch.from_numpy(x), torch.from_numpy(y))
    u, v = (x + 1) / 2, (y + 1) / 2
    planes = [z.reshape(-1, *shape[1:]) for z in (u, v)]
    ssim = np.mean([direct_ssim(p, q) for p, q in zip(*planes, strict=True)])
    psnr = np.mean([-10 * np.log10(np.mean((a - b) ** 2)) for a, b in zip(u, v, strict=True)])
    # Single precision: SSIM's variances are differences of numbers up to 1, over at least 9e-4.
    assert came["ssim"] == pytest.approx(ssim, abs=1e-4)
    assert came["psnr"] == pytest.approx(psnr, abs=1e-4)


def test_pairs_closed_forms():
    x = torch.full((2, 1, 8, 8), -0.5)
    # A shift by 0.2 in [-1, 1] is 0.1 of the range.
    assert pair_scores(x, x + 0.2)["psnr"] == pytest.approx(20, abs=1e-4)
    exact = pair_scores(x, x)
    assert exact["ssim"] == pytest.approx(1, abs=1e-6)
    assert exact["psnr"] == float("inf")
    grey = to_uint8(x)
    assert pair_scores(grey, grey + 51)["psnr"] == pytest.approx(20 * np.log10(5), abs=1e-4)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ((2, 1, 8, 8), (3, 1, 8, 8), "one shape"),
        ((0, 1, 8, 8), (0, 1, 8, 8), "N at least 1"),
        ((2, 1, 5, 8), (2, 1, 5, 8), "6x6 or more"),
    ],
)
def test_pairs_refuse(a, b, message):
    with pytest.raises(HQDMError, match=message):
        pair_scores(torch.zeros(a), torch.zeros(b))


# --- memorisation ---------------------------------------------------------------------------------


def levels(n, seed, shape=(1, 4, 4)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)


@settings(deadline=None, max_examples=10)
@given(SEEDS, st.integers(1, 12), st.integers(1, 30), st.integers(1, 12), st.integers(1, 200))
def test_nearest_training_agrees_with_all_distances(seed, n, m, k, at_once):
    fake, train, test = levels(n, seed), levels(m, seed + 1), levels(k, seed + 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memorisation, "_NUMBERS_AT_ONCE", at_once)
        came = nearest_training(fake, train, test)

    def distances(x):
        flat = [images.flatten(1).double().numpy() for images in (x, train)]
        return scipy.spatial.distance.cdist(*flat) / 4  # The square root of 16 pixels.

    shortest = distances(fake).min(1)
    chosen = distances(fake)[np.arange(n), came["nearest"]]
    # Single precision on distances of tens of levels: ties may be broken either way.
    assert chosen == pytest.approx(shortest, abs=1e-3)
    held_out = distances(test).min(1)
    assert came["threshold"] == pytest.approx(np.quantile(held_out, 0.01), abs=1e-3)
    assert (came["n"], came["held_out_n"], came["expected"]) == (n, k, 0.01 * n)
    clear = np.abs(shortest - came["threshold"]) > 1e-3
    flagged = np.isin(np.arange(n), came["memorised_indices"])
    assert np.array_equal(flagged[clear], shortest[clear] < came["threshold"])
    assert came["memorised"] == len(came["memorised_indices"])
    assert came["copies"] == len(came["copy_indices"])


def test_planted_copies_are_found():
    train, test = levels(200, 0), levels(100, 1)
    fake = to_float(levels(50, 2))
    fake[7] = to_float(train[123])
    # Two grey levels off at every pixel: still a copy; 8 levels off: near, but no copy.
    fake[9] = to_float(train[45].clamp(2, 253)) + 2 / 127.5
    fake[11] = to_float(train[67].clamp(8, 247)) + 8 / 127.5
    came = nearest_training(fake, train, test)
    assert [came["nearest"][i] for i in (7, 9, 11)] == [123, 45, 67]
    assert came["copy_indices"] == [7, 9]
    assert {7, 9, 11} <= set(came["memorised_indices"])
    # The rest are strangers, as the held-out images are: 1 % of 47, give or take.
    assert came["memorised"] <= 3 + 4
    assert abs(came["median"] - came["held_out_median"]) < 0.1 * came["held_out_median"]


def test_distances_of_copies_are_exact():
    train = levels(20, 0, (3, 32, 32))
    came = nearest_training(train[:1], train, train)
    assert came["median"] == 0
    assert came["threshold"] == 0
    # Nothing is nearer than held-out images that are copies themselves.
    assert (came["memorised"], came["copies"]) == (0, 1)


def test_nearest_training_keeps_to_its_bound(monkeypatch):
    sizes = []
    addmm = torch.addmm

    def recording(*args, **kwargs):
        out = addmm(*args, **kwargs)
        sizes.append(out.numel())
        return out

    monkeypatch.setattr(torch, "addmm", recording)
    came = nearest_training(levels(500, 0), levels(50_000, 1), levels(10, 2))
    # 500 x 50,000 distances are 25 million: more than the bound of 16.8 million.
    assert len(sizes) > 2
    assert max(sizes) <= 2**24
    assert sum(sizes) == 510 * 50_000
    assert max(came["nearest"]) > 40_000


def test_nearest_training_refuses():
    x = levels(3, 0)
    with pytest.raises(HQDMError, match=r"fake \(3, 1, 4, 4\), train \(0, 1, 4, 4\)"):
        nearest_training(x, x[:0], x)
    with pytest.raises(HQDMError, match=r"test \(3, 1, 4, 2\)"):
        nearest_training(x, x, x[..., :2])
