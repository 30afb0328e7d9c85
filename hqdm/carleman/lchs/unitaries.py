r"""The Hamiltonians of LCHS and their exact simulation.

Every generator is split into a symmetric and an antisymmetric part, and shifted,

    -G + c = L + i H,    L = c - (G + G^T) / 2 >= 0,    H = i (G - G^T) / 2.

The unitary U(k) of a node is the product of exp(-i (k L + H)) over the generators. G is real, so
that U(-k) is the complex conjugate of U(k), and only positive nodes are simulated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import eigsh, norm
from scipy.special import jv

from hqdm.carleman.lchs.quadrature import Quadrature
from hqdm.carleman.magnus import Matrix, Vector

DENSE = 8
"""Largest dimension at which matrices are diagonalised as dense matrices."""

CHUNK = 256
"""Number of nodes simulated together."""


@dataclass(frozen=True)
class Parts:
    """The Cartesian decomposition of one generator.

    Attributes:
        hermitian: L, positive semidefinite, symmetric, `(n, n)`.
        skew: -i H, which is real and antisymmetric, `(n, n)`.
        shift: c >= 0.
        hermitian_norm: The largest eigenvalue of L.
        skew_norm: The largest eigenvalue of H.
    """

    hermitian: Matrix
    skew: Matrix
    shift: float
    hermitian_norm: float
    skew_norm: float


def register_qubits(dimension: int) -> int:
    """The number of qubits of a register that holds the dimension, at least one."""
    return max(1, (dimension - 1).bit_length())


def cartesian(generator: Matrix) -> Parts:
    """The Cartesian decomposition of -G with the smallest shift that makes L >= 0.

    Args:
        generator: The generator G, `(n, n)`.
    """
    symmetric, skew = -(generator + generator.T) / 2, (generator - generator.T) / 2
    lowest = -_largest_eigenvalue(-symmetric)
    shift = max(0.0, -lowest)
    hermitian = sparse.csr_array(symmetric + shift * sparse.eye_array(generator.shape[0]))
    return Parts(
        hermitian,
        sparse.csr_array(skew),
        shift,
        max(0.0, _largest_eigenvalue(symmetric) + shift),
        max(0.0, _largest_eigenvalue(1j * skew)),
    )


def _largest_eigenvalue(matrix: Matrix) -> float:
    """The largest eigenvalue of a Hermitian matrix."""
    n = matrix.shape[0]
    if n <= DENSE:
        return float(np.linalg.eigvalsh(matrix.toarray())[-1])
    raised = 2 * norm(matrix, 1)
    if not raised:
        return 0.0
    # the Lanczos iteration starts in the range of the matrix and so misses an eigenvalue of zero
    regular = matrix + raised * sparse.eye_array(n)
    start = np.random.default_rng(0).normal(size=n)  # scipy's own start is not seeded
    return float(eigsh(regular, 1, which="LA", v0=start, return_eigenvectors=False)[0] - raised)


def emulate(parts: Sequence[Parts], rule: Quadrature, y0: Vector) -> Vector:
    """sum_j c_j U(k_j) y_0, with exact unitaries.

    Args:
        parts: The parts of every generator, first to last.
        rule: Nodes and coefficients.
        y0: The initial value, `(n,)`.
    """
    total = np.zeros(len(y0))
    for chunk, states in simulate(parts, rule.nodes, y0):
        total += 2 * (states @ rule.coefficients[chunk]).real
    return total


def simulate(
    parts: Sequence[Parts], nodes: NDArray[np.float64], y0: Vector
) -> Iterator[tuple[slice, NDArray[np.complex128]]]:
    """The states U(k) y_0 of many nodes, in parts.

    Args:
        parts: The parts of every generator, first to last.
        nodes: The nodes k >= 0, `(J,)`.
        y0: The initial value, `(n,)`.

    Yields:
        A slice of the nodes and their states, `(n, J_slice)`.
    """
    evolve = _evolve_dense if len(y0) <= DENSE else _evolve_sparse
    for chunk in _chunks(len(nodes)):
        states = np.repeat(y0[:, None], len(nodes[chunk]), axis=1).astype(complex)
        for part in parts:
            states = evolve(part, nodes[chunk], states)
        yield chunk, states


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, count, CHUNK))


def _evolve_dense(
    part: Parts, nodes: NDArray[np.float64], states: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    """Apply exp(-i (k L + H)) to one column per node, by diagonalisation."""
    hamiltonians = nodes[:, None, None] * part.hermitian.toarray() + 1j * part.skew.toarray()
    energies, modes = np.linalg.eigh(hamiltonians)
    amplitudes = np.einsum("jna,nj->ja", modes.conj(), states) * np.exp(-1j * energies)
    return np.einsum("jna,ja->nj", modes, amplitudes)


def _evolve_sparse(
    part: Parts, nodes: NDArray[np.float64], states: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    """Apply exp(-i (k L + H)) to one column per node, by Chebyshev polynomials.

    With the centre k |L| / 2 of the spectrum of k L subtracted, B = (k L + H - k |L| / 2) / r has a
    spectrum within [-1, 1] for r = k |L| / 2 + |H|, and the Jacobi-Anger expansion gives

        exp(-i r B) = J_0(r) + 2 sum_p (-i)^p J_p(r) T_p(B).
    """
    middle = nodes * part.hermitian_norm / 2
    # slightly above the computed norms: outside [-1, 1] Chebyshev polynomials grow exponentially
    radius = (middle + part.skew_norm) * (1 + 1e-6) + 1e-12

    def scaled(x: NDArray[np.complex128]) -> NDArray[np.complex128]:
        applied = nodes * _apply(part.hermitian, x) + 1j * _apply(part.skew, x)
        return (applied - middle * x) / radius

    before, now = states, scaled(states)
    total = jv(0, radius) * before - 2j * jv(1, radius) * now
    for p in range(2, _degree(radius.max()) + 1):
        before, now = now, 2 * scaled(now) - before
        total += 2 * (-1j) ** p * jv(p, radius) * now
    return total * np.exp(-1j * middle)


def _apply(matrix: Matrix, x: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Multiply complex columns by a real matrix, in real arithmetic."""
    return (matrix @ x.view(np.float64)).view(np.complex128)


def _degree(radius: float) -> int:
    """A degree p above which J_p(r) is below 1e-16."""
    return int(radius + 12 * radius ** (1 / 3) + 20)
