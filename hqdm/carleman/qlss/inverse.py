r"""Odd polynomial approximations g of 1 / x on [1 / kappa, 1], and their action on a matrix.

    g(x) = sum_{j=0}^{D} c_j T_{2j+1}(x),     degree 2 D + 1.

`cks` (Childs, Kothari and Somma 2017, section 4) is the truncated series of (1 - (1 - x^2)^b) / x:

    c_j = 4 (-1)^j 2^{-2b} sum_{i=j+1}^{b} C(2b, b+i),
    b = kappa^2 log(2 kappa / eps),     D = sqrt(b log(8 b / eps)),

where truncation and power each contribute half of eps. `minimax` (Gribling, Kerenidis and Szilagyi
2021) is the polynomial that minimises max |x g(x) - 1| for its degree:

    g(x) = (1 - T_n(z(x)) / T_n(z(0))) / x,     z(x) = (1 + a^2 - 2 x^2) / (1 - a^2),  a = 1/kappa.

For B = W S V^T and a right-hand side b, the solution V S^{-1} W^T b is approximated by
V g(S) W^T b, whose relative error is at most max |x g(x) - 1|.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.polynomial import chebyshev
from scipy.fft import dct
from scipy.special import betainc, erfc

from hqdm.carleman.magnus import Matrix, Vector
from hqdm.utils.errors import HQDMError, unknown

POLYNOMIALS = ("cks", "minimax")
OVERSAMPLING = 16  # evaluation points per degree


@dataclass(frozen=True, eq=False)
class InversePolynomial:
    """An odd polynomial g close to 1 / x on [1 / kappa, 1].

    Attributes:
        coefficients: Coefficients c_0 ... c_D of T_1, T_3, ..., T_{2D+1}.
        kappa: Condition number; the interval is [1 / kappa, 1].
        bound: Bound on |x g(x) - 1| on the interval.
    """

    coefficients: Vector
    kappa: float
    bound: float

    @property
    def degree(self) -> int:
        """2 D + 1: applications of the block encoding or its adjoint in one run."""
        return 2 * len(self.coefficients) - 1

    def __call__(self, x: Vector) -> Vector:
        """The values g(x) at points of [-1, 1]."""
        return np.asarray(chebyshev.chebval(x, self.series), dtype=np.float64)

    @property
    def series(self) -> Vector:
        """The coefficients with zeros at even orders, `(degree + 1,)`."""
        return np.stack([np.zeros_like(self.coefficients), self.coefficients], axis=1).ravel()

    @cached_property
    def measured(self) -> tuple[Vector, Vector]:
        """Chebyshev nodes x and values g(x), by a fast cosine transform."""
        size = OVERSAMPLING * (self.degree + 1)
        padded = np.zeros(size)
        padded[: self.degree + 1] = self.series / 2
        return np.cos(np.pi * (np.arange(size) + 0.5) / size), dct(padded, type=3)

    @property
    def normalisation(self) -> float:
        """An upper bound N on |g| on [-1, 1]; a circuit applies g / N.

        It is the maximum at the nodes divided by cos(pi degree / (2 nodes)) (Ehlich and Zeller
        1964).
        """
        x, g = self.measured
        return float(np.abs(g).max() / np.cos(np.pi * self.degree / (2 * len(x))))

    @property
    def error(self) -> float:
        """The largest |x g(x) - 1| on [1 / kappa, 1], at Chebyshev nodes and the ends."""
        x, g = self.measured
        inside = x >= 1 / self.kappa
        ends = np.array([1 / self.kappa, 1.0])
        x, g = np.append(x[inside], ends), np.append(g[inside], self(ends))
        return float(np.abs(x * g - 1).max())

    def apply(self, matrix: Matrix, b: Vector) -> Vector:
        """V g(S) W^T b for a matrix B = W S V^T with |B| <= 1, by `degree` products.

        The Chebyshev recurrence on singular values multiplies by B^T and B alternately, as a
        circuit alternates between its block encoding and the adjoint.
        """
        transposed = matrix.T
        left, right = b, transposed @ b
        total = self.coefficients[0] * right
        for coefficient in self.coefficients[1:]:
            left = 2 * (matrix @ right) - left
            right = 2 * (transposed @ left) - right
            total += coefficient * right
        return total


def inverse_polynomial(
    kind: str, kappa: float, eps: float, degree: int | None = None
) -> InversePolynomial:
    """A polynomial close to 1 / x on [1 / kappa, 1].

    Args:
        kind: `"cks"`, for which also |g(x) - 1 / x| <= eps, or `"minimax"`.
        kappa: Condition number, above 1.
        eps: Bound on |x g(x) - 1|, in (0, 1).
        degree: Odd degree; by default the degree that meets eps.

    Raises:
        HQDMError: If the kind is unknown or a number is out of range.
    """
    if kind not in POLYNOMIALS:
        raise unknown("inverse polynomial", kind, POLYNOMIALS)
    if not (1 < kappa < math.inf and 0 < eps < 1):
        raise HQDMError(
            f"an inverse polynomial needs a finite kappa above 1 and eps in (0, 1), got "
            f"{kappa:g} and {eps:g}"
        )
    if degree is not None and (degree < 1 or degree % 2 == 0):
        raise HQDMError(f"an inverse polynomial has an odd degree of 1 or more, got {degree}")
    terms = None if degree is None else (degree + 1) // 2
    return (cks if kind == "cks" else minimax)(kappa, eps, terms)


def needed_degree(kind: str, kappa: float, eps: float) -> int:
    """The degree that meets eps, without construction of the polynomial."""
    terms = cks_terms(cks_power(kappa, eps), eps) if kind == "cks" else minimax_terms(kappa, eps)
    return 2 * terms - 1


def cks_power(kappa: float, eps: float) -> int:
    """The power b, see the module docstring."""
    return math.ceil(kappa**2 * math.log(2 * kappa / eps))


def cks_terms(power: int, eps: float) -> int:
    """The number of terms D + 1, at most `power`."""
    return min(math.ceil(math.sqrt(power * math.log(8 * power / eps))) + 1, power)


def cks(kappa: float, eps: float, terms: int | None) -> InversePolynomial:
    """The polynomial of Childs, Kothari and Somma, with `terms` terms, or as many as eps needs."""
    power = cks_power(kappa, eps)
    terms = min(terms, power) if terms else cks_terms(power, eps)
    # By Hoeffding the tails decay as exp(-(j + 1)^2 / b); their integral bounds the truncation.
    cut = 2 * math.sqrt(math.pi * power) * erfc(terms / math.sqrt(power))
    kept = math.exp(power * math.log1p(-1 / kappa**2))
    return InversePolynomial(cks_coefficients(power, terms), kappa, kept + float(cut))


def cks_coefficients(power: int, terms: int) -> Vector:
    """c_0, c_1, ..., tails of a binomial distribution, as incomplete beta functions."""
    j = np.arange(terms)
    return 4 * (-1.0) ** j * betainc(power + j + 1, power - j, 0.5)


def minimax_terms(kappa: float, eps: float) -> int:
    """The smallest n with 1 / T_n(z(0)) <= eps."""
    return max(1, math.ceil(math.acosh(1 / eps) / reach(kappa)))


def reach(kappa: float) -> float:
    """arccosh(z(0))."""
    return 2 * math.atanh(1 / kappa)


def minimax(kappa: float, eps: float, terms: int | None) -> InversePolynomial:
    """The polynomial of Gribling, Kerenidis and Szilagyi, with `terms` or as many as eps needs."""
    n = terms or minimax_terms(kappa, eps)
    largest = log_cosh(n * reach(kappa))
    x = np.cos(np.pi * (np.arange(2 * n) + 0.5) / (2 * n))
    z = (kappa**2 * (1 - 2 * x**2) + 1) / (kappa**2 - 1)
    inside = np.cos(n * np.arccos(np.clip(z, -1, 1))) * np.exp(-largest)
    beyond = np.exp(log_cosh(n * np.arccosh(np.maximum(z, 1))) - largest)
    g = (1 - np.where(z > 1, beyond, inside)) / x
    return InversePolynomial(dct(g, type=2)[1::2] / len(x), kappa, float(np.exp(-largest)))


def log_cosh(u: Vector | float) -> Vector:
    """log(cosh(u)) without overflow."""
    return np.logaddexp(u, np.negative(u)) - math.log(2)
