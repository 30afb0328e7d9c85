"""Polynomial drifts against polynomials that are written out."""

import numpy as np
import pytest

from hqdm.carleman.drift import FixedDrift, evaluate
from hqdm.utils.errors import HQDMError


def test_values_are_those_of_the_polynomial_written_out():
    # 1, x, y, x^2, x y, y^2
    drift = FixedDrift(np.array([[1.0, 2, 0, 0, -3, 0], [0, 0, -1, 4, 0, 0.5]]), 2)
    assert drift.dim == 2
    x, y = points = np.random.default_rng(0).normal(size=(2, 5))
    expected = np.stack([1 + 2 * x - 3 * x * y, -y + 4 * x**2 + 0.5 * y**2], axis=1)
    np.testing.assert_allclose(evaluate(drift, points.T, t=0.3), expected, atol=1e-14)


def test_a_shape_that_no_polynomial_of_the_degree_has_is_refused():
    with pytest.raises(HQDMError, match=r"shape \(2, 6\), got \(2, 5\)"):
        FixedDrift(np.ones((2, 5)), 2)
