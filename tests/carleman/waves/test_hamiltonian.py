"""The continuity Hamiltonian against the densities of flows in closed form."""

import numpy as np
import pytest
from gaussian_flows import LAM, gaussian, mixture
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from hqdm.carleman.waves.grid import Grid, distances
from hqdm.carleman.waves.hamiltonian import (
    DERIVATIVES,
    DIFFERENCES,
    FOURIER,
    ContinuityHamiltonian,
    evolve,
    fourier_derivative,
)
from hqdm.utils.errors import HQDMError


def evolved(flow, grid, derivative, steps, order=4):
    """The wave function at the end, and that of the density in closed form."""
    start, end = (grid.wave(flow.density(grid.points, lam)) for lam in LAM)
    hamiltonian = ContinuityHamiltonian(grid, flow.velocity, derivative)
    return evolve(hamiltonian, start, np.linspace(*LAM, steps + 1), order), end


@settings(deadline=None, max_examples=20)
@given(
    dim=st.integers(1, 2),
    derivative=st.sampled_from(DERIVATIVES),
    lam=st.floats(*LAM),
    seed=st.integers(0),
)
def test_the_matrix_is_antisymmetric_and_the_evolution_orthogonal(dim, derivative, lam, seed):
    grid = Grid(dim, 4)
    hamiltonian = ContinuityHamiltonian(grid, mixture(dim).velocity, derivative)
    matrix = hamiltonian.matrix(lam)
    assert abs(matrix + matrix.T).max() < 1e-12  # the cotangents of collocation are rounded
    wave = np.random.default_rng(seed).normal(size=len(grid.points))
    moved = evolve(hamiltonian, wave, np.array([lam, lam + 0.5]), 2)
    assert np.linalg.norm(moved) == pytest.approx(np.linalg.norm(wave), rel=1e-12)


def error_of_the_matrix(derivative, qubits):
    """The error of -v . grad psi - (div v) psi / 2 for a wave that is 1e-9 at the border."""
    grid = Grid(2, qubits, 7.0)
    x, y = grid.points.T

    def velocity(points, t):
        x, y = points.T
        return np.stack([t * np.sin(x) * y, np.cos(y) + x], axis=1)

    psi = np.exp(-(x**2 + (y - 0.3) ** 2) / 2)
    v, divergence = velocity(grid.points, 2.0), 2 * np.cos(x) * y - np.sin(y)
    exact = v[:, 0] * x * psi + v[:, 1] * (y - 0.3) * psi - divergence * psi / 2
    found = ContinuityHamiltonian(grid, velocity, derivative).matrix(2.0) @ psi
    return np.abs(found - exact).max()


@pytest.mark.parametrize("derivative", list(DIFFERENCES))
def test_differences_have_their_order(derivative):
    coarse, fine = (error_of_the_matrix(derivative, qubits) for qubits in (6, 7))
    assert np.log2(coarse / fine) == pytest.approx(DIFFERENCES[derivative], abs=0.5)


def test_fourier_collocation_is_exact_for_a_smooth_wave():
    assert error_of_the_matrix(FOURIER, 6) < 1e-7  # 1e-9 at the border times velocities and 1 / h


@pytest.mark.parametrize("derivative", ["difference2", "difference4"])
def test_the_evolution_converges_at_the_order_of_the_differences(derivative):
    errors = []
    for qubits in (7, 8):
        found, exact = evolved(mixture(1), Grid(1, qubits, 8.0), derivative, 20)
        errors.append(np.linalg.norm(found - exact))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(DIFFERENCES[derivative], abs=0.3)


def test_fourier_collocation_converges_faster_than_any_order():
    """Twice the points lower the error of a normal distribution 9,000 times."""
    errors = []
    for qubits in (4, 5):
        found, exact = evolved(gaussian(1), Grid(1, qubits, 8.0), FOURIER, 40)
        errors.append(np.linalg.norm(found - exact))
    assert errors[1] < 1e-3 * errors[0]


def test_the_fourier_derivative_is_exact_for_waves():
    grid = Grid(1, 4, 3.0)
    x = grid.axis()
    for k in range(8):
        wave = np.exp(1j * np.pi / 3 * k * x)
        expected = 1j * np.pi / 3 * k * wave
        np.testing.assert_allclose(fourier_derivative(grid) @ wave, expected, atol=1e-12)


@pytest.mark.parametrize("order", [2, 4])
def test_magnus_integrators_reach_their_order_and_the_ode(order):
    grid = Grid(1, 4)
    hamiltonian = ContinuityHamiltonian(grid, mixture(1).velocity)
    solved = solve_ivp(
        lambda t, y: hamiltonian.matrix(t) @ y, LAM, grid.normal(), "DOP853", rtol=1e-9, atol=1e-9
    )
    errors = [
        np.linalg.norm(
            evolve(hamiltonian, grid.normal(), np.linspace(*LAM, n + 1), order) - solved.y[:, -1]
        )
        for n in (16, 32)
    ]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.4)


def test_the_density_of_a_mixture_in_the_plane():
    grid = Grid(2, 6)
    found, exact = evolved(mixture(2), grid, "difference4", 20)
    assert distances(grid, found, exact).total_variation < 2e-3
    # the density is not that of the start
    assert distances(grid, grid.normal(), exact).total_variation > 0.3


def test_a_permutation_of_coordinates_permutes_the_wave():
    grid, flow = Grid(2, 4), mixture(2)
    swapped = ContinuityHamiltonian(grid, lambda x, t: flow.velocity(x[:, ::-1], t)[:, ::-1])
    times = np.linspace(*LAM, 5)
    one = evolve(ContinuityHamiltonian(grid, flow.velocity), grid.normal(), times)
    other = evolve(swapped, grid.normal(), times)
    np.testing.assert_allclose(other.reshape(16, 16).T.ravel(), one, atol=1e-12)


def test_bad_input_is_refused():
    flow = mixture(1)
    with pytest.raises(HQDMError, match="unknown derivative 'difference3'"):
        ContinuityHamiltonian(Grid(1, 4), flow.velocity, "difference3")
    with pytest.raises(HQDMError, match="difference6 needs 4 qubits or more per coordinate, got 3"):
        ContinuityHamiltonian(Grid(1, 3), flow.velocity, "difference6")
    for wrong in (lambda x, t: x[:, 0], lambda x, t: x * np.inf):
        for derivative in ("difference2", FOURIER):
            with pytest.raises(HQDMError, match="a flow needs finite velocities of shape"):
                ContinuityHamiltonian(Grid(1, 3), wrong, derivative).matrix(0.0)
