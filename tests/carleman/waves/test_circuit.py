"""The circuit of a wave function against its emulation."""

import numpy as np
import pennylane as qml
import pytest
from gaussian_flows import mixture

from hqdm.carleman.waves.circuit import decrement, diagonal_rotation, pauli_rotations, run
from hqdm.carleman.waves.grid import Grid
from hqdm.carleman.waves.hamiltonian import ContinuityHamiltonian, evolve
from hqdm.carleman.waves.product import Piece, emulate
from hqdm.utils.errors import HQDMError


@pytest.mark.parametrize(("dim", "derivative"), [(1, "difference6"), (2, "difference4")])
def test_the_circuit_is_the_product_of_rotations(dim, derivative):
    grid = Grid(dim, 5 - dim)
    hamiltonian = ContinuityHamiltonian(grid, mixture(dim).velocity, derivative)
    times = np.array([-0.5, 0.0, 0.4])
    expected = emulate(hamiltonian, grid.normal(), times)
    np.testing.assert_allclose(run(hamiltonian, grid.normal(), times), expected, atol=1e-12)


def test_the_circuit_converges_to_the_exact_evolution_with_order_2():
    grid = Grid(1, 3)
    hamiltonian = ContinuityHamiltonian(grid, mixture(1).velocity, "difference2")
    exact = evolve(hamiltonian, grid.normal(), np.linspace(-1, 1, 65))
    errors = [
        np.linalg.norm(run(hamiltonian, grid.normal(), np.linspace(-1, 1, n + 1)) - exact)
        for n in (8, 16)
    ]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(("axis", "level"), [(0, 0), (0, 1), (1, 0), (1, 2)])
def test_a_decrement_moves_every_point(axis, level):
    grid = Grid(2, 3)
    matrix = qml.matrix(
        qml.prod(*reversed(list(decrement(Piece(grid, axis, level, True))))), range(6)
    )
    moved = np.roll(np.arange(64).reshape(8, 8), -(2**level), axis=axis).ravel()
    np.testing.assert_allclose(matrix, np.eye(64)[moved], atol=1e-12)


@pytest.mark.parametrize(("axis", "level"), [(0, 0), (1, 1)])
def test_a_diagonal_unitary_is_its_rotations(axis, level):
    piece = Piece(Grid(2, 2), axis, level, False)
    angles = np.random.default_rng(0).normal(size=8)
    one, other = (
        qml.matrix(qml.prod(*reversed(made(piece, angles))), range(4))
        for made in (diagonal_rotation, pauli_rotations)
    )
    np.testing.assert_allclose(one, other, atol=1e-12)


def test_a_circuit_of_too_many_qubits_is_refused():
    hamiltonian = ContinuityHamiltonian(Grid(2, 7), mixture(2).velocity)
    with pytest.raises(HQDMError, match="needs 14 qubits, expected at most 12: use a coarser grid"):
        run(hamiltonian, hamiltonian.grid.normal(), np.array([0.0, 1.0]))
