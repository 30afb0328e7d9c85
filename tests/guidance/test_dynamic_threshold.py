"""Dynamic thresholds against NumPy's quantiles."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hqdm.diffusion.objective import Prediction
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.guidance.classifier_free import ClassifierFreeGuidance
from hqdm.guidance.dynamic_threshold import DynamicThreshold
from hqdm.samplers import DDIM
from hqdm.utils.errors import HQDMError


class Fixed:
    """A denoiser that always sees the same clean images."""

    def __init__(self, x0):
        self.schedule = CosineSchedule()
        self.x0 = x0

    def __call__(self, x_t, t, y=None):
        return Prediction(self.x0, torch.zeros_like(self.x0))


@settings(deadline=None, max_examples=30)
@given(percentile=st.floats(0.05, 1.0), spread=st.floats(0.1, 10.0), seed=st.integers(0, 2**31 - 1))
def test_dynamic_threshold_scales_each_image_by_its_own_percentile(percentile, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    x0 = spread * torch.randn(3, 2, 4, 5, generator=generator, dtype=torch.float64)
    x_t = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    t = torch.tensor(0.4, dtype=torch.float64)
    threshold = DynamicThreshold(Fixed(x0), percentile)
    kept, eps = threshold(x_t, t)
    for image, expected in zip(kept, x0.numpy(), strict=True):
        s = max(np.quantile(np.abs(expected), percentile), 1)
        np.testing.assert_allclose(image, np.clip(expected, -s, s) / s, rtol=0, atol=1e-12)
    alpha, sigma = threshold.schedule(t)
    torch.testing.assert_close(alpha * kept + sigma * eps, x_t)


def test_dynamic_threshold_leaves_images_within_the_range(denoiser):
    x0 = torch.rand(4, 1, 8, 8) * 2 - 1
    x_t, t = torch.randn(4, 1, 8, 8), torch.tensor([0.2, 0.5, 0.9, 1.0])
    assert torch.equal(DynamicThreshold(Fixed(x0))(x_t, t).x0, x0)
    # Around any denoiser, in its precision, in a sampler.
    guided = DynamicThreshold(ClassifierFreeGuidance(denoiser, 8.0))
    drawn = DDIM(3)(guided, x_t.double(), torch.tensor([0, 1, 2, 0]))
    assert drawn.dtype == torch.float64
    assert drawn.abs().max() <= 1


@pytest.mark.parametrize("percentile", [0, -0.1, 1.01, float("nan")])
def test_dynamic_threshold_needs_a_share(denoiser, percentile):
    with pytest.raises(HQDMError, match=r"needs a percentile in \(0, 1\], got"):
        DynamicThreshold(denoiser, percentile)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_dynamic_threshold_in_half_precision(dtype):
    x0 = (3 * torch.randn(2, 1, 4, 4)).to(dtype)
    x_t, t = torch.randn(2, 1, 4, 4).to(dtype), torch.tensor([0.5, 0.9])
    found = DynamicThreshold(Fixed(x0), 0.9)(x_t, t)
    expected = DynamicThreshold(Fixed(x0.float()), 0.9)(x_t.float(), t)
    assert found.x0.dtype == found.eps.dtype == dtype
    # Two roundings of numbers up to 1, and of eps with slopes up to alpha / sigma = 1.
    spacing = torch.finfo(dtype).eps
    torch.testing.assert_close(found.x0.float(), expected.x0, rtol=0, atol=2 * spacing)
    torch.testing.assert_close(found.eps.float(), expected.eps, rtol=0, atol=8 * spacing)
