"""Grids of wave functions, and distances against closed forms of normal distributions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from hqdm.carleman.waves.grid import Grid, distances
from hqdm.utils.errors import HQDMError


@settings(deadline=None, max_examples=20)
@given(
    dim=st.integers(1, 2), qubits=st.integers(2, 6), extent=st.floats(0.5, 9), seed=st.integers(0)
)
def test_a_wave_function_represents_its_density(dim, qubits, extent, seed):
    grid = Grid(dim, qubits, extent)
    assert grid.points.shape == (2 ** (qubits * dim), dim)
    np.testing.assert_allclose(grid.points[0] + grid.points[-1], 0, atol=1e-12)
    density = np.random.default_rng(seed).uniform(size=len(grid.points))
    wave = grid.wave(density)
    np.testing.assert_allclose(wave**2 * density.sum(), density, rtol=1e-12)


def test_the_last_coordinate_is_fastest():
    grid = Grid(2, 2, 2.0)
    np.testing.assert_allclose(grid.points[:2], [[-1.5, -1.5], [-1.5, -0.5]])
    np.testing.assert_allclose(Grid(1, 2, 2.0).lattice(1)[:, 0], [-1.5, -0.5, 0.5, 1.5, 2.5])


def test_distances_of_shifted_normal_distributions():
    """Of N(0, s^2) and N(m, s^2): closed forms, up to cells that are small beside s."""
    grid, m, s = Grid(1, 9, 6.0), 0.4, 0.7
    x = grid.points[:, 0]
    p, q = (grid.wave(norm.pdf(x, mean, s)) for mean in (0, m))
    found = distances(grid, q, p)
    assert found.total_variation == pytest.approx(2 * norm.cdf(m / (2 * s)) - 1, rel=1e-4)
    assert found.kullback_leibler == pytest.approx(m**2 / (2 * s**2), rel=1e-9)
    assert found.wasserstein == pytest.approx(m, rel=1e-9)
    assert found.infidelity == pytest.approx(1 - np.exp(-((m / s) ** 2) / 4), rel=1e-9)


def test_distances_of_products_in_the_plane():
    grid, m = Grid(2, 6, 6.0), np.array([0.1, -0.5])
    p, q = (grid.wave(norm.pdf(grid.points, mean).prod(1)) for mean in (0, m))
    found = distances(grid, q, p)
    assert found.kullback_leibler == pytest.approx(m @ m / 2, rel=1e-6)
    assert found.wasserstein == pytest.approx(0.5, rel=1e-6)  # of the second coordinate


def test_a_cell_without_probability_is_infinitely_far():
    grid = Grid(1, 2)
    found = distances(grid, grid.wave([0, 1, 1, 1]), grid.wave([1, 1, 1, 1]))
    assert found.kullback_leibler == np.inf
    assert found.total_variation == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ((3, 4), "the dimension of a wave function needs a whole number up to 2, got 3"),
        ((2, 9), "qubits of a coordinate needs a whole number up to 8, got 9"),
        ((1, 1), "qubits of a coordinate needs a whole number from 2, got 1"),
        ((1, 4, -1.0), "the extent of a grid needs a positive number, got -1"),
    ],
)
def test_grids_out_of_range_are_refused(options, line):
    with pytest.raises(HQDMError, match=line):
        Grid(*options)


@pytest.mark.parametrize(
    ("density", "line"),
    [
        (np.ones(3), r"one value at each of 4 points, got the shape \(3,\)"),
        (np.array([1, 1, -1, 1.0]), "finite values, none below 0 and not all 0"),
        (np.zeros(4), "finite values, none below 0 and not all 0"),
        (np.array([1, np.nan, 1, 1]), "finite values, none below 0 and not all 0"),
    ],
)
def test_no_density_is_refused(density, line):
    with pytest.raises(HQDMError, match=line):
        Grid(1, 2).wave(density)
