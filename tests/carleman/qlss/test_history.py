"""Block systems of evolutions: by hand, against matrix exponentials, and invalid input."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.linalg import expm
from scipy.sparse.linalg import spsolve

from hqdm.carleman.qlss.history import block_system, schur_norm, taylor_order, taylor_tail
from hqdm.utils.errors import HQDMError


def random_generators(seed, n=3, count=2, norm=0.9):
    rng = np.random.default_rng(seed)
    made = [sparse.csr_array(rng.normal(size=(n, n))) for _ in range(count)]
    return [matrix * (norm / schur_norm(matrix)) for matrix in made]


def final(system):
    return system.finals(spsolve(system.matrix.tocsc(), system.start))


def test_scalar_system_by_hand():
    system = block_system([sparse.csr_array([[-0.5]])], np.array([2.0]), order=2, padding=1)
    expected = [
        [1, 0, 0, 0, 0],
        [0.5, 1, 0, 0, 0],
        [0, 0.25, 1, 0, 0],
        [-1, -1, -1, 1, 0],
        [0, 0, 0, -1, 1],
    ]
    np.testing.assert_array_equal(system.matrix.toarray(), expected)
    np.testing.assert_array_equal(system.start, [2, 0, 0, 0, 0])


def test_two_steps_of_a_plane_by_hand():
    first, second = (
        sparse.csr_array([[0.0, 0.25], [-0.5, 0.0]]),
        sparse.csr_array([[0.5, 0], [0, 0]]),
    )
    system = block_system([first, second], np.array([1.0, 3.0]), order=1, padding=0)
    one, none = np.eye(2), np.zeros((2, 2))
    expected = np.block(
        [
            [one, none, none, none, none],
            [-first.toarray(), one, none, none, none],
            [-one, -one, one, none, none],
            [none, none, -second.toarray(), one, none],
            [none, none, -one, -one, one],
        ]
    )
    np.testing.assert_array_equal(system.matrix.toarray(), expected)
    np.testing.assert_array_equal(system.start, [1, 3] + 8 * [0])


def test_the_final_state_is_that_of_matrix_exponentials():
    first, second = random_generators(seed=0, norm=2.7)
    y0 = np.array([1.0, -2.0, 0.5])
    system = block_system([first, second], y0, tolerance=1e-14)
    exact = expm(second.toarray()) @ expm(first.toarray()) @ y0
    assert system.steps == 6  # norms of 2.7 in three parts each
    # rounding of some 100 additions of numbers of order one
    np.testing.assert_allclose(final(system), np.tile(exact, (7, 1)), rtol=1e-12, atol=1e-13)


def test_a_series_of_order_k_is_summed_to_order_k():
    system = block_system([sparse.csr_array([[-0.5]])], np.array([1.0]), order=3, padding=0)
    series = sum((-0.5) ** j / math.factorial(j) for j in range(4))
    assert final(system)[0, 0] == pytest.approx(series, rel=1e-15)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 10), st.floats(0.1, 4))
def test_taylor_error_is_within_its_bound(seed, order, norm):
    generator = random_generators(seed, count=1, norm=norm)[0]
    y0 = np.random.default_rng(seed).normal(size=3)
    system = block_system([generator], y0, order=order, padding=0)
    exact = expm(generator.toarray()) @ y0
    # An error grows by at most exp(norm) along the rest of the evolution; the factor
    # (1 + tail)^p < e^bound covers a truncated series that exceeds the exponential.
    grown = np.exp(norm + system.taylor_bound) * system.taylor_bound * np.linalg.norm(y0)
    assert np.linalg.norm(final(system)[0] - exact) <= grown + 1e-13


def test_the_order_is_the_lowest_that_meets_the_tolerance():
    for tolerance in (1e-2, 1e-5, 1e-10):
        order = taylor_order(0.8, 5, tolerance)
        assert 5 * taylor_tail(0.8, order) <= tolerance < 5 * taylor_tail(0.8, order - 1)
    with pytest.raises(HQDMError, match="tolerance of 0: use 1e-14"):
        taylor_order(0.8, 5, 0)


@pytest.mark.parametrize("order", [2, 6])
def test_the_bound_on_the_series_is_the_sum_over_all_steps(order):
    """Of scalars 0.6, 1.6 and 2.4: one step, two of 0.8 and three of 0.8."""
    system = block_system(
        [sparse.csr_array([[g]]) for g in (0.6, 1.6, 2.4)], np.ones(1), order=order
    )
    tails = [sum(g**j / math.factorial(j) for j in range(order + 1, 40)) for g in [0.6] + 5 * [0.8]]
    assert system.steps == 6
    # All steps are counted as the largest; and the bound on a tail is at most 1.1 times the tail.
    assert sum(tails) <= system.taylor_bound <= 1.1 * 6 * max(tails)


def test_the_bound_on_the_tail_holds_and_is_close():
    for order in (1, 4, 9):
        tail = sum(0.7**j / math.factorial(j) for j in range(order + 1, 40))
        assert tail <= taylor_tail(0.7, order) <= 1.1 * tail


def test_padding_raises_the_share_of_the_final_state_as_predicted():
    generators, y0 = random_generators(seed=3), np.ones(3)
    bare = block_system(generators, y0, order=4, padding=0)
    x = spsolve(bare.matrix.tocsc(), bare.start)
    y2, rest = (bare.finals(x) ** 2).sum(), (x[:-3] ** 2).sum()
    for padding in (1, 5, 20):
        system = block_system(generators, y0, order=4, padding=padding)
        x = spsolve(system.matrix.tocsc(), system.start)
        share = (system.finals(x) ** 2).sum() / (x @ x)
        assert share == pytest.approx((padding + 1) * y2 / (rest + (padding + 1) * y2), rel=1e-12)


def test_padding_is_the_number_of_steps_by_default():
    system = block_system(random_generators(0, norm=2.5), np.ones(3))
    assert system.padding == system.steps == 6


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_schur_norm_is_at_least_the_spectral_norm(seed):
    matrix = np.random.default_rng(seed).normal(size=(4, 4))
    assert schur_norm(sparse.csr_array(matrix)) >= np.linalg.norm(matrix, 2)


def test_bad_input_is_refused():
    one, y0 = sparse.csr_array(np.eye(2)), np.ones(2)
    with pytest.raises(HQDMError, match=r"one initial value of shape \(n,\), got shape \(2"):
        block_system([one], np.ones((2, 3)))
    with pytest.raises(HQDMError, match="one generator or more, got none"):
        block_system([], y0)
    with pytest.raises(HQDMError, match=r"length 3 needs generators of shape \(3, 3\), got \(2, 2"):
        block_system([one], np.ones(3))
    with pytest.raises(HQDMError, match="not finite"):
        block_system([one * np.inf], y0)
    with pytest.raises(HQDMError, match="not finite"):
        block_system([one], np.array([1, np.nan]))
    with pytest.raises(HQDMError, match="the initial value is zero"):
        block_system([one], np.zeros(2))
    with pytest.raises(HQDMError, match="got 0 and 1"):
        block_system([one], y0, order=0)
    with pytest.raises(HQDMError, match="padding of 0 or more, got 3 and -1"):
        block_system([one], y0, order=3, padding=-1)


def test_a_system_beyond_the_memory_is_refused_before_it_is_built():
    # one step of order 1: 4 blocks of 2 rows; 2 entries of G, 7 blocks of 2 ones
    needed = 8 * 320 + 16 * 88
    arguments = ([sparse.csr_array(np.eye(2))], np.ones(2), 1, 1e-8, 1)
    with pytest.raises(HQDMError, match=f"take {needed:,} bytes, more than memory_limit=3,000"):
        block_system(*arguments, memory_limit=3000)
    assert block_system(*arguments, memory_limit=needed).matrix.nnz == 16
    with pytest.raises(HQDMError, match="bytes, more than memory_limit=4,294,967,296"):
        block_system([1e30 * sparse.csr_array(np.eye(2))], np.ones(2))
