r"""The history of an evolution as a block linear system (Berry, Childs, Ostrander and Wang 2017).

A step y_{m+1} = exp(G_m) y_m, with the Taylor series of exp truncated after the K-th power, is
written with the terms of the series as separate unknowns, so that every entry is linear in G:

    y_{0,0}   = y_0,
    y_{m,j}   = G_m / j  y_{m,j-1},             j = 1 ... K,
    y_{m+1,0} = y_{m,0} + ... + y_{m,K},
    y_{p+i,0} = y_{p+i-1,0},                    i = 1 ... padding.

Together these are L x = b, where L is the identity minus blocks below its diagonal. The copies at
the end increase the probability that a measurement of x finds the final state.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy import sparse

from hqdm.carleman.magnus import Matrix, Vector
from hqdm.utils.errors import HQDMError

BYTES_PER_ENTRY = 88  # measured: L during construction, by rows and by columns, and its factors
BYTES_PER_ROW = 320  # 40 vectors: Lanczos iterations, solutions, polynomials
MAX_ORDER = 40  # a Taylor series of a norm up to 1 needs 17 terms to machine precision


@dataclass(frozen=True, eq=False)
class History:
    """The block system L x = b of an evolution over p steps.

    Attributes:
        matrix: L, `(n_blocks n, n_blocks n)`, lower triangular with ones on its diagonal.
        start: b, `(n_blocks n,)`: y_0, then zeros.
        n: Length of a state.
        steps: Number of steps p, after the subdivision of generators of large norm.
        order: Order K of the Taylor series.
        padding: Number of further copies of the final state.
        taylor_bound: Bound on the sum over the steps of the norm of exp(G_m) minus its Taylor
            series.
    """

    matrix: Matrix
    start: Vector
    n: int
    steps: int
    order: int
    padding: int
    taylor_bound: float

    def finals(self, x: Vector) -> Vector:
        """The copies of the final state in a history `(n_blocks n,)`: `(padding + 1, n)`."""
        return x.reshape(-1, self.n)[-(self.padding + 1) :]


def schur_norm(matrix: Matrix) -> float:
    """sqrt(|M|_1 |M|_inf), which is at least the spectral norm of M (Schur's test).

    It is the sub-normalisation of the block encoding of a sparse matrix by preparation of the
    square roots of the entries of rows and of columns.
    """
    entries = abs(matrix)
    # The product of the two sums could overflow where its root does not.
    return math.sqrt(entries.sum(axis=0).max()) * math.sqrt(entries.sum(axis=1).max())


def taylor_tail(norm: float, order: int) -> float:
    """Bound on the norm of exp(G) minus its Taylor series, for G of norm 1 or less."""
    first = norm ** (order + 1) / math.factorial(order + 1)
    return first / (1 - norm / (order + 2))


def taylor_order(norm: float, steps: int, tolerance: float) -> int:
    """The lowest order for which the tails of all steps sum to at most the tolerance.

    Raises:
        HQDMError: If the tolerance is not positive, or too small for float64.
    """
    for order in range(1, MAX_ORDER):
        if steps * taylor_tail(norm, order) <= tolerance:
            return order
    raise HQDMError(f"no Taylor series reaches a tolerance of {tolerance:g}: use 1e-14 or more")


def block_system(
    generators: Sequence[Matrix],
    y0: Vector,
    order: int | None = None,
    tolerance: float = 1e-8,
    padding: int | None = None,
    memory_limit: int = 4 * 2**30,
) -> History:
    """Build the block system of an evolution.

    Generators whose `schur_norm` is above 1 are divided into equal parts of norm 1 or less.

    Args:
        generators: G_1, ..., G_M, `(n, n)` each.
        y0: The initial value, `(n,)`.
        order: Order K of the Taylor series; by default the lowest that meets the tolerance.
        tolerance: Bound on the sum over the steps of the norm of exp(G) minus its Taylor series.
            The error relative to the final state is larger if that state is much smaller than y0.
        padding: Number of further copies of the final state; by default the number of steps.
        memory_limit: Memory limit in bytes.

    Raises:
        HQDMError: If shapes do not match, a number is not finite, order or padding is out of range,
            or the system would exceed the memory limit.
    """
    start = np.asarray(y0, dtype=np.float64)
    check_input(generators, start)
    norms = [schur_norm(generator) for generator in generators]
    parts = [max(1, math.ceil(norm)) for norm in norms]
    cut = list(zip(generators, parts, strict=True))
    largest = max(norm / count for norm, count in zip(norms, parts, strict=True))
    p, n = sum(parts), len(start)
    K = taylor_order(largest, p, tolerance) if order is None else order
    copies = p if padding is None else padding
    if K < 1 or copies < 0:
        raise HQDMError(
            f"a history needs an order of 1 or more and a padding of 0 or more, got {K} and "
            f"{copies}"
        )
    n_blocks = p * (K + 1) + 1 + copies
    entries = K * sum(generator.nnz * count for generator, count in cut) + (2 * n_blocks - 1) * n
    check_memory(n_blocks * n, entries, memory_limit)
    steps = chain.from_iterable([generator / count] * count for generator, count in cut)
    matrix = block_matrix(list(steps), K, copies)
    rhs = np.zeros(n_blocks * n)
    rhs[:n] = start
    return History(matrix, rhs, n, p, K, copies, p * taylor_tail(largest, K))


def check_input(generators: Sequence[Matrix], start: Vector) -> None:
    """Refuse missing generators, mismatched shapes, numbers that are not finite, and y_0 = 0."""
    if start.ndim != 1:
        raise HQDMError(f"a history takes one initial value of shape (n,), got shape {start.shape}")
    if not generators:
        raise HQDMError("a history needs one generator or more, got none")
    for generator in generators:
        if generator.shape != (len(start), len(start)):
            raise HQDMError(
                f"an initial value of length {len(start)} needs generators of shape "
                f"{(len(start),) * 2}, got {generator.shape}"
            )
    if not all(np.isfinite(values).all() for values in (start, *(g.data for g in generators))):
        raise HQDMError(
            "a generator or the initial value is not finite: scale the system or integrate over a "
            "shorter time"
        )
    if not start.any():
        raise HQDMError(
            "the initial value is zero, and so is the solution: no quantum state represents it"
        )


def check_memory(rows: int, entries: int, memory_limit: int) -> None:
    """Refuse a block system that would exceed the memory limit, before it is built."""
    needed = BYTES_PER_ROW * rows + BYTES_PER_ENTRY * entries
    if needed > memory_limit:
        raise HQDMError(
            f"the block system would take {needed:,} bytes, more than memory_limit="
            f"{memory_limit:,}: use fewer generators, a lower order or a smaller system"
        )


def block_matrix(steps: Sequence[Matrix], order: int, padding: int) -> Matrix:
    """The matrix L of generators of norm 1 or less, see the module docstring."""
    n, p = steps[0].shape[0], len(steps)
    n_blocks = p * (order + 1) + 1 + padding
    powers = sparse.diags_array(1 / np.arange(1, order + 1), offsets=-1)
    taylor = [sparse.kron(powers, generator) for generator in steps]
    rest = sparse.csr_array(((1 + padding) * n,) * 2)
    sums = sparse.kron(sums_and_copies(p, order, padding), sparse.eye_array(n))
    identity = sparse.eye_array(n_blocks * n)
    return sparse.csr_array(identity - sparse.block_diag([*taylor, rest]) - sums)


def sums_and_copies(steps: int, order: int, padding: int) -> Matrix:
    """The block pattern of sums and copies, a matrix of ones `(n_blocks, n_blocks)`."""
    terms = np.arange(steps * (order + 1))
    last = steps * (order + 1)
    copies = last + np.arange(padding)
    rows = np.concatenate([(terms // (order + 1) + 1) * (order + 1), copies + 1])
    columns = np.concatenate([terms, copies])
    n_blocks = last + 1 + padding
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(n_blocks, n_blocks))
