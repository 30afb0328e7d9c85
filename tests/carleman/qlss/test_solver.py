"""Evolutions by a linear system solver: sparse, emulated, and as a circuit."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.linalg import expm

from hqdm.carleman.magnus import Direct, generators
from hqdm.carleman.qlss.history import block_system
from hqdm.carleman.qlss.inverse import POLYNOMIALS, inverse_polynomial
from hqdm.carleman.qlss.solver import QLSS, forward_factors, least_singular_value, scale
from hqdm.utils.errors import HQDMError

SPIRAL = sparse.csr_array([[-0.3, 0.5], [-0.5, -0.1]])
Y0 = np.array([1.0, 0.5])


def small(mode, **options):
    """A solver of which the circuit for one step in the plane takes 6 qubits."""
    return QLSS(mode, order=3, padding=3, **options)


def random_dissipative(seed, n=3):
    """A generator with a symmetric part of -1 to -0.2: nothing grows, and decay is slow."""
    rng = np.random.default_rng(seed)
    turn, mixed = rng.normal(size=(2, n, n))
    Q = np.linalg.qr(mixed)[0]
    return sparse.csr_array((turn - turn.T) / 2 - (Q * rng.uniform(0.2, 1, n)) @ Q.T)


def test_the_sparse_solve_is_a_matrix_exponential():
    factors = generators(lambda t: (1 + t) * SPIRAL, np.linspace(0, 2, 4))
    solution = QLSS("solve", tolerance=1e-14).solve(factors, Y0)
    np.testing.assert_allclose(solution.y, expm(4 * SPIRAL.toarray()) @ Y0, rtol=1e-12)
    assert solution.account.inversion is None
    assert solution.account.taylor_error < 1e-12


def test_the_taylor_error_falls_with_the_order():
    errors = [
        QLSS("solve", order=order).solve([SPIRAL], Y0).account.taylor_error for order in range(1, 9)
    ]
    # of norm 0.75 or so: each order divides the error by about (order + 2) / 0.75
    ratios = np.array(errors[:-1]) / errors[1:]
    assert (ratios > np.arange(2, 9)).all()


@pytest.mark.parametrize("polynomial", POLYNOMIALS)
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), exponent=st.floats(1, 6))
def test_emulation_is_as_accurate_as_stated(polynomial, seed, exponent):
    eps = 10**-exponent
    factors = [random_dissipative(seed), random_dissipative(seed + 1)]
    y0 = np.random.default_rng(seed).normal(size=3)
    account = QLSS(polynomial=polynomial, eps=eps).solve(factors, y0).account
    inversion = account.inversion
    assert inversion.history_error <= inversion.polynomial_error * (1 + 1e-6) + 1e-12
    # rounding: x g is measured to 1e-16 times g, up to kappa, and the degree, both below 1e4 here
    assert inversion.polynomial_error <= inversion.polynomial_bound + 1e-9
    assert inversion.polynomial_bound <= eps * (1 + 1e-9)
    # The share of the final state is that of the approximate x: within (1 + eps) / (1 - eps).
    share = math.sqrt(inversion.final_probability)
    assert inversion.error <= eps / share * (1 + eps) / (1 - eps) + 1e-12
    assert account.taylor_error < 1e-6


def test_the_norm_is_recovered_and_the_start_may_be_of_any():
    exact = Direct().solve([SPIRAL], Y0).y
    one, seven = (QLSS(eps=1e-9).solve([SPIRAL], factor * Y0) for factor in (1, 7))
    np.testing.assert_allclose(one.y, exact, rtol=1e-7)
    np.testing.assert_allclose(seven.y, 7 * exact, rtol=1e-7)
    probabilities = [made.account.inversion.success_probability for made in (one, seven)]
    assert probabilities[0] == pytest.approx(probabilities[1], rel=1e-12)


def test_state_and_probabilities_are_those_of_the_singular_value_decomposition():
    solution = small("emulate").solve([SPIRAL], Y0)
    inversion = solution.account.inversion
    system = block_system([SPIRAL], Y0, order=3, padding=3)
    W, S, Vt = np.linalg.svd(system.matrix.toarray())
    g = inverse_polynomial("minimax", inversion.alpha / S[-1], 1e-3)
    b = system.start / np.linalg.norm(system.start)
    amplitudes = Vt.T @ (g(S / inversion.alpha) * (W.T @ b)) / g.normalisation
    finals = amplitudes[-8:]  # four copies of two numbers
    assert inversion.sigma_min == pytest.approx(S[-1], rel=1e-9)
    assert inversion.inverse_probability == pytest.approx(amplitudes @ amplitudes, rel=1e-9)
    assert inversion.success_probability == pytest.approx(finals @ finals, rel=1e-9)
    copies = (finals * g.normalisation * np.linalg.norm(Y0) / inversion.alpha).reshape(4, 2)
    # They differ by the error of the inverse, below 1e-3: their mean is none of them.
    assert (np.abs(copies - copies.mean(0)).max(1) > 1e-6).all()
    np.testing.assert_allclose(solution.y, copies.mean(0), rtol=1e-9)


def test_padding_raises_the_probability_of_the_final_state():
    probabilities = [
        QLSS(order=3, padding=padding).solve([SPIRAL], Y0).account.inversion.final_probability
        for padding in (0, 3, 12)
    ]
    exact = Direct().solve([SPIRAL], Y0).y
    odds = [probability / (1 - probability) for probability in probabilities]
    # The odds grow with the number of copies; eps moves a probability by some 1e-3.
    np.testing.assert_allclose(np.divide(odds, odds[0]), [1, 4, 13], rtol=0.01)
    assert odds[0] < exact @ exact / (Y0 @ Y0)  # the other blocks hold y_0 and more


def test_queries_grow_with_time_as_the_condition_number():
    turning = sparse.csr_array([[0.0, 1.0], [-1.0, 0.0]])
    times = np.array([8, 16, 32, 64])
    inversions = [QLSS(order=4).solve([turning] * time, Y0).account.inversion for time in times]
    queries = [inversion.queries for inversion in inversions]
    # |L^{-1}| of an evolution that neither grows nor decays is proportional to its number of steps
    assert np.polyfit(np.log(times), np.log(queries), 1)[0] == pytest.approx(1, abs=0.1)
    for inversion in inversions:
        predicted = inversion.kappa * math.log(2 / 1e-3)
        assert inversion.queries == pytest.approx(predicted, rel=0.02)


def test_a_stated_degree_is_kept():
    inversion = QLSS(degree=21).solve([SPIRAL], Y0).account.inversion
    assert inversion.queries == 21
    assert inversion.history_error <= inversion.polynomial_error
    assert inversion.polynomial_error <= inversion.polynomial_bound + 1e-12


@pytest.mark.parametrize("encoding", ["sparse", "spectral"])
def test_encodings_and_singular_values(encoding):
    matrix = block_system([SPIRAL] * 3, Y0).matrix
    dense = matrix.toarray()
    least = least_singular_value(forward_factors(matrix))
    assert least == pytest.approx(np.linalg.norm(np.linalg.inv(dense), 2) ** -1, rel=1e-9)
    sums = np.abs(dense).sum(axis=0).max() * np.abs(dense).sum(axis=1).max()
    expected = {"sparse": math.sqrt(sums), "spectral": np.linalg.norm(dense, 2)}
    assert scale(matrix, encoding) == pytest.approx(expected[encoding], rel=1e-9)


def test_the_spectral_encoding_needs_fewer_queries():
    queries = [
        QLSS(encoding=encoding).solve([SPIRAL], Y0).account.inversion.queries
        for encoding in ("sparse", "spectral")
    ]
    assert queries[1] < queries[0]


@pytest.mark.parametrize("polynomial", POLYNOMIALS)
@pytest.mark.parametrize("encoding", ["sparse", "spectral"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_circuit_is_the_emulation(polynomial, encoding, n):
    generator = random_dissipative(5, n) * 0.3
    y0 = np.arange(1.0, n + 1)
    emulated, simulated = (
        small(mode, polynomial=polynomial, encoding=encoding, eps=0.01).solve([generator], y0)
        for mode in ("emulate", "circuit")
    )
    # angles are found to 1e-12, and some hundred of them act one after the other
    np.testing.assert_allclose(simulated.y, emulated.y, rtol=1e-8)
    probabilities = [
        (made.inverse_probability, made.final_probability)
        for made in (emulated.account.inversion, simulated.account.inversion)
    ]
    np.testing.assert_allclose(*probabilities, rtol=1e-8)


def test_a_circuit_of_ten_qubits_is_the_emulation():
    generator = sparse.csr_array(sparse.block_diag([SPIRAL, SPIRAL / 2, SPIRAL / 3]))
    emulated, simulated = (
        QLSS(mode, order=7, padding=7).solve([generator] * 2, np.ones(6))
        for mode in ("emulate", "circuit")
    )
    assert simulated.account.inversion.qubits == 10  # 24 blocks of 6: 144 unknowns
    np.testing.assert_allclose(simulated.y, emulated.y, rtol=1e-8)


def test_amplification_saves_repetitions():
    inversion = small("emulate").solve([SPIRAL], Y0).account.inversion
    assert inversion.repetitions == pytest.approx(1 / inversion.success_probability)
    assert inversion.amplified_repetitions < inversion.repetitions


def test_results_repeat_and_objects_copy():
    solver = small("emulate")
    again = pickle.loads(pickle.dumps(copy.deepcopy(solver)))
    first, second = solver.solve([SPIRAL], Y0), again.solve([SPIRAL], Y0)
    np.testing.assert_array_equal(first.y, second.y)
    assert pickle.loads(pickle.dumps(first.account)) == second.account


def test_unknown_names_are_refused():
    with pytest.raises(HQDMError, match="unknown mode of a linear system solver 'emulation'"):
        QLSS("emulation")
    with pytest.raises(HQDMError, match="unknown inverse polynomial 'cheby'"):
        QLSS(polynomial="cheby")
    with pytest.raises(HQDMError, match="unknown block encoding 'dense'"):
        QLSS(encoding="dense")


def test_a_circuit_beyond_the_qubits_is_refused():
    with pytest.raises(HQDMError, match="takes 6 qubits, more than qubit_limit=5: use mode='emu"):
        small("circuit", qubit_limit=5).solve([SPIRAL], Y0)


def test_badly_conditioned_systems_are_refused():
    growing = sparse.csr_array(np.diag([15.0, -15.0]))
    with pytest.raises(
        HQDMError, match=r"condition number of .*e\+.* more than degree_limit=100,000"
    ):
        QLSS().solve([growing], Y0)
    with pytest.raises(HQDMError, match="need degree 101, more than degree_limit=99"):
        QLSS(degree=101, degree_limit=99).solve([SPIRAL], Y0)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_solutions_that_overflow_are_refused():
    with pytest.raises(HQDMError, match="the solution overflows: integrate over a shorter"):
        QLSS("solve").solve([sparse.csr_array(np.eye(2) * 800)], Y0)
    with pytest.raises(HQDMError, match="the block system is singular"):
        QLSS("emulate").solve([sparse.csr_array(np.diag([400.0, 0.0]))], np.array([0.0, 1.0]))


def test_the_memory_limit_is_passed_on():
    with pytest.raises(HQDMError, match="more than memory_limit=1,000"):
        QLSS(memory_limit=1000).solve([SPIRAL], Y0)
