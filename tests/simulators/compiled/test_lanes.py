import numpy as np
import pytest
from numba import njit

from hqdm.simulators.compiled.lanes import (
    conj,
    imag,
    lane_sum,
    load,
    load_complex,
    multiply_add,
    n_lanes,
    real,
    spread,
    store,
    width,
)


@njit
def arithmetic(z, x, number, out):
    """One result of every operation, each behind the last one."""
    unit = 2 * width(z)
    a, b, r = load_complex(z, 0), load_complex(z, unit), load(x, 0)
    s = a
    s += b
    store(out, 0, s)
    store(out, unit, a - b)
    store(out, 2 * unit, a * b)
    store(out, 3 * unit, multiply_add(a, conj(b), number))
    store(out, 4 * unit, multiply_add(r * a - r, b, r))
    store(out, 5 * unit, spread(z, number) + number * a + 2.0)
    store(out, 6 * unit, real(a) * imag(b))
    store(out, 6 * unit + width(z), multiply_add(r, r, 0.5))
    store(out, 7 * unit, spread(z, lane_sum(r) + 0j))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arithmetic_is_that_of_numpy(dtype):
    n = n_lanes(np.dtype(dtype).itemsize)
    generator = np.random.default_rng(0)
    z, x = generator.normal(size=(2, 2, n)).astype(dtype), generator.normal(size=n).astype(dtype)
    number = 0.3 - 0.7j
    out = np.zeros((8, 2, n), dtype)
    arithmetic(z.ravel(), x, number, out.ravel())
    a, b = (part[0] + 1j * part[1] for part in z.astype(np.float64))
    r = x.astype(np.float64)
    expected = [
        a + b,
        a - b,
        a * b,
        a + b.conj() * number,
        r * a - r + b * r,
        number + number * a + 2,
        a.real * b.imag + 1j * (r + 0.5 * r),
        np.full(n, r.sum()),
    ]
    # A few operations on numbers of order one.
    tolerance = 8 * np.finfo(dtype).eps * 10
    np.testing.assert_allclose(out[:, 0] + 1j * out[:, 1], expected, rtol=0, atol=tolerance)


def test_loads_and_stores_touch_their_lanes_only():
    n = n_lanes(8)
    array = np.arange(4.0 * n)

    @njit
    def move(array):
        store(array, 1, load(array, 2 * width(array)))

    move(array)
    expected = np.arange(4.0 * n)
    expected[1 : n + 1] = np.arange(2.0 * n, 3 * n)
    np.testing.assert_array_equal(array, expected)
