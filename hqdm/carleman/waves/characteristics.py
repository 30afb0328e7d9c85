r"""The density of a flow on its characteristics, which the wave function is compared with.

Along a solution x(t) of dx/dt = v(x, t) the continuity equation is d log p / dt = -div v, so that

    log p(x, t_M) = log p(X, t_0) - int div v(x(t), t) dt,

where X = x(t_0) is found by integrating backwards from x. Points that leave a large ball on this
way have a density of 0.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from hqdm.carleman.magnus import Vector
from hqdm.carleman.waves.hamiltonian import Velocity

FAR = 40.0
"""Norm beyond which N(0, I) has a density of 0 in float64."""

STEP = 1e-5  # of central differences for div v, whose truncation and rounding errors are 1e-10


def transported(velocity: Velocity, points: Vector, times: Vector) -> Vector:
    """The density `(M,)` at points of a flow that starts from N(0, I).

    Characteristics are integrated by the Runge-Kutta method of order 4.

    Args:
        velocity: The flow.
        points: The points `(M, d)` at the last time.
        times: The grid of times, increasing, `(K + 1,)`.
    """
    dim = points.shape[1]
    # the last coordinate is log p(x, t_M) - log p(x(t), t), integrated with x
    state = np.concatenate([points, np.zeros((len(points), 1))], axis=1)
    derivative = _with_divergence(velocity)
    with np.errstate(over="ignore", invalid="ignore"):
        for late, early in pairwise(times[::-1]):
            moved = _runge_kutta(derivative, state, late, early)
            near = np.abs(moved[:, :dim]).max(axis=1) < FAR  # false also for nan
            lost = np.append(np.full(dim, FAR), 0.0)
            state = np.where(near[:, None], moved, lost)
    squares = (state[:, :dim] ** 2).sum(axis=1)
    return np.exp(state[:, dim] - squares / 2) / (2 * np.pi) ** (dim / 2)


def _with_divergence(velocity: Velocity) -> Velocity:
    """The velocities of points and of the logarithm of the density beside them."""

    def derivative(state: Vector, t: float) -> Vector:
        x = state[:, :-1]
        divergence = np.zeros(len(x))
        for axis, step in enumerate(STEP * np.eye(x.shape[1])):
            change = velocity(x + step, t) - velocity(x - step, t)
            divergence += change[:, axis] / (2 * STEP)
        return np.concatenate([velocity(x, t), divergence[:, None]], axis=1)

    return derivative


def _runge_kutta(
    derivative: Callable[[Vector, float], Vector], x: Vector, a: float, b: float
) -> Vector:
    """One step of the classical method of order 4 from time a to b."""
    h, middle = b - a, (a + b) / 2
    k1 = derivative(x, a)
    k2 = derivative(x + h / 2 * k1, middle)
    k3 = derivative(x + h / 2 * k2, middle)
    k4 = derivative(x + h * k3, b)
    return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
