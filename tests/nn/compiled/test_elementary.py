"""Elementary functions of lanes against NumPy in extended precision."""

import numpy as np
import pytest
from numba import njit

from hqdm.nn.compiled.elementary import divide, exp, maximum, sqrt
from hqdm.simulators.compiled.lanes import load, store, width

DTYPES = [np.float32, np.float64]


@njit
def exponentials(x, out):
    for i in range(0, len(x), width(x)):
        store(out, i, exp(load(x, i)))


@njit
def others(x, y, quotients, roots, maxima):
    for i in range(0, len(x), width(x)):
        store(quotients, i, divide(load(x, i), load(y, i)))
        store(roots, i, sqrt(load(x, i)))
        store(maxima, i, maximum(load(x, i), load(y, i)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_exponential_is_correct_to_one_unit_in_the_last_place(dtype):
    largest = np.log(np.finfo(dtype).max) - 1.5
    x = np.linspace(-largest + 1.5, largest, 16_000).astype(dtype)
    out = np.empty_like(x)
    exponentials(x, out)
    error = np.abs(out / np.exp(x.astype(np.longdouble)) - 1)
    assert error.max() < np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_exponential_of_extreme_numbers(dtype):
    x = np.zeros(16, dtype)
    x[:4] = -np.inf, -1e5, np.inf, np.nan
    out = np.empty_like(x)
    exponentials(x, out)
    tiny, largest = np.finfo(dtype).tiny, np.finfo(dtype).max
    assert (out[:2] >= 0).all()
    assert (out[:2] <= 2 * tiny).all()
    assert largest / 8 < out[2] < np.inf
    assert np.isnan(out[3])
    assert (out[4:] == 1).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_functions_are_rounded_as_by_numpy(dtype):
    generator = np.random.default_rng(0)
    x, y = generator.lognormal(size=(2, 160)).astype(dtype)
    outs = np.empty((3, 160), dtype)
    others(x, y, *outs)
    for out, expected in zip(outs, (x / y, np.sqrt(x), np.maximum(x, y)), strict=True):
        np.testing.assert_array_equal(out, expected)
