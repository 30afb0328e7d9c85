"""Random evolutions for the quantum solvers, and their exact solutions."""

from functools import reduce

import numpy as np
from scipy import sparse
from scipy.linalg import expm


def evolution(n=4, count=3, damping=0.5, seed=0):
    """Generators `(n, n)` and an initial value `(n,)`."""
    rng = np.random.default_rng(seed)
    generators = rng.normal(size=(count, n, n)) / np.sqrt(n) - damping * np.eye(n)
    return [sparse.csr_array(0.5 * generator) for generator in generators], rng.normal(size=n)


def exponentials(generators, y0):
    return reduce(lambda y, generator: expm(generator.toarray()) @ y, generators, y0)
