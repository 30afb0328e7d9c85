r"""Phases of quantum signal processing for a polynomial, by Newton's method.

With W(x) = exp(i arccos(x) X) and symmetric phases, phi_k = phi_{d - k},

    <0| exp(i phi_0 Z) W(x) exp(i phi_1 Z) ... W(x) exp(i phi_d Z) |0> = P(x),     Im P(x) = f(x)

has a solution for every real, odd f of odd degree d with |f| < 1 (Wang, Dong and Lin 2022). It is
found by Newton's method, started at half the Chebyshev coefficients of f (Dong, Lin, Ni and Wang
2024).
"""

import numpy as np
from numpy.typing import NDArray

from hqdm.carleman.magnus import Vector
from hqdm.utils.errors import HQDMError

TOLERANCE = 1e-12
MAX_STEPS = 50
MAX_DEGREE = 3000  # its states take 0.4 GB


def symmetric_phases(coefficients: Vector) -> Vector:
    """The phases of an odd polynomial.

    Args:
        coefficients: Coefficients of T_1, T_3, ..., T_d, with |f| < 1 on [-1, 1].

    Returns:
        phi_0 ... phi_d, in radians.

    Raises:
        HQDMError: If the degree is too high or the iteration does not converge.
    """
    n = len(coefficients)
    if 2 * n - 1 > MAX_DEGREE:
        raise HQDMError(
            f"phases are computed up to degree {MAX_DEGREE:,}, got {2 * n - 1:,}: raise eps, or "
            "emulate the circuit"
        )
    angles = np.pi * (2 * np.arange(n) + 1) / (4 * n)  # the positive Chebyshev nodes
    target = np.cos(np.outer(angles, 2 * np.arange(n) + 1)) @ coefficients
    half = coefficients[::-1] / 2
    for _ in range(MAX_STEPS):
        value, jacobian = value_and_jacobian(np.concatenate([half, half[::-1]]), angles)
        if np.abs(value - target).max() < TOLERANCE:
            return np.concatenate([half, half[::-1]])
        half = half - np.linalg.solve(jacobian, value - target)
    raise HQDMError(
        f"no phases found for a polynomial of degree {2 * n - 1}: lower the degree or raise eps"
    )


def value_and_jacobian(phases: Vector, angles: Vector) -> tuple[Vector, NDArray[np.float64]]:
    """Im P at x = cos(angle) `(n,)`, and its derivatives in the first half of the phases `(n, n)`.

    All factors are symmetric matrices, so that the product after phase k is the transpose of the
    product before phase d - k. Each free phase occurs twice, with equal derivatives.
    """
    before = states(phases, angles)
    signs = np.array([1, -1])
    after = before[::-1] * np.exp(-1j * np.outer(phases, signs))[:, None]
    half = len(phases) // 2
    derivatives = 2 * (1j * signs * before[:half] * after[:half]).sum(axis=2).imag
    return before[-1, :, 0].imag, derivatives.T


def states(phases: Vector, angles: Vector) -> NDArray[np.complex128]:
    """The row vectors <0| times the product up to each phase, `(d + 1, n, 2)`."""
    turns = np.exp(1j * np.outer(phases, [1, -1]))
    x, y = np.cos(angles), 1j * np.sin(angles)
    made = np.empty((len(phases), len(angles), 2), dtype=np.complex128)
    made[0, :, 0], made[0, :, 1] = turns[0, 0], 0
    for k in range(1, len(phases)):
        up, down = made[k - 1, :, 0], made[k - 1, :, 1]
        made[k, :, 0] = turns[k, 0] * (x * up + y * down)
        made[k, :, 1] = turns[k, 1] * (y * up + x * down)
    return made
