r"""The kernels of LCHS and a quadrature that meets a tolerance.

    exp(-x) = int g(k) exp(-i k x) dk for x >= 0,        g(k) = f(k) / (1 - i k).

The same holds with a product of unitaries U(k) in place of exp(-i k x), see
`hqdm.carleman.lchs.solver`. The integral is approximated by a sum over equidistant nodes, symmetric
about zero,

    sum_j c_j U(k_j),        c_j = h g(k_j),        k_j = +-h / 2, +-3 h / 2, ..., +-K,

whose two errors are bounded separately, for |U| = 1 on the real line:

* truncation, int_{|k| > K} |g| dk, since |g| decreases with |k|;
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
"""The half width a < 1 of the strip of analyticity used in the bound."""

MAX_UNITARIES = 2**20
"""Maximum number of nodes."""


Nodes = NDArray[np.float64]
Amplitudes = NDArray[np.complex128]


class Kernel(Protocol):
    """The weight g(k) of the Hamiltonian simulation U(k)."""

    def __call__(self, k: Nodes | Amplitudes | complex) -> Amplitudes:
        """g(k), for complex k with |Im k| < 1."""
        ...

    def truncation(self, cutoff: float) -> float:
        """An upper bound on int_{|k| > K} |g(k)| dk.

        Args:
            cutoff: K > 0.
        """
        ...

    def cutoff(self, tolerance: float) -> float:
        """The K at which `truncation` equals a tolerance below one."""
        ...


@dataclass(frozen=True)
class Cauchy:
    """g(k) = 1 / (pi (1 + k^2)), with a cutoff of order 1 / tolerance (An, Liu and Lin 2023)."""

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
    """f(k) = exp(2^beta - (1 + i k)^beta) / (2 pi) (An, Childs and Lin 2023).

    The cutoff is of order log^(1 / beta)(1 / tolerance).

    Attributes:
        beta: The exponent, between 0 and 1.

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
        """The constant c with Re (1 + i k)^beta >= c |k|^beta."""
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
    """Positive nodes and their coefficients; c(-k) is the complex conjugate of c(k).

    Attributes:
        nodes: The positive nodes in increasing order, `(J,)`; the first is half the spacing.
        coefficients: c_j at the positive nodes, complex, `(J,)`.
        truncation_error: Bound on the truncation error.
        spacing_error: Bound on the discretisation error.
    """

    nodes: Nodes
    coefficients: Amplitudes
    truncation_error: float
    spacing_error: float

    @property
    def spacing(self) -> float:
        """The spacing h of the nodes."""
        return float(2 * self.nodes[0])

    @property
    def cutoff(self) -> float:
        """The largest node K."""
        return float(self.nodes[-1])

    @property
    def one_norm(self) -> float:
        """The sum of |c_j| over the nodes of both signs."""
        return float(2 * np.abs(self.coefficients).sum())


def mass(kernel: Kernel, height: float) -> float:
    """M(a), the integral of |g(k + i a)| over k; M(0) is the limit of |c|_1 for small spacing."""

    def density(log_k: float) -> float:
        k = np.exp(log_k)
        return float(k * np.abs(kernel(k + 1j * height)))

    # the contribution from outside these limits is of order 1e-8, while M is of order 1
    return 2 * float(quad(density, -18, np.log(kernel.cutoff(1e-8)), limit=400)[0])


def spacing_error(kernel: Kernel, spacing: float, extent: float) -> float:
    """The bound on the error of the infinite sum with spacing h.

    Args:
        kernel: The kernel g.
        spacing: The spacing h.
        extent: X, the sum of the norms of the Hermitian parts, a bound on |dU(k) / dk|.
    """
    exponent = 2 * np.pi * STRIP / spacing
    return float(np.exp(_log_mass(kernel, extent) - exponent) / -np.expm1(-exponent))


def _log_mass(kernel: Kernel, extent: float) -> float:
    """The logarithm of M(-a) + M(a) exp(a X), which itself overflows for large X."""
    below, above = np.log(mass(kernel, -STRIP)), np.log(mass(kernel, STRIP))
    return float(np.logaddexp(below, above + STRIP * extent))


def sizes(kernel: Kernel, extent: float, tolerance: float) -> tuple[float, int]:
    """The spacing and the number of positive nodes at which both bounds are half the tolerance.

    Args:
        kernel: The kernel g.
        extent: X, the sum of the norms of the Hermitian parts.
        tolerance: Tolerance of the sum of unitaries, in the operator norm.
    """
    log_ratio = np.logaddexp(0, _log_mass(kernel, extent) - np.log(tolerance / 2))
    spacing = float(2 * np.pi * STRIP / log_ratio)
    return spacing, math.ceil(kernel.cutoff(tolerance / 2) / spacing + 0.5)


def quadrature(kernel: Kernel, extent: float, tolerance: float) -> Quadrature:
    """The smallest quadrature for which both error bounds are at most half the tolerance.

    Args:
        kernel: The kernel g.
        extent: X, see `sizes`.
        tolerance: See `sizes`.

    Raises:
        HQDMError: If more than `MAX_UNITARIES` nodes are needed.
    """
    spacing, count = sizes(kernel, extent, tolerance)
    if 2 * count > MAX_UNITARIES:
        raise HQDMError(
            f"LCHS needs {2 * count:,} unitaries at the tolerance {tolerance:.2g}, expected at "
            f"most {MAX_UNITARIES:,}: raise the tolerance, shorten the evolution, or use the "
            "near-optimal kernel with beta near 0.75"
        )
    nodes = spacing * (np.arange(count, dtype=np.float64) + 0.5)
    return Quadrature(
        nodes,
        spacing * kernel(nodes),
        kernel.truncation(nodes[-1]),
        spacing_error(kernel, spacing, extent),
    )
