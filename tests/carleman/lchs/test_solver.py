"""LCHS against matrix exponentials, its account against its definitions."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from evolutions import evolution, exponentials
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from hqdm.carleman.lchs.quadrature import NearOptimal, quadrature
from hqdm.carleman.lchs.solver import LCHS, MIN_PROBABILITY, register_qubits
from hqdm.utils.errors import HQDMError


@pytest.mark.slow
@settings(deadline=None, max_examples=12)
@given(
    n=st.integers(1, 12),
    count=st.integers(1, 4),
    damping=st.floats(-0.5, 3),
    tolerance=st.sampled_from([1e-2, 1e-5, 1e-9]),
    seed=st.integers(0, 1000),
)
def test_products_in_order_meet_the_tolerance(n, count, damping, tolerance, seed):
    generators, y0 = evolution(n, count, damping, seed)
    solution = LCHS(tolerance=tolerance).solve(generators, y0)
    account = solution.account
    error = np.linalg.norm(solution.y - exponentials(generators, y0)) / np.linalg.norm(y0)
    # rounding of a sum that growth, at most about 1e3 here, multiplies
    assert error <= account.truncation_error + account.spacing_error + 1e-12
    assert account.truncation_error + account.spacing_error <= tolerance * (1 + 1e-9)
    assert account.error == pytest.approx(error, rel=1e-3, abs=1e-12)


def test_the_simple_kernel_agrees_and_takes_many_more_unitaries():
    generators, y0 = evolution()
    simple = LCHS(kernel="cauchy", tolerance=1e-3).solve(generators, y0)
    better = LCHS(tolerance=1e-3).solve(generators, y0)
    assert np.linalg.norm(simple.y - better.y) <= 2e-3 * np.linalg.norm(y0)
    assert simple.account.n_unitaries > 20 * better.account.n_unitaries
    assert (simple.account.kernel, better.account.kernel) == ("cauchy", "near-optimal")


@pytest.mark.slow
def test_systems_too_large_to_diagonalise_are_solved_too():
    rng = np.random.default_rng(3)
    noise = sparse.random_array((150, 150), density=0.03, rng=rng)
    generators = [sparse.csr_array(0.3 * (noise - sparse.eye_array(150)))] * 2
    y0 = rng.normal(size=150)
    solution = LCHS(tolerance=1e-8).solve(generators, y0)
    error = np.linalg.norm(solution.y - exponentials(generators, y0)) / np.linalg.norm(y0)
    assert error <= 1e-8


def test_the_account_agrees_with_its_definitions():
    generators, y0 = evolution(n=5, damping=0.0, seed=2)
    solution = LCHS(tolerance=1e-4).solve(generators, y0)
    account = solution.account
    hermitian = [-(g + g.T).toarray() / 2 for g in generators]
    shifts = [max(0.0, -np.linalg.eigvalsh(part)[0]) for part in hermitian]
    norms = [
        np.linalg.eigvalsh(part)[-1] + shift for part, shift in zip(hermitian, shifts, strict=True)
    ]
    skews = [np.linalg.norm((g - g.T).toarray() / 2, 2) for g in generators]
    assert account.shifts == pytest.approx(shifts)
    assert min(shifts) > 0
    growth = np.exp(sum(shifts))
    assert account.growth == pytest.approx(growth)
    rule = quadrature(NearOptimal(0.75), sum(norms), 1e-4 / growth)
    assert account.n_unitaries == 2 * len(rule.nodes)
    assert account.cutoff == pytest.approx(account.spacing * (account.n_unitaries - 1) / 2)
    assert account.truncation_error == pytest.approx(growth * rule.truncation_error)
    assert account.spacing_error == pytest.approx(growth * rule.spacing_error)
    assert account.one_norm == pytest.approx(2 * np.abs(rule.coefficients).sum())
    gain = np.linalg.norm(solution.y) / np.linalg.norm(y0)
    assert account.success_probability == pytest.approx((gain / growth / account.one_norm) ** 2)
    assert account.repetitions == pytest.approx(1 / account.success_probability)
    assert account.evolution == pytest.approx(account.cutoff * sum(norms) + sum(skews))
    assert account.system_qubits == 3
    assert 2**account.ancilla_qubits >= account.n_unitaries > 2 ** (account.ancilla_qubits - 1)
    assert account.order is account.steps is None


@pytest.mark.parametrize(
    ("probability", "runs", "reached"),
    [(1.0, 1, 1.0), (0.25, 3, 1.0), (0.01, 15, 0.9953)],
)
def test_amplitude_amplification_by_hand(probability, runs, reached):
    # sin^2(3 pi / 6) is one; sin^2(15 asin 0.1) is 0.9953
    generators, y0 = evolution()
    account = LCHS(tolerance=1e-2).solve(generators, y0).account
    account = replace(account, success_probability=probability)
    assert account.amplified_repetitions == pytest.approx(runs / reached, rel=1e-4)


def test_a_shift_leaves_the_solution_and_lowers_the_probability():
    generators, y0 = evolution(damping=3.0)
    growing = [sparse.csr_array(g + 1.0 * sparse.eye_array(4)) for g in generators]
    calm = LCHS().solve(generators, y0)
    wild = LCHS().solve(growing, y0)
    assert calm.account.growth == 1
    np.testing.assert_allclose(wild.y, np.exp(3.0) * calm.y, atol=1e-5)
    assert wild.account.success_probability > calm.account.success_probability


def test_numbers_of_qubits():
    assert [register_qubits(n) for n in (1, 2, 3, 4, 5, 8, 9)] == [1, 1, 2, 2, 3, 3, 4]


def test_a_negligible_success_probability_is_refused_and_the_generator_named():
    # |y| stays 1 on a rotating shear, while its symmetric part asks for a shift of 16
    shear = sparse.csr_array(np.array([[0.0, 32.0], [0.0, 0.0]]))
    still = sparse.csr_array((2, 2))
    message = r"probability 1e-14 at most.*shifts of 16 in all.*generator 2 of 2: 16"
    with pytest.raises(HQDMError, match=message):
        LCHS().solve([still, shear], np.array([1.0, 0.0]))
    assert np.exp(-32) < MIN_PROBABILITY


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "emulated"}, "unknown mode of LCHS 'emulated'.*did you mean 'emulate'"),
        ({"kernel": "lorentz"}, "unknown kernel of LCHS 'lorentz'"),
        ({"beta": 1.0}, "0 < beta < 1, got 1.0"),
        ({"tolerance": 0.0}, "tolerance between 0 and 1, got 0.0"),
        ({"tolerance": float("nan")}, "tolerance between 0 and 1, got nan"),
        ({"order": 3}, "order 1 or an even one, got 3"),
        ({"order": 0}, "order 1 or an even one, got 0"),
        ({"steps": 0}, "1 step or more, got 0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(HQDMError, match=message):
        LCHS(**settings)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # before it is refused
@pytest.mark.parametrize(
    ("generators", "y0", "message"),
    [
        ([], np.ones(2), "one generator or more, got none"),
        ([sparse.eye_array(3)], np.ones(2), r"generator 1 has shape \(3, 3\), expected \(2, 2\)"),
        ([sparse.csr_array(np.diag([1.0, np.nan]))], np.ones(2), "generator 1 has entries"),
        ([sparse.eye_array(2)], np.zeros(2), "finite initial value other than zero"),
        ([sparse.eye_array(2)], np.array([1.0, np.inf]), "finite initial value other than zero"),
        ([1000 * sparse.eye_array(2)], np.ones(2), "the solution overflows: integrate over"),
        ([sparse.eye_array(2)], np.ones((2, 2)), r"got shape \(2, 2\)"),
    ],
)
def test_bad_systems_are_refused(generators, y0, message):
    with pytest.raises(HQDMError, match=message):
        LCHS().solve(generators, y0)


def test_backends_pickle():
    backend = LCHS(mode="circuit", beta=0.8, steps=None)
    assert pickle.loads(pickle.dumps(backend)) == backend
