r"""Evolution by a quantum linear system solver, by its exact emulation, or by a sparse solve.

The evolution is one block system L x = b (`hqdm.carleman.qlss.history`). The block encoding is of
B = L / alpha, with |B| <= 1 and singular values in [1 / kappa, 1], kappa = alpha / sigma_min. With
g close to 1 / x on this interval (`hqdm.carleman.qlss.inverse`) and N >= |g| on [-1, 1], the
quantum algorithm prepares

    |b>  ->  g(B^T) |b> / N,     with probability |g(B^T) b|^2 / (N |b|)^2.

A measurement of the block index then finds a copy of the final state with probability equal to the
copies' fraction of |x|^2. The copies differ only by the error of the inverse; y is their mean. The
algorithm gives a normalised state, whose norm follows from the success probability; here the norm
is known from the simulation,

    x = N |b| / alpha  x (amplitudes of the successful outcome).

With `polynomial="reflection"` one reflection about a kernel takes the place of the inverse
(`hqdm.carleman.qlss.reflection`), which assumes that |x| is known, as it is after the first of
many runs; N is then |x| alpha / |b|, and the probability close to one.

Mode `emulate` computes these amplitudes by alternate products with B^T and B, as many as the
circuit has queries; mode `circuit` simulates a PennyLane circuit. The other steps are the same.
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
from hqdm.carleman.qlss.reflection import KernelReflection, reflection, reflection_terms
from hqdm.utils.errors import HQDMError, unknown

ALGORITHMS = (*POLYNOMIALS, "reflection")
MODES = ("solve", "emulate", "circuit")
ENCODINGS = ("sparse", "spectral")


@dataclass(frozen=True)
class Inversion:
    """Costs and errors of the quantum inverse of a block system.

    Attributes:
        alpha: Sub-normalisation of the block encoding.
        sigma_min: Smallest singular value of L.
        degree: Degree of the polynomial.
        polynomial_error: max |x g(x) - 1| on [1 / kappa, 1], measured.
        polynomial_bound: Bound on max |x g(x) - 1| on [1 / kappa, 1].
        normalisation: N, at least max |g| on [-1, 1].
        inverse_probability: Probability that the inverse succeeds.
        final_probability: Probability that the measured block is a copy of the final state.
        history_error: Error of the whole x, relative to the sparse solve.
        error: Error of the final state, relative to the sparse solve.
        residual: |L x - b| / |b|.
        qubits: Qubits of the circuit, with one qubit for the block encoding.
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
        """Number of applications of the block encoding or its adjoint in one run."""
        return self.degree

    @property
    def success_probability(self) -> float:
        """Probability that a run ends in a copy of the final state."""
        return self.inverse_probability * self.final_probability

    @property
    def repetitions(self) -> float:
        """Expected number of runs until success."""
        p = self.success_probability
        return 1 / p if p else math.inf

    @property
    def amplified_repetitions(self) -> float:
        """Expected number of runs and adjoint runs with amplitude amplification."""
        return amplified_runs(self.success_probability)


