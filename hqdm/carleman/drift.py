r"""Polynomial drifts dx/dt = F(t) m_p(x), with m_p(x) the monomials up to degree p."""

from dataclasses import dataclass
from typing import Protocol

from hqdm.carleman.magnus import Vector
from hqdm.carleman.monomials import Monomials
from hqdm.utils.errors import HQDMError


class Coefficients(Protocol):
    """A polynomial in x with time-dependent coefficients."""

    @property
    def dim(self) -> int:
        """Number of variables, d."""
        ...

    @property
    def degree(self) -> int:
        """The degree p."""
        ...

    def coefficients(self, t: float) -> Vector:
        """The coefficients at time t, `(d, C(d + p, p))`, ordered as in `Monomials`."""
        ...


def evaluate(polynomial: Coefficients, x: Vector, t: float) -> Vector:
    """The values `(B, d)` of a polynomial at points `(B, d)`."""
    return Monomials(polynomial.dim, polynomial.degree).lift(x) @ polynomial.coefficients(t).T


@dataclass(frozen=True)
class FixedDrift:
    """An autonomous drift dx/dt = F m_p(x).

    Args:
        matrix: F, `(d, C(d + p, p))`.
        degree: The degree p.

    Raises:
        HQDMError: If the shape of F does not match the degree.
    """

    matrix: Vector
    degree: int

    def __post_init__(self) -> None:
        """Check the shape of the coefficients."""
        expected = self.dim, len(Monomials(self.dim, self.degree))
        if self.matrix.shape != expected:
            raise HQDMError(
                f"a drift of degree {self.degree} in {self.dim} variables needs coefficients of "
                f"shape {expected}, got {self.matrix.shape}"
            )

    @property
    def dim(self) -> int:
        """Number of variables."""
        return len(self.matrix)

    def coefficients(self, t: float) -> Vector:
        """See `Coefficients`."""
        return self.matrix
