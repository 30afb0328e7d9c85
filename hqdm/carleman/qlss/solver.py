r"""A walk by a quantum linear system solver, by its exact emulation, or by a sparse solve.

The walk is one block system L x = b (`hqdm.carleman.qlss.history`). A block encoding holds
B = L / alpha with |B| <= 1; its singular values lie in [1 / kappa, 1], kappa = alpha / sigma_min.
With g close to 1 / x there (`hqdm.carleman.qlss.inverse`) and N >= |g| on [-1, 1] the quantum
algorithm prepares

    |b>  ->  g(B^T) |b> / N,     with probability |g(B^T) b|^2 / (N |b|)^2,

and a measurement of the block's number then finds a copy of the final state with the probability
of their share of |x|^2. The copies differ by the error of the inverse only; their mean is y. The
algorithm gives a normalised state only; its norm follows from the probability of success, and
here comes with the vector:

    x = N |b| / alpha  x (amplitudes of the outcome that counts).

`emulate` takes these amplitudes from products with B^T and B in turn, as many as the circuit has
queries; `circuit` takes them from a simulated PennyLane circuit; what follows is shared.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.sparse.linalg import ArpackError, LinearOperator, SuperLU, eigsh, splu

from hqdm.carleman.magnus import Direct, Matrix, Solution, Vector, amplified_runs
from hqdm.carleman.qlss.circuit import QSVTCircuit, circuit_qubits
from hqdm.carleman.qlss.history import History, block_system, schur_norm
from hqdm.carleman.qlss.inverse import (
    POLYNOMIALS,
    InversePolynomial,
    inverse_polynomial,
    needed_degree,
)
from hqdm.utils.errors import HQDMError, unknown

MODES = ("solve", "emulate", "circuit")
ENCODINGS = ("sparse", "spectral")


@dataclass(frozen=True)
class Inversion:
    """What the quantum inverse of a block system costs, and what it errs.

    Attributes:
        alpha: Sub-normalisation of the block encoding.
        sigma_min: Least singular value of L.
        degree: Of the polynomial.
        polynomial_error: max |x g(x) - 1| on [1 / kappa, 1], measured.
        polynomial_bound: Bound on the same.
        normalisation: N, at least max |g| on [-1, 1].
        inverse_probability: That the inverse succeeds.
        final_probability: That the block found is a copy of the final state.
        history_error: Of the whole x, relative to the sparse solve.
        error: Of the final state, relative to the sparse solve.
        residual: |L x - b| / |b|.
        qubits: Of the circuit whose block encoding takes one qubit.
    """

    alpha: float
    sigma_min: float
    degree: int
    polynomial_error: float
    polynomial_bound: float
    normalisation: float
    inverse_probability: float
    final_probability: float
    history_error: float
    error: float
    residual: float
    qubits: int

    @property
    def kappa(self) -> float:
        """The condition number alpha / sigma_min of B."""
        return self.alpha / self.sigma_min

    @property
    def queries(self) -> int:
        """Applications of the block encoding or its adjoint in one run."""
        return self.degree

    @property
    def success_probability(self) -> float:
        """That a run ends in a copy of the final state."""
        return self.inverse_probability * self.final_probability

    @property
    def repetitions(self) -> float:
        """Expected runs until one succeeds."""
        p = self.success_probability
        return 1 / p if p else math.inf

    @property
    def amplified_repetitions(self) -> float:
        """Expected runs, their adjoints included, with amplitude amplification."""
        return amplified_runs(self.success_probability)


@dataclass(frozen=True)
class QLSSAccount:
    """What a walk by a linear system solver costs, and what it errs.

    Attributes:
        size: Unknowns of the block system.
        nnz: Its entries.
        steps: Taylor steps, after generators of large norm were cut.
        order: Of the Taylor series.
        padding: Copies of the final state after the first.
        taylor_bound: See `hqdm.carleman.qlss.history.History`.
        taylor_error: Of the final state of the sparse solve, relative to exact exponentials.
        inversion: Of the quantum inverse; None for the sparse solve.
    """

    size: int
    nnz: int
    steps: int
    order: int
    padding: int
    taylor_bound: float
    taylor_error: float
    inversion: Inversion | None = None


@dataclass(frozen=True)
class QLSS:
    """Exponentials of generators by one linear system: a backend of `hqdm.carleman.magnus`.

    Args:
        mode: `"solve"`, the sparse solve; `"emulate"`, what a quantum computer would give, by
            products with B and B^T; `"circuit"`, a simulated PennyLane circuit.
        eps: Bound on |x g(x) - 1| on [1 / kappa, 1], and so on the error of x relative to x. With
            p the share of the final state's copies in |x|^2, the error relative to the final state
            is at most eps / sqrt(p): where the state fades away, eps has to be as small.
        degree: An odd degree instead of the one that meets eps.
        polynomial: `"minimax"` or `"cks"`, see `hqdm.carleman.qlss.inverse`.
        encoding: `"sparse"`: alpha = sqrt(|L|_1 |L|_inf), which access to the entries of rows and
            columns gives; `"spectral"`: alpha = |L|, the least that any block encoding has.
        order: Of the Taylor series; the lowest that meets the tolerance by default.
        tolerance: See `hqdm.carleman.qlss.history.block_system`.
        padding: Copies of the final state after the first; as many as Taylor steps by default.
        memory_limit: Bytes that the block system may take.
        degree_limit: The highest degree to take on.
        qubit_limit: The most qubits to simulate.

    Raises:
        HQDMError: If a name is unknown. `solve` raises it for what does not fit: see there.
    """

    mode: str = "emulate"
    eps: float = 1e-3
    degree: int | None = None
    polynomial: str = "minimax"
    encoding: str = "sparse"
    order: int | None = None
    tolerance: float = 1e-8
    padding: int | None = None
    memory_limit: int = 4 * 2**30
    degree_limit: int = 100_000
    qubit_limit: int = 10

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("mode of a linear system solver", self.mode, MODES),
            ("inverse polynomial", self.polynomial, POLYNOMIALS),
            ("block encoding", self.encoding, ENCODINGS),
        ):
            if name not in known:
                raise unknown(kind, name, known)

    def solve(self, generators: Sequence[Matrix], y0: Vector) -> Solution:
        """See `Backend.solve`; the account is a `QLSSAccount`.

        Raises:
            HQDMError: If shapes do not fit, a number is not finite, or the system is too large for
                the memory, too badly conditioned for the degree or too large for the circuit.
        """
        system = block_system(
            generators, y0, self.order, self.tolerance, self.padding, self.memory_limit
        )
        factors = forward_factors(system.matrix)
        reference = factors.solve(system.start)
        exact = Direct().solve(generators, y0).y
        if not (np.isfinite(reference).all() and np.isfinite(exact).all()):
            raise HQDMError("the solution overflows: walk over a shorter time or scale the system")
        account = partial(
            QLSSAccount,
            size=len(reference),
            nnz=system.matrix.nnz,
            steps=system.steps,
            order=system.order,
            padding=system.padding,
            taylor_bound=system.taylor_bound,
            taylor_error=relative_error(final_state(system, reference), exact),
        )
        if self.mode == "solve":
            return Solution(final_state(system, reference), account())
        x, inversion = self.invert(system, factors, reference)
        return Solution(final_state(system, x), account(inversion=inversion))

    def invert(
        self, system: History, factors: SuperLU, reference: Vector
    ) -> tuple[Vector, Inversion]:
        """The history x by the quantum inverse, and what that takes."""
        if self.mode == "circuit":
            self.check_qubits(len(reference))
        alpha, sigma_min = scale(system.matrix, self.encoding), least_singular_value(factors)
        polynomial = self.inverse(alpha / sigma_min)
        B, norm, N = system.matrix / alpha, np.linalg.norm(system.start), polynomial.normalisation
        amplitudes = self.amplitudes(B, system.start / norm, polynomial)
        x = amplitudes * (N * norm / alpha)
        return x, Inversion(
            alpha=alpha,
            sigma_min=sigma_min,
            degree=polynomial.degree,
            polynomial_error=polynomial.error,
            polynomial_bound=polynomial.bound,
            normalisation=N,
            inverse_probability=float(amplitudes @ amplitudes),
            final_probability=float((system.finals(x) ** 2).sum() / (x @ x)),
            history_error=relative_error(x, reference),
            error=relative_error(final_state(system, x), final_state(system, reference)),
            residual=relative_error(system.matrix @ x, system.start),
            qubits=circuit_qubits(len(x)),
        )

    def inverse(self, kappa: float) -> InversePolynomial:
        """The polynomial for a condition number.

        Raises:
            HQDMError: If its degree would be above the limit.
        """
        degree = self.degree or needed_degree(self.polynomial, kappa, self.eps)
        if degree > self.degree_limit:
            raise HQDMError(
                f"a condition number of {kappa:.3g} and eps={self.eps:g} need degree {degree:,}, "
                f"more than degree_limit={self.degree_limit:,}: walk over a shorter time, scale "
                "the unknowns alike, or raise eps"
            )
        return inverse_polynomial(self.polynomial, kappa, self.eps, self.degree)

    def amplitudes(self, B: Matrix, b: Vector, polynomial: InversePolynomial) -> Vector:
        """g(B^T) b / N, by products or by the circuit."""
        if self.mode == "emulate":
            return polynomial.apply(B, b) / polynomial.normalisation
        coefficients = polynomial.coefficients / polynomial.normalisation
        return QSVTCircuit(B.toarray(), b, coefficients).amplitudes()

    def check_qubits(self, size: int) -> None:
        """Refuse a circuit of too many qubits."""
        needed = circuit_qubits(size)
        if needed > self.qubit_limit:
            raise HQDMError(
                f"the circuit of a block system of {size:,} unknowns takes {needed} qubits, "
                f"more than qubit_limit={self.qubit_limit}: use mode='emulate', a lower order, "
                "less padding or a smaller system"
            )


def final_state(system: History, x: Vector) -> Vector:
    """The mean of the copies of the final state, `(n,)`."""
    return system.finals(x).mean(axis=0)


def relative_error(x: Vector, reference: Vector) -> float:
    """|x - reference| / |reference|."""
    return float(np.linalg.norm(x - reference) / np.linalg.norm(reference))


def forward_factors(matrix: Matrix) -> SuperLU:
    """The factors of a lower triangular matrix with ones on its diagonal: itself, and no fill."""
    return splu(matrix.tocsc(), permc_spec="NATURAL", diag_pivot_thresh=0)


def scale(matrix: Matrix, encoding: str) -> float:
    """alpha: the sub-normalisation of a block encoding."""
    if encoding == "sparse":
        return schur_norm(matrix)
    transposed = matrix.T
    return largest_singular_value(lambda v: transposed @ (matrix @ v), matrix.shape[0])


def least_singular_value(factors: SuperLU) -> float:
    """sigma_min of a factorised matrix L, as the inverse of |L^{-1}|.

    Raises:
        HQDMError: If it is zero to float64.
    """
    try:
        norm = largest_singular_value(
            lambda v: factors.solve(factors.solve(v), trans="T"), factors.shape[0]
        )
    except ArpackError:  # what products with numbers that are not finite end in
        norm = math.nan
    if not 0 < norm < math.inf:
        raise HQDMError(
            "the block system is singular to float64: walk over a shorter time or scale it"
        )
    return 1 / norm


def largest_singular_value(normal: Callable[[Vector], Vector], size: int) -> float:
    """|M|, from products with M^T M, by Lanczos iterations."""
    operator = LinearOperator((size, size), matvec=normal, dtype=np.float64)
    start = np.random.default_rng(0).normal(size=size)  # one's own, so that results repeat
    return math.sqrt(eigsh(operator, k=1, v0=start, return_eigenvectors=False)[0])
