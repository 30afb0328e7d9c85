"""Schrödingerisation against matrix exponentials, its account against its definitions."""

import pickle

import numpy as np
import pytest
from evolutions import evolution, exponentials
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.linalg import expm

from hqdm.carleman.drift import FixedDrift
from hqdm.carleman.lchs.solver import LCHS
from hqdm.carleman.lchs.unitaries import CHUNK
from hqdm.carleman.linearization import CarlemanSystem
from hqdm.carleman.magnus import generators
from hqdm.carleman.schrodingerisation.solver import Schrodingerisation
from hqdm.utils.errors import HQDMError


@settings(deadline=None, max_examples=12)
@given(
    n=st.integers(1, 12),
    count=st.integers(1, 4),
    damping=st.floats(-0.5, 3),
    tolerance=st.sampled_from([1e-2, 1e-5, 1e-9]),
    seed=st.integers(0, 1000),
)
def test_products_in_order_meet_the_tolerance(n, count, damping, tolerance, seed):
    made, y0 = evolution(n, count, damping, seed)
    solution = Schrodingerisation(tolerance=tolerance).solve(made, y0)
    account = solution.account
    error = np.linalg.norm(solution.y - exponentials(made, y0)) / np.linalg.norm(y0)
    # rounding of values up to about 100, multiplied by growth, at most about 1e3 here
    assert error <= account.grid_error + 1e-11
    assert account.grid_error <= tolerance * (1 + 1e-9)
    assert account.error == pytest.approx(error, rel=1e-3, abs=1e-12)


@pytest.mark.parametrize("smoothness", [1, 2, 3])
def test_the_error_falls_at_least_with_the_order_of_the_data(smoothness):
    made, y0 = evolution(n=5, damping=2.0, seed=4)
    cutoffs, errors = [], []
    for fine in (2, 4, 8, 16):
        solver = Schrodingerisation(tolerance=0.5 / fine**smoothness, smoothness=smoothness)
        account = solver.solve(made, y0).account
        assert account.smoothness == smoothness
        assert account.error <= account.grid_error
        cutoffs.append(account.cutoff)
        errors.append(account.error)
    # waves that leave the window average the error, which gains further orders
    assert np.polyfit(np.log(cutoffs), np.log(errors), 1)[0] <= -smoothness + 0.1


def test_many_modes_are_simulated_in_parts():
    made, y0 = evolution(n=3)
    solution = Schrodingerisation(tolerance=1e-4, smoothness=2).solve(made, y0)
    assert solution.account.n_modes > 2 * CHUNK
    error = np.linalg.norm(solution.y - exponentials(made, y0)) / np.linalg.norm(y0)
    assert error <= 1e-4


def test_an_inhomogeneous_equation_is_solved_through_its_constant():
    # dx/dt = a + F x in the lift (1, x): x = exp(F t) (x_0 + F^-1 a) - F^-1 a
    a, F = np.array([0.5, -0.2]), np.array([[-1.0, 0.6], [-0.3, -0.8]])
    system = CarlemanSystem(FixedDrift(np.concatenate([a[:, None], F], axis=1), 1), 1)
    x0 = np.array([0.3, 0.9])
    made = generators(system.matrix, np.array([0.0, 1.2]), 2)
    found = system.project(
        Schrodingerisation(tolerance=1e-8).solve(made, system.lift(x0[None])[0]).y
    )
    rest = np.linalg.solve(F, a)
    np.testing.assert_allclose(found, expm(1.2 * F) @ (x0 + rest) - rest, atol=1e-7)


def test_the_account_agrees_with_its_definitions():
    made, y0 = evolution(n=5, damping=0.0, seed=2)
    solution = Schrodingerisation(tolerance=1e-8).solve(made, y0)
    account = solution.account
    lchs = LCHS(tolerance=1e-8).solve(made, y0).account
    for name in ("shifts", "growth", "hermitian_norm", "skew_norm", "system_qubits"):
        assert getattr(account, name) == pytest.approx(getattr(lchs, name))
    assert account.evolution == account.cutoff * account.hermitian_norm + account.skew_norm
    assert account.evolution < lchs.evolution
    # exp(-p_j) u at every point of the window, u of norm |y| / growth
    kept = np.linalg.norm(solution.y) / np.linalg.norm(y0) / account.growth
    assert account.success_probability == pytest.approx(kept**2 * account.fraction, rel=1e-6)
    assert account.ancilla_qubits == np.log2(account.n_modes)
    assert account.repetitions == 1 / account.success_probability
    assert pickle.loads(pickle.dumps(account)) == account


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"mode": "run"}, "unknown mode of Schrödingerisation 'run'"),
        ({"tolerance": 0.0}, "Schrödingerisation needs a tolerance between 0 and 1, got 0"),
        ({"smoothness": 13}, "smoothness of Schrödingerisation"),
        ({"order": 3}, "a product formula has order 1 or an even one, got 3"),
        ({"steps": 0}, "a product formula takes 1 step or more, got 0"),
    ],
)
def test_options_out_of_range_are_refused(options, line):
    with pytest.raises(HQDMError, match=line):
        Schrodingerisation(**options)


def test_bad_input_is_refused():
    made, y0 = evolution()
    solver = Schrodingerisation()
    with pytest.raises(HQDMError, match="Schrödingerisation needs one finite initial value"):
        solver.solve(made, 0 * y0)
    with pytest.raises(HQDMError, match="Schrödingerisation needs one generator or more"):
        solver.solve([], y0)
    with pytest.raises(HQDMError, match="Schrödingerisation would succeed with probability"):
        solver.solve([sparse.csr_array(np.diag([40.0, 0, 0, 0]))], np.array([0.0, 1, 1, 1]))
