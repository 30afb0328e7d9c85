r"""The solution of a linear system by one reflection about a kernel (Dalzell 2024).

For B x = b with |b| = 1, the norm t = |x| known, and one further dimension e,

    A_t = diag(B, 1 / t),    b' = (b, 1) / sqrt 2,    G = (I - b' b'^T) A_t,

G v = 0 for v = (x / t, 1) / sqrt 2, and all other singular values of G are 1 / kappa or more. The
reflection about v takes the known vector e to the solution:

    (2 v v^T - I) e = (x / t, 0).

It is approximated by an even polynomial in the singular values of G, of degree 2 l,

    (2 F(s) - 1 + f) / (1 + f),    F(s) = T_l(z(s)) / T_l(z(0)),    f = 1 / T_l(z(0)),

with z as in `hqdm.carleman.qlss.inverse`: F(0) = 1, and |F| <= f from 1 / kappa to 1. The error of
the state is at most sqrt(2) f, and so eps takes kappa log(2 sqrt 2 / eps) queries. Unlike for an
inverse polynomial, the success probability is close to 1.
"""

import math
from dataclasses import dataclass

import numpy as np

from hqdm.carleman.magnus import Matrix, Vector
from hqdm.carleman.qlss.inverse import log_cosh, reach


@dataclass(frozen=True)
class KernelReflection:
    """A reflection about the kernel of G, with the interface of an `InversePolynomial`.

    Attributes:
        kappa: Condition number of B; its singular values are in [1 / kappa, 1].
        norm: t, the norm of B^{-1} b for |b| = 1.
        terms: l, half the degree.
    """

    kappa: float
    norm: float
    terms: int

    @property
    def degree(self) -> int:
        """2 l: applications of the block encoding or its adjoint in one run."""
        return 2 * self.terms

    @property
    def remainder(self) -> float:
        """The bound f on |F| from 1 / kappa to 1."""
        return float(np.exp(-log_cosh(self.terms * reach(self.kappa))))

    @property
    def bound(self) -> float:
        """Bound on the error of x, relative to |x|."""
        return math.sqrt(2) * self.remainder

    @property
    def error(self) -> float:
        """The bound, which the polynomial reaches."""
        return self.bound

    @property
    def normalisation(self) -> float:
        """The factor t (1 + f): x divided by the amplitudes of the successful outcome."""
        return self.norm * (1 + self.remainder)

    def apply(self, matrix: Matrix, b: Vector) -> Vector:
        """The approximate solution of B x = b for |b| = 1, by `degree` products with B and B^T.

        Args:
            matrix: B, `(n, n)`, with |B| <= 1.
            b: The right-hand side, `(n,)`.
        """
        transposed, start = matrix.T, np.append(b, 1) / math.sqrt(2)
        centre, radius = 1 + self.kappa**-2, 1 - self.kappa**-2

        def scaled(z: Vector) -> Vector:
            """z(G) applied to a vector: (1 + 1 / kappa^2 - 2 G^T G) / (1 - 1 / kappa^2)."""
            image = np.append(matrix @ z[:-1], z[-1] / self.norm)
            image -= start * (start @ image)
            return (
                centre * z - 2 * np.append(transposed @ image[:-1], image[-1] / self.norm)
            ) / radius

        before = np.append(np.zeros(len(b)), 1.0)
        # T_j is divided by T_j(z(0)) at once, since it grows beyond float64
        now, ahead = scaled(before) / math.cosh(reach(self.kappa)), reach(self.kappa)
        for j in range(1, self.terms):
            scale = np.exp(log_cosh(j * ahead) - log_cosh((j + 1) * ahead))
            older = np.exp(log_cosh((j - 1) * ahead) - log_cosh((j + 1) * ahead))
            before, now = now, 2 * scale * scaled(now) - older * before
        return 2 * self.norm * now[:-1]


def reflection(
    kappa: float, norm: float, eps: float, degree: int | None = None
) -> KernelReflection:
    """The reflection that meets eps, or of a given degree.

    Args:
        kappa: Condition number, above 1.
        norm: t, see `KernelReflection`.
        eps: Error of x, relative to |x|.
        degree: Degree, rounded up to an even one; by default the degree that meets eps.
    """
    terms = reflection_terms(kappa, eps) if degree is None else math.ceil(degree / 2)
    return KernelReflection(kappa, norm, terms)


def reflection_terms(kappa: float, eps: float) -> int:
    """The smallest l with sqrt(2) / T_l(z(0)) <= eps."""
    return max(1, math.ceil(math.acosh(max(1.0, math.sqrt(2) / eps)) / reach(kappa)))
