"""Densities on characteristics against closed forms."""

import numpy as np
import pytest
from gaussian_flows import LAM, gaussian, mixture

from hqdm.carleman.waves.characteristics import transported
from hqdm.carleman.waves.grid import Grid


@pytest.mark.parametrize("dim", [1, 2])
def test_the_flow_of_a_mixture_has_its_density(dim):
    flow, grid = mixture(dim), Grid(dim, 4, 3.0)
    early = -12.0  # alpha = 6e-6: the density of the data is N(0, I) there to 1e-5
    exact = flow.density(grid.points, LAM[1])
    found = transported(flow.velocity, grid.points, np.linspace(early, LAM[1], 201))
    np.testing.assert_allclose(found, exact, atol=2e-5)


def test_the_integration_has_order_4():
    points, flow = Grid(1, 5, 3.0).points, mixture(1)
    fine, *coarse = (
        transported(flow.velocity, points, np.linspace(*LAM, n + 1)) for n in (800, 20, 40)
    )
    errors = [np.abs(one - fine).max() for one in coarse]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.6)


def test_a_linear_flow_in_closed_form():
    """From N(0, 1) at lambda = -4 by x -> mean + ratio (x - mean)."""
    flow, points = gaussian(1), Grid(1, 5, 2.0).points
    mean, std = (
        np.array([np.sqrt(1 / (1 + np.exp(-2 * lam))) * 0.5 for lam in LAM]),
        np.array([np.sqrt(1 - 0.7 / (1 + np.exp(-2 * lam))) for lam in LAM]),
    )
    origin = mean[0] + (points[:, 0] - mean[1]) * std[0] / std[1]
    exact = np.exp(-(origin**2) / 2) / np.sqrt(2 * np.pi) * std[0] / std[1]
    found = transported(flow.velocity, points, np.linspace(*LAM, 201))
    np.testing.assert_allclose(found, exact, rtol=1e-6)


def test_points_that_come_from_infinity_have_no_density():
    """Dx/dt = -x^3 from t = 0 to 1: |x| > 1 / sqrt 2 is reached from nowhere."""
    points = np.array([[-3.0], [-0.9], [0.2], [0.75], [5.0]])
    found = transported(lambda x, t: -(x**3), points, np.linspace(0, 1, 401))
    inside = points[2, 0]
    origin = inside / np.sqrt(1 - 2 * inside**2)
    exact = np.exp(-(origin**2) / 2) / np.sqrt(2 * np.pi) * (1 - 2 * inside**2) ** -1.5
    np.testing.assert_allclose(found, [0, 0, exact, 0, 0], rtol=1e-7)
