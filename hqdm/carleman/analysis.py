r"""Error bounds of Carleman linearisation, properties of its matrices, and measures of error.

For a quadratic, autonomous equation dx/dt = F_1 x + F_2 x (x) x without a constant part, F_1 normal
with largest real part of its eigenvalues Re lambda_1 < 0, and

    R = |x_0| |F_2| / |Re lambda_1| < 1,

the error at time t of the truncation at order N is at most (Liu et al., PNAS 2021, corollary 1)

    |x - x_N| <= |x_0| R^N (1 - exp(Re lambda_1 t))^N.

The general R has |F_0| / |x_0| added to the numerator. No bound of this form is implemented for
F_0 != 0, for cubic drifts or for time-dependent drifts.
"""

from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp
from scipy.sparse.linalg import ArpackError, eigs, eigsh, norm
from scipy.spatial.distance import cdist

from hqdm.carleman.drift import Coefficients, FixedDrift, evaluate
from hqdm.carleman.magnus import Matrix, Vector
from hqdm.carleman.monomials import Monomials
from hqdm.utils.errors import HQDMError

DENSE = 1500  # rows up to which all eigenvalues are computed
NORMAL = 1e-9  # relative norm of the commutator with the transpose, below which a matrix is normal
DIRECT_TOLERANCE = 1e-10


def spectral_abscissa(matrix: Matrix) -> float:
    """The largest real part of the eigenvalues.

    Raises:
        HQDMError: If the eigenvalue iteration for a large matrix does not converge.
    """
    if matrix.shape[0] <= DENSE:
        return float(np.linalg.eigvals(matrix.toarray()).real.max())
    try:
        return float(eigs(matrix, k=1, which="LR", return_eigenvectors=False)[0].real)
    except ArpackError:
        raise HQDMError(
            f"the eigenvalue iteration did not converge for a matrix of {matrix.shape[0]:,} rows: "
            "use a smaller dimension or order"
        ) from None


def log_norm(matrix: Matrix) -> float:
    """The logarithmic 2-norm, the largest eigenvalue of (A + A^T) / 2.

    It bounds the growth of solutions: |exp(A t)| <= exp(log_norm t).
    """
    symmetric = (matrix + matrix.T) / 2
    if matrix.shape[0] <= DENSE:
        return float(np.linalg.eigvalsh(symmetric.toarray()).max())
    return float(eigsh(symmetric, k=1, which="LA", return_eigenvectors=False)[0])


@dataclass(frozen=True)
class MatrixFacts:
    """Properties of a matrix A that determine the cost of solving dy/dt = A y.

    Attributes:
        size: Number of rows.
        entries: Number of nonzero entries.
        norm_1: The 1-norm, the largest absolute column sum.
        abscissa: Largest real part of the eigenvalues.
        log_norm: Largest eigenvalue of the symmetric part.
    """

    size: int
    entries: int
    norm_1: float
    abscissa: float
    log_norm: float


def matrix_facts(matrix: Matrix) -> MatrixFacts:
    """Compute the `MatrixFacts` of a square matrix."""
    return MatrixFacts(
        size=matrix.shape[0],
        entries=int(matrix.nnz),
        norm_1=float(norm(matrix, 1)),
        abscissa=spectral_abscissa(matrix),
        log_norm=log_norm(matrix),
    )


@dataclass(frozen=True)
class QuadraticParts:
    """The norms of F_0 + F_1 x + F_2 x (x) x that determine convergence.

    Attributes:
        f0: |F_0|.
        f2: Spectral norm of F_2 `(d, d^2)`, with the coefficient of x_i x_j split equally between
            the columns (i, j) and (j, i).
        decay: -Re lambda_1, positive for a dissipative linear part.
        normal: True if F_1 commutes with its transpose.
    """

    f0: float
    f2: float
    decay: float
    normal: bool


def quadratic_parts(drift: Coefficients, t: float = 0.0) -> QuadraticParts:
    """The `QuadraticParts` of a drift of degree 2 or less at time t.

    Raises:
        HQDMError: If the degree is above 2.
    """
    if drift.degree > 2:
        raise HQDMError(
            f"the R number is defined for drifts of degree 2 or less, got {drift.degree}"
        )
    d = drift.dim
    matrix = drift.coefficients(t)
    f1, f2 = matrix[:, 1 : d + 1], matrix[:, d + 1 :]
    pairs = Monomials(d, 2).variables[2][: f2.shape[1]]
    spread = np.where(pairs[:, 0] == pairs[:, 1], 1, np.sqrt(0.5))
    commutator = np.abs(f1 @ f1.T - f1.T @ f1).max()
    return QuadraticParts(
        f0=float(np.linalg.norm(matrix[:, 0])),
        f2=float(np.linalg.norm(f2 * spread, 2)) if f2.size else 0.0,
        decay=-float(np.linalg.eigvals(f1).real.max()),
        normal=bool(commutator <= NORMAL * max(np.abs(f1).max() ** 2, 1e-300)),
    )


