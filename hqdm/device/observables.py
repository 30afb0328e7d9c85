"""Observables as sparse matrices on a batch of states.

    <O> = Re <psi| O psi>,    Var O = |O psi|^2 - <O>^2.

The matrix acts on the wires of the observable only. That of a sum of Pauli words has one entry per
row for each set of flipped wires, however many words flip the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pennylane as qml
import torch
from pennylane.measurements import ExpectationMP, MeasurementProcess, VarianceMP
from scipy.sparse import csr_matrix
from torch import Tensor

MAX_ENTRIES = 2**26  # of a matrix; observables with more are left to PennyLane
HERMITIAN = 1e-10  # largest error of O^dag = O, relative to the largest entry


class Product(torch.autograd.Function):
    """O psi for a constant sparse O, `(..., 2**k)` to the same; of any order of differentiation."""

    @staticmethod
    def forward(matrix: csr_matrix, adjoint: csr_matrix, states: Tensor) -> Tensor:
        """Evaluate."""
        rows = states.detach().resolve_conj().reshape(-1, states.shape[-1])
        product = matrix @ np.ascontiguousarray(rows.numpy(force=True).T)
        out = torch.from_numpy(np.ascontiguousarray(product.T)).to(states)
        return out.reshape(states.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the matrices."""
        ctx.matrices = inputs[:2]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor]:
        """O^dag times the gradient."""
        matrix, adjoint = ctx.matrices
        return None, None, Product.apply(adjoint, matrix, grad)

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, matrix: csr_matrix, adjoint: csr_matrix, states: Tensor
    ) -> tuple[Tensor, int]:
        """Evaluate with the new axis as one more axis of samples."""
        return Product.apply(matrix, adjoint, states.movedim(in_dims[2], 0)), 0


class SparseObservable:
    """A Hermitian observable.

    Args:
        wires: Its wires, integers.
        matrix: Its matrix on them.
    """

    def __init__(self, wires: tuple[int, ...], matrix: csr_matrix) -> None:
        self.wires = wires
        self.matrices = {
            torch.complex128: matrix.astype(np.complex128),
            torch.complex64: matrix.astype(np.complex64),
        }

    def expectation(self, states: Tensor) -> Tensor:
        """Expectations, `(B, 2, ..., 2)` to `(B,)`."""
        psi = self._on_wires(states)
        return _inner(psi, self._product(psi))

    def variance(self, states: Tensor) -> Tensor:
        """Variances, `(B, 2, ..., 2)` to `(B,)`."""
        psi = self._on_wires(states)
        product = self._product(psi)
        return _inner(product, product) - _inner(psi, product).square()

    def _on_wires(self, states: Tensor) -> Tensor:
        """The states with the wires of the observable on the last axis, `(B, rest, 2**k)`."""
        axes = [1 + wire for wire in self.wires]
        rest = [axis for axis in range(1, states.ndim) if axis not in axes]
        moved = states.permute(0, *rest, *axes)
        return moved.reshape(len(states), -1, 2 ** len(axes))

    def _product(self, psi: Tensor) -> Tensor:
        matrix = self.matrices[psi.dtype]
        return Product.apply(matrix, matrix, psi)


def _inner(left: Tensor, right: Tensor) -> Tensor:
    """Re <left|right> of each sample."""
    a, b = torch.view_as_real(left), torch.view_as_real(right)
    return (a * b).sum((1, 2, 3))


def sparse_observable(measurement: MeasurementProcess) -> SparseObservable | None:
    """The observable of a measurement on integer wires.

    Returns:
        The observable; None if the measurement is no expectation or variance, or the observable
        has trainable or batched numbers, no matrix, or is not Hermitian.
    """
    observable = measurement.obs
    if type(measurement) not in (ExpectationMP, VarianceMP) or observable is None:
        return None
    if observable.batch_size is not None or any(map(qml.math.requires_grad, observable.data)):
        return None
    wires, words = observable.wires, observable.pauli_rep
    if words is not None:
        flips = {tuple(w for w, letter in word.items() if letter in "XY") for word in words}
        if len(flips) * 2 ** len(wires) > MAX_ENTRIES:
            return None
        matrix = pauli_matrix(words, list(wires))
    elif observable.has_sparse_matrix:
        matrix = observable.sparse_matrix(wire_order=wires, format="csr")
    elif observable.has_matrix and 4 ** len(wires) <= MAX_ENTRIES:
        matrix = qml.math.toarray(observable.matrix(wire_order=wires))
    else:
        return None
    matrix = csr_matrix(matrix)
    error = abs(matrix - matrix.conj().T)
    if error.nnz and error.max() > HERMITIAN * abs(matrix).max():
        return None
    return SparseObservable(tuple(wires), matrix)


def pauli_matrix(words: Mapping[Any, Any], wires: Sequence[Any]) -> csr_matrix:
    """The matrix of a sum of Pauli words.

    A word with Z or Y on the wires z and X or Y on the wires x maps basis states as

        P |i> = i^(number of Y) (-1)^(bits of i in z) |i xor x>.

    Args:
        words: Coefficients by word, which maps wires to letters.
        wires: The wires, the first one most significant.
    """
    n = len(wires)
    columns = np.arange(2**n)
    factors: dict[int, np.ndarray] = {}  # by flipped bits, of the columns
    for word, coefficient in words.items():
        bits = dict.fromkeys("XYZ", 0)
        for wire, letter in word.items():
            bits[letter] |= 1 << (n - 1 - wires.index(wire))
        signs = 1 - 2 * (np.bitwise_count(columns & (bits["Z"] | bits["Y"])) & 1).astype(float)
        phase = complex(coefficient) * 1j ** bits["Y"].bit_count()
        flips = bits["X"] | bits["Y"]
        factors[flips] = factors.get(flips, 0) + phase * signs
    if not factors:
        return csr_matrix((2**n, 2**n))
    # Row i has the entries of the columns i xor x.
    indices = np.stack([columns ^ flips for flips in factors], 1)
    rows = np.stack([factor[columns ^ flips] for flips, factor in factors.items()], 1)
    starts = np.arange(2**n + 1) * len(factors)
    return csr_matrix((rows.ravel(), indices.ravel(), starts), shape=(2**n, 2**n))
