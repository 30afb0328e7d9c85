r"""The kernels of LCHS and a quadrature that keeps to a tolerance.

    exp(-x) = int g(k) exp(-i k x) dk for x >= 0,        g(k) = f(k) / (1 - i k).

The same holds with a product of unitaries U(k) in the place of exp(-i k x) (`hqdm.carleman.lchs`).
The integral becomes a sum over equidistant nodes, symmetric about zero,

    sum_j c_j U(k_j),        c_j = h g(k_j),        k_j = +-h / 2, +-3 h / 2, ..., +-K,

with two errors, each with a bound of its own, for |U| = 1 on the real line:

* truncation, int_{|k| > K} |g| dk, since |g| falls in |k|;
* spacing. g is analytic for |Im k| < 1. With X the sum of the norms of the generators' Hermitian
  parts, |U(k - i a)| <= 1 and |U(k + i a)| <= exp(a X) for a >= 0, and so the error is at most

      (M(-a) + M(a) exp(a X)) / (exp(2 pi a / h) - 1),        M(a) = int |g(k + i a)| dk

  (Trefethen and Weideman 2014, theorem 5.1): geometric in 1 / h.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import exp1

from hqdm.utils.errors import HQDMError

STRIP = 0.9
"""The half width a of the strip of analyticity that is made use of, below 1."""

MAX_UNITARIES = 2**20
"""More nodes than these are refused."""


Nodes = NDArray[np.float64]
Amplitudes = NDArray[np.complex128]


class Kernel(Protocol):
    """The weight of a Hamiltonian simulation at every k."""

    def __call__(self, k: Nodes | Amplitudes | complex) -> Amplitudes:
        """g(k), for complex k with |Im k| < 1."""
        ...

    def truncation(self, cutoff: float) -> float:
        """A bound of int_{|k| > K} |g(k)| dk.

        Args:
            cutoff: K > 0.
        """
        ...

    def cutoff(self, tolerance: float) -> float:
        """The K at which `truncation` equals a tolerance below one."""
        ...


@dataclass(frozen=True)
class Cauchy:
    """g(k) = 1 / (pi (1 + k^2)), whose cutoff grows as 1 / tolerance (An, Liu and Lin 2023)."""

    def __call__(self, k: Nodes | Amplitudes | complex) -> Amplitudes:
        """See `Kernel`."""
        return np.asarray(1 / (np.pi * (1 + np.square(k))), dtype=complex)

    def truncation(self, cutoff: float) -> float:
        """See `Kernel`: (2 / pi) arctan(1 / K), exact."""
        return float(2 / np.pi * np.arctan(1 / cutoff))

    def cutoff(self, tolerance: float) -> float:
        """See `Kernel`."""
        return float(1 / np.tan(np.pi * tolerance / 2))


@dataclass(frozen=True)
class NearOptimal:
    """f(k) = exp(2^beta - (1 + i k)^beta) / (2 pi), of An, Childs and Lin 2023.

    Its cutoff grows as log^(1 / beta)(1 / tolerance).

    Attributes:
        beta: Between 0 and 1.

    Raises:
        HQDMError: If beta is out of range.
    """

    beta: float = 0.75

    def __post_init__(self) -> None:
        """Check beta."""
        if not 0 < self.beta < 1:
            raise HQDMError(f"the near-optimal kernel needs 0 < beta < 1, got {self.beta}")

    def __call__(self, k: Nodes | Amplitudes | complex) -> Amplitudes:
        """See `Kernel`."""
        ik = 1j * np.asarray(k)
        f = np.exp(2**self.beta - (1 + ik) ** self.beta) / (2 * np.pi)
        return np.asarray(f / (1 - ik))

    @property
    def _decay(self) -> float:
        """Re (1 + i k)^beta is at least this times |k|^beta."""
        return float(np.cos(np.pi * self.beta / 2))

    @property
    def _scale(self) -> float:
        return float(np.exp(2**self.beta) / (np.pi * self.beta))

    def truncation(self, cutoff: float) -> float:
        """See `Kernel`: the integral of exp(-decay k^beta) / k above K, an exponential integral."""
        return self._scale * float(exp1(self._decay * cutoff**self.beta))

    def cutoff(self, tolerance: float) -> float:
        """See `Kernel`."""
        exponent = brentq(lambda z: np.log(self._scale * exp1(z) / tolerance), 1e-300, 690)
        return float((exponent / self._decay) ** (1 / self.beta))


@dataclass(frozen=True)
class Quadrature:
    """Nodes and coefficients, half of them: c(-k) is the complex conjugate of c(k).

    Attributes:
        nodes: The positive nodes, rising, `(J,)`; half the spacing is the first.
        coefficients: c_j at the positive nodes, complex, `(J,)`.
        truncation_error: The bound of what lies beyond the last node.
        spacing_error: The bound of what lies between the nodes.
    """

    nodes: Nodes
    coefficients: Amplitudes
    truncation_error: float
    spacing_error: float

    @property
    def spacing(self) -> float:
        """The distance h of the nodes."""
        return float(2 * self.nodes[0])

    @property
    def cutoff(self) -> float:
        """The largest node K."""
        return float(self.nodes[-1])

    @property
    def one_norm(self) -> float:
        """The sum of |c_j| over all nodes, of both signs."""
        return float(2 * np.abs(self.coefficients).sum())


def mass(kernel: Kernel, height: float) -> float:
    """M(a), the integral of |g(k + i a)| over k; M(0) is what |c|_1 tends to."""

    def density(log_k: float) -> float:
        k = np.exp(log_k)
        return float(k * np.abs(kernel(k + 1j * height)))

    # what lies below and above these limits is of the order of 1e-8, where M is of the order of 1
    return 2 * float(quad(density, -18, np.log(kernel.cutoff(1e-8)), limit=400)[0])


def spacing_error(kernel: Kernel, spacing: float, extent: float) -> float:
    """The bound of the error of an endless sum with spacing h.

    Args:
        kernel: g.
        spacing: h.
        extent: X, the largest rate at which U(k) turns with k.
    """
    exponent = 2 * np.pi * STRIP / spacing
    return float(np.exp(_log_mass(kernel, extent) - exponent) / -np.expm1(-exponent))


def _log_mass(kernel: Kernel, extent: float) -> float:
    """The logarithm of M(-a) + M(a) exp(a X), which itself overflows for long walks."""
    below, above = np.log(mass(kernel, -STRIP)), np.log(mass(kernel, STRIP))
    return float(np.logaddexp(below, above + STRIP * extent))


def sizes(kernel: Kernel, extent: float, tolerance: float) -> tuple[float, int]:
    """The spacing, and the number of positive nodes, at which both bounds are half a tolerance.

    Args:
        kernel: g.
        extent: X, the sum of the norms of the Hermitian parts.
        tolerance: Of the sum of unitaries, in the operator norm.
    """
    log_ratio = np.logaddexp(0, _log_mass(kernel, extent) - np.log(tolerance / 2))
    spacing = float(2 * np.pi * STRIP / log_ratio)
    return spacing, math.ceil(kernel.cutoff(tolerance / 2) / spacing + 0.5)


def quadrature(kernel: Kernel, extent: float, tolerance: float) -> Quadrature:
    """The fewest nodes whose two errors stay below half a tolerance each, by their bounds.

    Args:
        kernel: g.
        extent: X, see `sizes`.
        tolerance: See `sizes`.

    Raises:
        HQDMError: If there would be more than `MAX_UNITARIES` nodes.
    """
    spacing, count = sizes(kernel, extent, tolerance)
    if 2 * count > MAX_UNITARIES:
        raise HQDMError(
            f"LCHS needs {2 * count:,} unitaries at the tolerance {tolerance:.2g}, expected at "
            f"most {MAX_UNITARIES:,}: raise the tolerance, shorten the walk, or take the "
            "near-optimal kernel with beta near 0.75"
        )
    nodes = spacing * (np.arange(count, dtype=np.float64) + 0.5)
    return Quadrature(
        nodes,
        spacing * kernel(nodes),
        kernel.truncation(nodes[-1]),
        spacing_error(kernel, spacing, extent),
    )
