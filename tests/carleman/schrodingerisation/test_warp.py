"""Initial data, grid and modes against quadrature, direct sums and exact advection."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from hqdm.carleman.schrodingerisation.warp import ORDERS, WINDOW, Profile, Warp, warp
from hqdm.utils.errors import HQDMError


@pytest.mark.parametrize("order", [1, 2, 3, 6, 12])
def test_the_initial_data_are_smooth_and_antiperiodic(order):
    profile = Profile(order, 2.0, 5.0)
    np.testing.assert_allclose(profile(np.array([0.0, 1, 4.9])), np.exp([0.0, -1, -4.9]))
    left = profile._left
    for k in range(order):
        derivative = left.derivative(k) if k else left
        # derivatives of a polynomial of degree 23 lose digits to rounding, some per derivative
        bound = 1e-12 * 10**k
        assert derivative(0.0) == pytest.approx((-1) ** k, rel=bound)
        assert derivative(-2.0) == pytest.approx(-((-1) ** k) * np.exp(-5), abs=bound)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_mass_and_variation_are_those_of_quadrature(order):
    profile = Profile(order, 1.5, 4.0)
    mass = sum(
        quad(lambda p: profile(p) ** 2, *ends, epsabs=1e-12)[0] for ends in ((-1.5, 0), (0, 4))
    )
    assert profile.mass == pytest.approx(mass, rel=1e-10)
    derivative = profile._left.derivative(order)
    inside = np.abs(np.diff(derivative(np.linspace(-1.5, 0, 20001)))).sum()
    right = 1 - np.exp(-4)  # |d^q exp(-p)| is monotone
    jumps = abs(derivative(0.0) - (-1) ** order)
    jumps += abs(derivative(-1.5) + (-1) ** order * np.exp(-4))
    assert profile.variation == pytest.approx(inside + right + jumps, rel=1e-6)


def test_modes_and_values_are_transforms_of_each_other():
    grid = warp(1.5, 1e-4)
    waves = np.exp(-1j * np.outer(grid.points, grid.nodes))
    np.testing.assert_allclose(2 * (waves @ grid.coefficients).real, grid.values, atol=1e-12)
    assert grid.nodes[-1] == pytest.approx(grid.cutoff - grid.spacing / 2)
    assert grid.points[grid.window][0] == pytest.approx(0, abs=1e-12)
    assert WINDOW - np.pi / grid.cutoff < grid.points[grid.window][-1] <= WINDOW
    decay = np.exp(-grid.points[grid.window])
    assert grid.recovery @ decay == pytest.approx(1)


def advected(grid, distance):
    """The grid's solution of dv/ds = dv/dp after a distance, recovered; exactly exp(-distance)."""
    shifted = np.exp(-1j * np.outer(grid.points[grid.window] + distance, grid.nodes))
    return grid.recovery @ (2 * (shifted @ grid.coefficients).real)


@settings(deadline=None, max_examples=30)
@given(
    extent=st.floats(0.0, 6),
    digits=st.floats(0.5, 10),
    share=st.floats(0, 1),
    order=st.sampled_from([None, *ORDERS[2:]]),
)
def test_the_bound_holds_for_every_speed(extent, digits, share, order):
    tolerance = 10.0**-digits
    grid = warp(extent, tolerance, order)
    assert grid.error <= tolerance
    distance = share * extent
    # rounding: the polynomials reach values of about a hundred
    assert abs(advected(grid, distance) - np.exp(-distance)) <= grid.error + 1e-13


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_order_of_convergence_is_that_of_the_initial_data(order):
    counts, at_points, recovered, bounds = [64, 128, 256, 512], [], [], []
    for n_modes in counts:
        grid = Warp(Profile(order, 2.0, 6.0), n_modes)
        distances = np.concatenate([np.linspace(0, np.pi / grid.cutoff, 9), np.linspace(0, 1, 9)])
        waves = np.exp(-1j * np.outer(distances, grid.nodes))  # at p = 0, where g is least smooth
        found = 2 * (waves @ grid.coefficients).real
        at_points.append(np.abs(found - np.exp(-distances)).max())
        recovered.append(max(abs(advected(grid, s) - np.exp(-s)) for s in distances))
        bounds.append(grid.error)

    def slope(values):
        return np.polyfit(np.log(counts), np.log(values), 1)[0]

    assert slope(bounds) == pytest.approx(-order, abs=0.05)
    assert slope(at_points) == pytest.approx(-order, abs=0.15)
    # the mean over the window is better by up to two orders, since errors change sign
    assert -order - 2.2 <= slope(recovered) <= -order + 0.1
    assert (np.array(recovered) <= bounds).all()


def test_the_cheapest_data_are_chosen():
    def cost(grid):
        return grid.cutoff / np.sqrt(grid.fraction)

    best = warp(2.0, 1e-5)
    assert cost(best) <= 1.02 * min(cost(warp(2.0, 1e-5, order)) for order in (3, 5, 7, 9, 11))
    assert cost(best) < cost(warp(2.0, 1e-5, 2)) / 3


def test_too_fine_a_grid_is_refused():
    with pytest.raises(HQDMError, match=r"needs [\d,]+ grid points .* at most 1,048,576"):
        warp(1.0, 1e-9, 1)
