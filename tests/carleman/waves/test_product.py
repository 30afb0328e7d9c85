"""The product of rotations against matrix exponentials and the exact evolution."""

import numpy as np
import pytest
from gaussian_flows import LAM, mixture
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import thinned
from scipy.linalg import expm

from hqdm.carleman.waves.grid import Grid
from hqdm.carleman.waves.hamiltonian import FOURIER, ContinuityHamiltonian, evolve, exchange
from hqdm.carleman.waves.product import Piece, account, emulate, rotations, strang, walsh
from hqdm.utils.errors import HQDMError


@settings(deadline=None, max_examples=20)
@given(
    dim=st.integers(1, 2),
    level=st.integers(0, 1),
    axis=st.integers(0, 1),
    odd=st.booleans(),
    seed=st.integers(0),
)
def test_a_piece_is_the_exponential_of_its_pairs(dim, level, axis, odd, seed):
    grid, axis = Grid(dim, 3), min(axis, dim - 1)
    rng = np.random.default_rng(seed)
    rates, wave = rng.normal(size=(2, 8**dim))
    place = np.indices(grid.shape)[axis].ravel()
    own = np.where((place >> level & 1) == odd, rates, 0.0)
    exact = expm(0.3 * exchange(grid, axis, level, own).toarray()) @ wave
    piece = Piece(grid, axis, level, odd)
    np.testing.assert_allclose(piece.rotate(wave, piece.angles(rates, 0.3)), exact, atol=1e-12)


def test_pieces_are_the_whole_hamiltonian():
    grid = Grid(2, 3)
    hamiltonian = ContinuityHamiltonian(grid, mixture(2).velocity)
    steps = strang(hamiltonian)
    assert sum(fraction for _, fraction in steps) == 2 * 2 * 2  # coordinates, levels, parities
    assert [piece for piece, _ in steps] == [piece for piece, _ in reversed(steps)]
    wave, tau = np.random.default_rng(0).normal(size=64), 1e-6
    moved = emulate(hamiltonian, wave, np.array([0.5, 0.5 + tau]))
    # the second derivative of the evolution, times tau, is the error of the quotient
    expected = hamiltonian.matrix(0.5 + tau / 2) @ wave
    np.testing.assert_allclose((moved - wave) / tau, expected, atol=1e-4)


@pytest.mark.parametrize("dim", thinned([1, 2], every=2))
def test_the_product_has_order_2(dim):
    grid = Grid(dim, 5 - dim)
    hamiltonian = ContinuityHamiltonian(grid, mixture(dim).velocity)
    exact = evolve(hamiltonian, grid.normal(), np.linspace(*LAM, 129))
    errors = [
        np.linalg.norm(emulate(hamiltonian, grid.normal(), np.linspace(*LAM, n + 1)) - exact)
        for n in (64, 128)
    ]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)


@settings(deadline=None, max_examples=20)
@given(bits=st.integers(0, 5), seed=st.integers(0))
def test_walsh_coefficients_sum_to_the_values(bits, seed):
    values = np.random.default_rng(seed).normal(size=2**bits)
    places = np.arange(2**bits)
    parity = np.array([[int(s & j).bit_count() % 2 for s in places] for j in places])
    np.testing.assert_allclose((-1.0) ** parity @ walsh(values), values, atol=1e-12)


@pytest.mark.parametrize(("dim", "degree"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_a_polynomial_flow_has_rotations_of_few_qubits(dim, degree):
    """At most degree + 1 qubits, also of the pairs across the border."""

    def velocity(x, t):
        return (1 + x.sum(axis=1, keepdims=True)) ** degree * np.ones(dim)

    hamiltonian = ContinuityHamiltonian(Grid(dim, 6 - dim), velocity)
    found = account(hamiltonian, np.array([0.0, 0.1]))
    assert found.largest_weight == degree + 1
    general = ContinuityHamiltonian(
        hamiltonian.grid, lambda x, t: np.exp(x.sum(axis=1, keepdims=True) / 4) * np.ones(dim)
    )
    most = account(general, np.array([0.0, 0.1]))
    assert most.largest_weight == hamiltonian.grid.dim * hamiltonian.grid.qubits
    assert found.rotations < most.rotations


def test_the_account_of_a_constant_velocity():
    """One rotation of one qubit for each piece: 3 in a Strang step, one of them shifted."""
    hamiltonian = ContinuityHamiltonian(Grid(1, 4), lambda x, t: 0 * x + 1, "difference2")
    found = account(hamiltonian, np.linspace(0, 1, 6))
    assert (found.qubits, found.rotations, found.controlled_nots) == (4, 5 * 3, 0)
    assert (found.shifts, found.largest_weight) == (5 * 2, 1)


def test_fourier_collocation_is_refused():
    hamiltonian = ContinuityHamiltonian(Grid(1, 4), mixture(1).velocity, FOURIER)
    with pytest.raises(HQDMError, match="needs sparse differences, got fourier: use one of"):
        next(rotations(hamiltonian, np.array([0.0, 1.0])))
