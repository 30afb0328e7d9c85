"""Random evolutions for the quantum solvers, their exact solutions, and the quantities of one."""

from functools import reduce

import numpy as np
from scipy import sparse
from scipy.linalg import expm

from hqdm.carleman.costs.scaling import Case

CASE = Case(
    dim=2,
    order=3,
    degree=3,
    segments=4,
    n_generators=8,
    blocks=50,
    kappa=30.0,
    inverse_probability=0.25,
    final_probability=0.25,
    hermitian_norm=0.8,
    skew_norm=0.2,
    shift=0.1,
    gain=0.9,
    share=0.25,
)


def evolution(n=4, count=3, damping=0.5, seed=0):
    """Generators `(n, n)` and an initial value `(n,)`."""
    rng = np.random.default_rng(seed)
    generators = rng.normal(size=(count, n, n)) / np.sqrt(n) - damping * np.eye(n)
    return [sparse.csr_array(0.5 * generator) for generator in generators], rng.normal(size=n)


def exponentials(generators, y0):
    return reduce(lambda y, generator: expm(generator.toarray()) @ y, generators, y0)