def r_number(drift: Coefficients, x0: Vector, t: float = 0.0) -> float:
    """R = (|x_0| |F_2| + |F_0| / |x_0|) / |Re lambda_1| at time t.

    Args:
        drift: A drift of degree 2 or less.
        x0: A nonzero point `(d,)`.
        t: The time.

    Raises:
        HQDMError: If the degree is above 2, the linear part is not dissipative, or `x0` is 0.
    """
    parts = quadratic_parts(drift, t)
    size = float(np.linalg.norm(x0))
    if parts.decay <= 0:
        raise HQDMError(
            "the R number needs a dissipative linear part, but its largest eigenvalue has real "
            f"part {-parts.decay:.3g}: scale the variables, or shift the equation"
        )
    if size == 0:
        raise HQDMError("the R number needs an initial value other than 0")
    return (size * parts.f2 + parts.f0 / size) / parts.decay


def liu_bound(drift: Coefficients, x0: Vector, order: int, t: float) -> float:
    """The bound on |x(t) - x_N(t)| of corollary 1 of Liu et al. (PNAS 2021).

    Args:
        drift: A quadratic drift without constant part, independent of time.
        x0: The initial value `(d,)`.
        order: Truncation order N.
        t: The elapsed time.

    Raises:
        HQDMError: If a hypothesis does not hold; the message names it.
    """
    if not isinstance(drift, FixedDrift):
        raise HQDMError("no bound: corollary 1 of Liu et al. needs a drift independent of time")
    if drift.degree != 2:
        raise HQDMError(
            f"no bound: corollary 1 of Liu et al. needs a drift of degree 2, got {drift.degree}"
        )
    parts = quadratic_parts(drift)
    if parts.f0 > 0:
        raise HQDMError("no bound: corollary 1 of Liu et al. needs a drift without constant part")
    if not parts.normal:
        raise HQDMError("no bound: corollary 1 of Liu et al. needs a normal linear part")
    r = r_number(drift, x0)
    if r >= 1:
        raise HQDMError(f"no bound: corollary 1 of Liu et al. needs R < 1, got {r:.3g}")
    return float(np.linalg.norm(x0) * (r * -np.expm1(-parts.decay * t)) ** order)


def integrate(drift: Coefficients, x: Vector, a: float, b: float) -> Vector:
    """Integrate the polynomial equation from time a to b by an adaptive method of order 8.

    Args:
        drift: The right-hand side dx/dt.
        x: Initial values `(B, d)`.
        a: Initial time.
        b: Final time.

    Raises:
        HQDMError: If a solution diverges before time b.
    """

    def flat(t: float, values: Vector) -> Vector:
        return evaluate(drift, values.reshape(x.shape), t).ravel()

    with np.errstate(over="ignore", invalid="ignore"):
        found = solve_ivp(
            flat, (a, b), x.ravel(), method="DOP853", rtol=DIRECT_TOLERANCE, atol=DIRECT_TOLERANCE
        )
    if not found.success or not np.isfinite(found.y[:, -1]).all():
        raise HQDMError(
            "the polynomial equation itself diverges: fit it with a larger ridge, more samples or "
            "a lower degree"
        )
    return found.y[:, -1].reshape(x.shape)


def relative_errors(found: Vector, exact: Vector) -> Vector:
    """|found - exact| / |exact| of each point `(B, d)`: `(B,)`."""
    return np.linalg.norm(found - exact, axis=-1) / np.linalg.norm(exact, axis=-1)


def energy_distance(x: Vector, y: Vector) -> float:
    """The unbiased estimate of 2 E|X - Y| - E|X - X'| - E|Y - Y'| (Szekely and Rizzo 2013).

    Args:
        x: Samples `(M, d)`.
        y: Samples `(N, d)`.
    """
    within = [cdist(z, z).sum() / (len(z) * (len(z) - 1)) for z in (x, y)]
    return float(2 * cdist(x, y).mean() - sum(within))


def shot_error(amplitudes: Vector, shots: int, seed: int = 0) -> float:
    """The relative error of a vector estimated from measurements of a quantum state.

    Magnitudes are estimated from the frequencies of `shots` measurements in the computational
    basis; signs, whose estimation costs a constant factor more, are assumed to be known.

    Args:
        amplitudes: The vector, `(n,)`.
        shots: Number of measurements.
        seed: Random seed of the measurements.
    """
    size = np.linalg.norm(amplitudes)
    counts = np.random.default_rng(seed).multinomial(shots, (amplitudes / size) ** 2)
    read = np.sign(amplitudes) * np.sqrt(counts / shots) * size
    return float(np.linalg.norm(read - amplitudes) / size)