@dataclass(frozen=True)
class QLSSAccount:
    """Costs and errors of an evolution by a linear system solver.

    Attributes:
        size: Number of unknowns of the block system.
        nnz: Number of nonzero entries of the block system.
        steps: Number of Taylor steps, after the subdivision of generators of large norm.
        order: Order of the Taylor series.
        padding: Number of further copies of the final state.
        taylor_bound: See `hqdm.carleman.qlss.history.History`.
        taylor_error: Error of the final state of the sparse solve, relative to exact exponentials.
        inversion: Costs and errors of the quantum inverse; None for the sparse solve.
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
    """A backend that applies the exponentials of generators by solving one linear system.

    Args:
        mode: `"solve"`, the sparse solve; `"emulate"`, the quantum algorithm's result by products
            with B and B^T; `"circuit"`, a simulated PennyLane circuit.
        eps: Bound on |x g(x) - 1| on [1 / kappa, 1], and so on the relative error of x. With p the
            fraction of |x|^2 in the copies of the final state, the error relative to the final
            state is at most eps / sqrt(p): a decaying state needs a correspondingly smaller eps.
        degree: Odd degree of the polynomial; by default the degree that meets eps.
        polynomial: `"minimax"` or `"cks"`, see `hqdm.carleman.qlss.inverse`; `"reflection"`, see
            `hqdm.carleman.qlss.reflection`, without a circuit.
        encoding: `"sparse"`: alpha = sqrt(|L|_1 |L|_inf), as given by access to the entries of rows
            and columns; `"spectral"`: alpha = |L|, the smallest of any block encoding.
        order: Order of the Taylor series; by default the lowest that meets the tolerance.
        tolerance: See `hqdm.carleman.qlss.history.block_system`.
        padding: Number of further copies of the final state; by default the number of Taylor
            steps.
        memory_limit: Memory limit of the block system in bytes.
        degree_limit: Maximum degree of the polynomial.
        qubit_limit: Maximum number of simulated qubits.

    Raises:
        HQDMError: If a name is unknown. See also `solve`.
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
            ("inverse polynomial", self.polynomial, ALGORITHMS),
            ("block encoding", self.encoding, ENCODINGS),
        ):
            if name not in known:
                raise unknown(kind, name, known)
        if (self.mode, self.polynomial) == ("circuit", "reflection"):
            raise HQDMError(
                'the kernel reflection has no circuit: use mode="emulate" or the minimax polynomial'
            )

    def solve(self, generators: Sequence[Matrix], y0: Vector) -> Solution:
        """See `Backend.solve`; the account is a `QLSSAccount`.

        Raises:
            HQDMError: If shapes do not match, a number is not finite, or the system exceeds the
                limit of memory, degree or qubits.
        """
        system = block_system(
            generators, y0, self.order, self.tolerance, self.padding, self.memory_limit
        )
        factors = forward_factors(system.matrix)
        reference = factors.solve(system.start)
        exact = Direct().solve(generators, y0).y
        if not (np.isfinite(reference).all() and np.isfinite(exact).all()):
            raise HQDMError(
                "the solution overflows: integrate over a shorter time or scale the system"
            )
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
        """The history x by the quantum inverse, with its costs and errors."""
        if self.mode == "circuit":
            self.check_qubits(len(reference))
        alpha, sigma_min = scale(system.matrix, self.encoding), least_singular_value(factors)
        norm = float(np.linalg.norm(system.start))
        polynomial = self.inverse(
            alpha / sigma_min, float(np.linalg.norm(reference)) * alpha / norm
        )
        B, N = system.matrix / alpha, polynomial.normalisation
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

    def inverse(self, kappa: float, norm: float) -> InversePolynomial | KernelReflection:
        """The polynomial for a condition number, and for the norm of B^{-1} b.

        Raises:
            HQDMError: If its degree exceeds the limit.
        """
        degree = self.degree or algorithm_degree(self.polynomial, kappa, self.eps)
        if degree > self.degree_limit:
            raise HQDMError(
                f"a condition number of {kappa:.3g} and eps={self.eps:g} need degree {degree:,}, "
                f"more than degree_limit={self.degree_limit:,}: integrate over a shorter time, "
                "scale the unknowns to similar size, or raise eps"
            )
        if self.polynomial == "reflection":
            return reflection(kappa, norm, self.eps, self.degree)
        return inverse_polynomial(self.polynomial, kappa, self.eps, self.degree)

    def amplitudes(
        self, B: Matrix, b: Vector, polynomial: InversePolynomial | KernelReflection
    ) -> Vector:
        """g(B^T) b / N, by products or by a simulated circuit."""
        if isinstance(polynomial, KernelReflection) or self.mode == "emulate":
            return polynomial.apply(B, b) / polynomial.normalisation
        coefficients = polynomial.coefficients / polynomial.normalisation
        return QSVTCircuit(B.toarray(), b, coefficients).amplitudes()

    def check_qubits(self, size: int) -> None:
        """Refuse a circuit with more qubits than the limit."""
        needed = circuit_qubits(size)
        if needed > self.qubit_limit:
            raise HQDMError(
                f"the circuit of a block system of {size:,} unknowns takes {needed} qubits, "
                f"more than qubit_limit={self.qubit_limit}: use mode='emulate', a lower order, "
                "less padding or a smaller system"
            )


def algorithm_degree(algorithm: str, kappa: float, eps: float) -> int:
    """The degree of an inverse polynomial or of a reflection that meets eps."""
    if algorithm == "reflection":
        return 2 * reflection_terms(kappa, eps)
    return needed_degree(algorithm, kappa, eps)


def final_state(system: History, x: Vector) -> Vector:
    """The mean of the copies of the final state, `(n,)`."""
    return system.finals(x).mean(axis=0)


def relative_error(x: Vector, reference: Vector) -> float:
    """|x - reference| / |reference|."""
    return float(np.linalg.norm(x - reference) / np.linalg.norm(reference))


def forward_factors(matrix: Matrix) -> SuperLU:
    """The LU factors of a unit lower triangular matrix: the matrix itself, without fill-in."""
    return splu(matrix.tocsc(), permc_spec="NATURAL", diag_pivot_thresh=0)


def scale(matrix: Matrix, encoding: str) -> float:
    """The sub-normalisation alpha of a block encoding."""
    if encoding == "sparse":
        return schur_norm(matrix)
    transposed = matrix.T
    return largest_singular_value(lambda v: transposed @ (matrix @ v), matrix.shape[0])


def least_singular_value(factors: SuperLU) -> float:
    """The smallest singular value of a factorised matrix L, 1 / |L^{-1}|.

    Raises:
        HQDMError: If it is zero in float64.
    """
    try:
        norm = largest_singular_value(
            lambda v: factors.solve(factors.solve(v), trans="T"), factors.shape[0]
        )
    except ArpackError:  # raised if a product is not finite
        norm = math.nan
    if not 0 < norm < math.inf:
        raise HQDMError(
            "the block system is singular in float64: integrate over a shorter time or scale it"
        )
    return 1 / norm


def largest_singular_value(normal: Callable[[Vector], Vector], size: int) -> float:
    """The spectral norm |M|, by Lanczos iterations with M^T M."""
    operator = LinearOperator((size, size), matvec=normal, dtype=np.float64)
    start = np.random.default_rng(0).normal(size=size)  # seeded, for reproducible results
    return math.sqrt(eigsh(operator, k=1, v0=start, return_eigenvectors=False)[0])
