"""The circuit of Schrödingerisation against its emulation."""

import numpy as np
import pennylane as qml
import pytest
from scipy import sparse

from hqdm.carleman.lchs.unitaries import cartesian
from hqdm.carleman.schrodingerisation.circuit import operators, registers, run
from hqdm.carleman.schrodingerisation.solver import Schrodingerisation, emulate
from hqdm.carleman.schrodingerisation.warp import warp
from hqdm.utils.errors import HQDMError


def evolution(n=3, seed=0):
    rng = np.random.default_rng(seed)
    made = [sparse.csr_array(0.4 * rng.normal(size=(n, n)) - 0.5 * np.eye(n)) for _ in range(2)]
    return made, rng.normal(size=n)


def test_the_circuit_is_its_emulation():
    made, y0 = evolution()
    emulated = Schrodingerisation(tolerance=0.05).solve(made, y0)
    simulated = Schrodingerisation("circuit", tolerance=0.05, steps=None).solve(made, y0)
    np.testing.assert_allclose(simulated.y, emulated.y, atol=1e-12)
    for name in ("success_probability", "error", "n_modes", "ancilla_qubits"):
        assert getattr(simulated.account, name) == pytest.approx(getattr(emulated.account, name))
    parts = [cartesian(generator) for generator in made]
    grid = warp(sum(part.hermitian_norm for part in parts), 0.05)
    expected = emulate(parts, grid, y0)
    np.testing.assert_allclose(run(parts, grid, y0, 2, None), expected, atol=1e-12)


def test_product_formulas_converge_at_their_order():
    made, y0 = evolution(n=2)
    exact = Schrodingerisation(tolerance=0.1).solve(made, y0).y
    errors = []
    for steps in (8, 16):
        solver = Schrodingerisation("circuit", tolerance=0.1, steps=steps)
        found = solver.solve(made, y0)
        assert (found.account.order, found.account.steps) == (2, steps)
        errors.append(np.linalg.norm(found.y - exact))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)


def test_the_transform_is_unitary_and_takes_points_to_modes():
    """With L = H = 0 the circuit returns the initial data, and in between it holds the modes."""
    made = [sparse.csr_array((2, 2))]
    y0 = np.array([1.0, 0.0])
    parts = [cartesian(generator) for generator in made]
    grid = warp(0.0, 0.1)
    points, system = registers(grid, 2)
    made = operators(parts, grid, y0, 2, 1)
    forward = made[: 2 + len(points) + 1]  # load, prepare, a phase per qubit, Fourier transform
    tape = qml.tape.QuantumScript(forward, [qml.state()])
    device = qml.device("default.qubit", wires=len(points) + len(system))
    (state,) = qml.execute([tape], device)
    modes = state.reshape(grid.n_modes, 2)[grid.n_modes // 2 :, 0]  # of positive k
    # the circuit leaves out exp(i k a), which commutes with the evolution
    expected = grid.coefficients * np.exp(1j * grid.nodes * grid.profile.width)
    expected *= np.sqrt(grid.n_modes) / np.linalg.norm(grid.values)
    np.testing.assert_allclose(modes, expected, atol=1e-12)
    np.testing.assert_allclose(run(parts, grid, y0, 2, 1)[0], grid.values[grid.window], atol=1e-12)


def test_a_circuit_of_too_many_qubits_is_refused():
    made, y0 = evolution(n=40)
    with pytest.raises(HQDMError, match="this Schrödingerisation circuit needs 1[3-9] qubits"):
        Schrodingerisation("circuit", tolerance=1e-8).solve(made, y0)
