"""Contractions against `numpy.einsum`, for all numbers of rows and columns of the tiles."""

import numpy as np
import pytest
import torch
from numba import njit

from hqdm.nn.compiled.contraction import (
    Place,
    Rows,
    Start,
    Sum,
    contract_samples,
    contract_weights,
    contraction_of,
    over,
)
from hqdm.simulators.compiled.lanes import n_lanes

LANES = n_lanes(8)
LENGTHS = 3, 2, 5
COLUMNS = 7  # one full tile of 1, 2, 3 or 4 columns, and some that are left


@njit
def with_weights(address, n_i, n_j, a, b, out, terms, start, add):
    columns, place = Rows(b, 0, terms[9]), Place(out, 0, n_j * terms[9], terms[9])
    nest = Sum(*terms[:9])
    contract_weights(address, n_i, n_j, Rows(a, 0, 1), columns, place, nest, Start(start, 0, add))


@njit
def with_samples(address, n_i, n_j, a, b, out, terms, start, add):
    columns, place = Rows(b, 0, terms[9]), Place(out, 0, n_j * terms[9], terms[9])
    nest = Sum(*terms[:9])
    rows = Rows(a, 0, terms[9])
    contract_samples(address, n_i, n_j, rows, columns, place, nest, Start(start, 0, add))


def nest(n_i, n_j, lanes_of_a):
    """The nested sums for arrays (k_1, k_2, k_3, i[, L]) and (k_1, k_2, k_3, j, L)."""
    _, l_2, l_3 = LENGTHS
    of_a, of_b = n_i * lanes_of_a, n_j * LANES
    # fmt: off
    return (
        LENGTHS[0], l_2 * l_3 * of_a, l_2 * l_3 * of_b,
        l_2, l_3 * of_a, l_3 * of_b,
        l_3, of_a, of_b,
        LANES,
    )
    # fmt: on


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("add", [False, True])
def test_contractions(per_sample, add):
    generator = np.random.default_rng(0)
    address = contraction_of(torch.float64)
    for n_i in range(1, 24):
        lanes_of_a = LANES if per_sample else 1
        a = generator.normal(size=(*LENGTHS, n_i, lanes_of_a))
        b = generator.normal(size=(*LENGTHS, COLUMNS, LANES))
        start, out = generator.normal(size=n_i), generator.normal(size=(n_i, COLUMNS, LANES))
        first = out.copy() if add else start[:, None, None]
        expected = first + np.einsum(
            "pqril,pqrjl->ijl", np.broadcast_to(a, (*a.shape[:4], LANES)), b
        )
        function = with_samples if per_sample else with_weights
        terms = nest(n_i, COLUMNS, lanes_of_a)
        arrays = a.ravel(), b.ravel(), out.ravel()
        function(address, n_i, COLUMNS, *arrays, terms, start, add)
        # Sums of 30 products of normal numbers, in another order.
        np.testing.assert_allclose(arrays[2].reshape(out.shape), expected, rtol=0, atol=1e-13)


def test_a_sum_over_one_axis():
    assert over.py_func(5, 2, 3) == Sum(1, 0, 0, 1, 0, 0, 5, 2, 3)
