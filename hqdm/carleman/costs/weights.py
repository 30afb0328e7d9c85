r"""Weights of the lifted basis that make an evolution cheap on a quantum computer.

y = D (x^gamma) with one weight w_k for every degree k of a monomial, and w_1 = 1. The solution x
does not depend on them, but the cost of reading it does. With the parts L_m, H_m and shifts c_m of
the weighted generators (`hqdm.carleman.lchs.unitaries`), a sample costs in proportion to

    J(w) = (K sum_m |L_m| + sum_m |H_m|)  exp(sum_m c_m) |y_0| / |y|  |y|^2 / |x|^2:

the longest Hamiltonian simulation, the runs per success with amplitude amplification, and the
states per reading of x. Small weights of high degrees suppress large generators; small weights of
all other monomials make x a larger part of y, but couple it more strongly to them. J is minimised
over log w by a quasi-Newton method.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from hqdm.carleman.lchs.unitaries import cartesian
from hqdm.carleman.linearization import degree_weights, reweighted
from hqdm.carleman.magnus import Direct, Matrix, Vector
from hqdm.carleman.monomials import Monomials

NODE = 10.0  # K, of a tolerance of about 1e-2; the optimum depends on it little
START = 0.4  # ratio of the weights of successive degrees at which the search starts
STEP = 1e-3  # of log w in differences, above the errors of computed eigenvalues
GRADIENT = 0.02  # d log J / d log w at which the search ends
ITERATIONS = 30


def weighted_cost(
    generators: Sequence[Matrix], y0: Vector, y: Vector, linear: slice, weights: Vector
) -> float:
    """J of an evolution from y_0 to y, both `(n,)` and without weights.

    Args:
        generators: The generators without weights, `(n, n)` each.
        y0: The initial value.
        y: The final value.
        linear: The indices of x in y.
        weights: The diagonal of D, `(n,)`.
    """
    parts = [cartesian(reweighted(generator, weights)) for generator in generators]
    start, end = np.linalg.norm(weights * y0), np.linalg.norm(weights * y)
    share = (np.linalg.norm((weights * y)[linear]) / end) ** 2
    time = NODE * sum(part.hermitian_norm for part in parts) + sum(part.skew_norm for part in parts)
    return float(time * np.exp(sum(part.shift for part in parts)) * start / end / share)


def optimal_weights(generators: Sequence[Matrix], y0: Vector, monomials: Monomials) -> Vector:
    """The weights `(n,)`, equal for monomials of one degree, that minimise J.

    Args:
        generators: The generators of the evolution without weights, `(n, n)` each.
        y0: Its initial value without weights, `(n,)`.
        monomials: The monomials of the lifted basis, of order 1 or more.
    """
    y = Direct().solve(generators, y0).y

    def weights(logs: Vector) -> Vector:
        return degree_weights(monomials, np.exp(np.insert(logs, 1, 0.0)))

    def cost(logs: Vector) -> float:
        return math.log(weighted_cost(generators, y0, y, monomials.linear, weights(logs)))

    start = math.log(START) * np.array([1.0, *range(1, monomials.order)])
    limits = {"eps": STEP, "gtol": GRADIENT, "maxiter": ITERATIONS}
    return weights(minimize(cost, start, method="BFGS", options=limits).x)
