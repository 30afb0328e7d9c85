"""SSIM and PSNR against their definitions, computed independently in float64."""

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.spatial
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hqdm.metrics.pairs import pair_scores, region_scores
from hqdm.utils.errors import HQDMError
from hqdm.utils.pixels import to_uint8

SEEDS = st.integers(0, 2**31)


def direct_ssim(x, y):
    """The mean over the image of `direct_ssim_map`."""
    return direct_ssim_map(x, y).mean()


def direct_ssim_map(x, y):
    """Wang et al. 2004, equation 13, for one channel in [0, 1]."""

    def window(z):
        return scipy.ndimage.gaussian_filter(z, 1.5, mode="mirror", radius=5)

    mx, my = window(x), window(y)
    vx, vy, cov = window(x * x) - mx**2, window(y * y) - my**2, window(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
    return luminance * (2 * cov + c2) / (vx + vy + c2)


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


def test_scores_of_a_region():
    """A region of all pixels has the scores of the images; outside of it nothing counts."""
    x = torch.rand(3, 1, 8, 8) * 2 - 1
    y = (x + 0.3 * torch.randn(x.shape)).clamp(-1, 1)
    everywhere = torch.ones(1, 8, 8, dtype=torch.bool)
    assert region_scores(x, y, everywhere) == {
        "mse": pytest.approx(float((x - y).square().mean()) / 4, rel=1e-5),
        "ssim": pytest.approx(pair_scores(x, y)["ssim"], rel=1e-5),
    }
    lower = torch.zeros(1, 8, 8, dtype=torch.bool)
    lower[:, 4:] = True
    other = torch.where(lower, y, 1.0)
    found = region_scores(x, other, lower)
    assert found["mse"] == pytest.approx(float((x - y)[..., 4:, :].square().mean()) / 4, rel=1e-5)
    u, v = ((z.double() + 1) / 2 for z in (x, other))
    maps = [direct_ssim_map(a[0].numpy(), b[0].numpy())[4:] for a, b in zip(u, v, strict=True)]
    assert found["ssim"] == pytest.approx(np.mean(maps), abs=1e-4)


@pytest.mark.parametrize("region", [torch.zeros(1, 8, 8), torch.ones(1, 8, 7), torch.ones(8, 8)])
def test_regions_that_are_refused(region):
    x = torch.zeros(1, 1, 8, 8)
    with pytest.raises(HQDMError, match=r"expected \(1, 8, 8\) and one pixel or more"):
        region_scores(x, x, region)
