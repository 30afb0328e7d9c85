"""Multiply-adds per second of this machine, an upper bound for simulators.

Vectors of float32 stay in registers, enough of them to hide the latency.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit

from hqdm.simulators.compiled.lanes import load, multiply_add, n_lanes, store, width

N_CHAINS = 12
N_STEPS = 5_000_000
REPEATS = 5


@njit
def _three(x: Any, y: Any, z: Any, a: Any) -> Any:
    return multiply_add(x, x, a), multiply_add(y, y, a), multiply_add(z, z, a)


@njit
def _load_three(values: Any, i: Any) -> Any:
    w = width(values)
    return load(values, i * w), load(values, (i + 1) * w), load(values, (i + 2) * w)


@njit(nogil=True)
def _run(values: Any, n_steps: int) -> None:
    """Multiply and add `N_CHAINS` vectors, each step depending on the previous one."""
    w = width(values)
    a = load(values, 0)
    c0, c1, c2 = _load_three(values, 0)
    c3, c4, c5 = _load_three(values, 3)
    c6, c7, c8 = _load_three(values, 6)
    c9, c10, c11 = _load_three(values, 9)
    for _ in range(n_steps):
        c0, c1, c2 = _three(c0, c1, c2, a)
        c3, c4, c5 = _three(c3, c4, c5, a)
        c6, c7, c8 = _three(c6, c7, c8, a)
        c9, c10, c11 = _three(c9, c10, c11, a)
    # The compiler would remove unused results.
    for i, c in enumerate((c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11)):
        store(values, i * w, c)


def multiply_add_rate(n_threads: int) -> float:
    """Multiply-adds per second in float32 of several threads; the best of some runs."""
    lanes = n_lanes(np.dtype(np.float32).itemsize)
    arrays = [np.zeros(N_CHAINS * lanes, np.float32) for _ in range(n_threads)]
    _run(arrays[0], 1)
    best = float("inf")
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in range(REPEATS):
            started = time.perf_counter()
            list(pool.map(_run, arrays, [N_STEPS] * n_threads))
            best = min(best, time.perf_counter() - started)
    return n_threads * N_CHAINS * lanes * N_STEPS / best
