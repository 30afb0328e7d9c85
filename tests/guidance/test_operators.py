"""Linear measurements against SciPy."""

import numpy as np
import pytest
from gaussian_images import noisy
from scipy.ndimage import gaussian_filter

from hqdm.guidance.operators import Blur
from hqdm.utils.errors import HQDMError


@pytest.mark.parametrize("std", [0.4, 1.0, 2.5])
def test_blur_is_a_gaussian_filter(std):
    images = noisy(2)
    reach = max(1, round(3 * std))
    expected = gaussian_filter(images, std, axes=(2, 3), mode="nearest", radius=reach)
    np.testing.assert_allclose(Blur(std)(images), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(Blur(std)(images[0]), expected[0], rtol=0, atol=1e-12)


def test_blur_needs_a_width():
    with pytest.raises(HQDMError, match="a standard deviation above 0, got 0"):
        Blur(0)
