r"""The history of a walk as one block linear system (Berry, Childs, Ostrander and Wang 2017).

A step y_{m+1} = exp(G_m) y_m, with exp cut after the K-th power, is written with its terms as
unknowns of their own, so that every entry is linear in G:

    y_{0,0}   = y_0,
    y_{m,j}   = G_m / j  y_{m,j-1},             j = 1 ... K,
    y_{m+1,0} = y_{m,0} + ... + y_{m,K},
    y_{p+i,0} = y_{p+i-1,0},                    i = 1 ... padding.

Together L x = b, where L is the identity less blocks below its diagonal. The copies at the end
raise the share of the final state in x, which is what a measurement finds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy import sparse

from hqdm.carleman.magnus import Matrix, Vector
from hqdm.utils.errors import HQDMError

BYTES_PER_ENTRY = 88  # measured: L while it is built, by rows and by columns, and its factors
BYTES_PER_ROW = 320  # 40 vectors: Lanczos iterations, solutions, polynomials
MAX_ORDER = 40  # a Taylor series of a norm up to 1 needs 17 terms to machine precision


@dataclass(frozen=True, eq=False)
class History:
    """The block system L x = b of a walk of p steps.

    Attributes:
        matrix: L, `(n_blocks n, n_blocks n)`, lower triangular with ones on its diagonal.
        start: b, `(n_blocks n,)`: y_0, then zeros.
        n: Length of a state.
        steps: p, after generators of large norm were cut.
        order: K.
        padding: Copies of the final state after the first.
        taylor_bound: Bound on the sum over the steps of |exp(G_m) less its Taylor series|.
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

    It is the sub-normalisation of a block encoding of a sparse matrix that prepares the square
    roots of the entries of rows and of columns.
    """
    entries = abs(matrix)
    # A product of the two sums could overflow where its root does not.
    return math.sqrt(entries.sum(axis=0).max()) * math.sqrt(entries.sum(axis=1).max())


def taylor_tail(norm: float, order: int) -> float:
    """Bound on |exp(G)| less its Taylor series of an order, for G of a norm up to 1."""
    first = norm ** (order + 1) / math.factorial(order + 1)
    return first / (1 - norm / (order + 2))


def taylor_order(norm: float, steps: int, tolerance: float) -> int:
    """The lowest order of which the tails of all steps sum to at most a tolerance.

    Raises:
        HQDMError: If the tolerance is not positive, or below what float64 holds.
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
    """The block system of a walk.

    Generators whose `schur_norm` is above 1 are cut in equal parts, each of norm 1 or less.

    Args:
        generators: G_1, ..., G_M, `(n, n)` each.
        y0: The start, `(n,)`.
        order: K; the lowest that meets the tolerance by default.
        tolerance: Bound on the sum over the steps of |exp(G) less its Taylor series|. The error
            relative to the final state is larger where that state is much smaller than y0.
        padding: Copies of the final state after the first; as many as steps by default.
        memory_limit: Bytes that the system may take.

    Raises:
        HQDMError: If shapes do not fit, a number is not finite, order or padding is out of range,
            or the system would take more memory.
    """
    start = np.asarray(y0, dtype=np.float64)
    check_walk(generators, start)
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


def check_walk(generators: Sequence[Matrix], start: Vector) -> None:
    """Refuse what is no walk: no generators, other shapes, numbers that are not finite, zero."""
    if start.ndim != 1:
        raise HQDMError(f"a history takes one start of shape (n,), got shape {start.shape}")
    if not generators:
        raise HQDMError("a history needs one generator or more, got none")
    for generator in generators:
        if generator.shape != (len(start), len(start)):
            raise HQDMError(
                f"a start of length {len(start)} needs generators of shape {(len(start),) * 2}, "
                f"got {generator.shape}"
            )
    if not all(np.isfinite(values).all() for values in (start, *(g.data for g in generators))):
        raise HQDMError("a generator or the start is not finite: scale the system or shorten it")
    if not start.any():
        raise HQDMError("the start is zero, which no quantum state holds: so is the solution")


def check_memory(rows: int, entries: int, memory_limit: int) -> None:
    """Refuse a block system that is too large, before it is built."""
    needed = BYTES_PER_ROW * rows + BYTES_PER_ENTRY * entries
    if needed > memory_limit:
        raise HQDMError(
            f"the block system would take {needed:,} bytes, more than memory_limit="
            f"{memory_limit:,}: use fewer generators, a lower order or a smaller system"
        )


def block_matrix(steps: Sequence[Matrix], order: int, padding: int) -> Matrix:
    """L for generators of norm 1 or less, see the head of this file."""
    n, p = steps[0].shape[0], len(steps)
    n_blocks = p * (order + 1) + 1 + padding
    powers = sparse.diags_array(1 / np.arange(1, order + 1), offsets=-1)
    taylor = [sparse.kron(powers, generator) for generator in steps]
    rest = sparse.csr_array(((1 + padding) * n,) * 2)
    sums = sparse.kron(sums_and_copies(p, order, padding), sparse.eye_array(n))
    identity = sparse.eye_array(n_blocks * n)
    return sparse.csr_array(identity - sparse.block_diag([*taylor, rest]) - sums)


def sums_and_copies(steps: int, order: int, padding: int) -> Matrix:
    """Which blocks are added to which: ones, `(n_blocks, n_blocks)`."""
    terms = np.arange(steps * (order + 1))
    last = steps * (order + 1)
    copies = last + np.arange(padding)
    rows = np.concatenate([(terms // (order + 1) + 1) * (order + 1), copies + 1])
    columns = np.concatenate([terms, copies])
    n_blocks = last + 1 + padding
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(n_blocks, n_blocks))
