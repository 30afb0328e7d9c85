"""Observables as sparse matrices."""

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from hqdm.device.observables import Product, pauli_matrix, sparse_observable

LETTERS = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1, -1]),
}


def states(n_samples, n_wires, dtype=torch.complex128):
    generator = torch.Generator().manual_seed(n_wires)
    psi = torch.randn(n_samples, 2**n_wires, generator=generator, dtype=dtype)
    return (psi / psi.norm(dim=1, keepdim=True)).reshape(n_samples, *(2,) * n_wires)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text("IXYZ", min_size=3, max_size=3), min_size=1, max_size=6, unique=True))
def test_sums_of_words_are_sums_of_kronecker_products(words):
    wires = ["b", 0, "a"]
    sentence = {
        qml.pauli.PauliWord({w: p for w, p in zip(wires, word, strict=True) if p != "I"}): 0.3 - k
        for k, word in enumerate(words)
    }
    expected = sum(
        (0.3 - k) * np.kron(np.kron(LETTERS[word[0]], LETTERS[word[1]]), LETTERS[word[2]])
        for k, word in enumerate(words)
    )
    np.testing.assert_allclose(pauli_matrix(sentence, wires).toarray(), expected, atol=1e-15)


def test_a_sum_has_one_entry_per_row_for_each_set_of_flipped_wires():
    hamiltonian = qml.Hamiltonian(
        [1.0, 0.5, 0.2, 0.7], [qml.Z(0), qml.Z(0) @ qml.Z(1), qml.X(1), qml.Y(1) @ qml.Z(0)]
    )
    assert pauli_matrix(hamiltonian.pauli_rep, [0, 1]).nnz == 2 * 4


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize(
    "observable",
    [
        qml.Hermitian(np.array([[1, 0.2j], [-0.2j, 3]]), wires=2),
        qml.Projector([1, 0], wires=[2, 0]),
        qml.X(1) @ qml.Hermitian(np.diag([1, 2, 3, 5]), wires=[2, 0]),
        0.7 * qml.Y(2) + 0.2 * qml.Z(0) @ qml.X(1),
        qml.Identity(1),
    ],
    ids=str,
)
def test_expectations_and_variances(observable, dtype):
    psi = states(3, 3, dtype)
    sparse = sparse_observable(qml.expval(observable))
    matrix = torch.as_tensor(qml.matrix(observable, wire_order=range(3)), dtype=torch.complex128)
    flat = psi.reshape(3, 8).to(torch.complex128)
    mean = torch.einsum("bi,ij,bj->b", flat.conj(), matrix, flat).real
    square = torch.einsum("bi,ij,bj->b", flat.conj(), matrix @ matrix, flat).real
    real = dtype.to_real()
    atol = 20 * torch.finfo(real).eps * 25  # numbers up to 25, sums over 8 of them
    torch.testing.assert_close(sparse.expectation(psi), mean.to(real), rtol=0, atol=atol)
    torch.testing.assert_close(sparse.variance(psi), (square - mean**2).to(real), rtol=0, atol=atol)


def test_products_are_differentiable_to_second_order_and_vectorised():
    matrix = csr_matrix(np.array([[1, 2j], [0, 1 - 1j]]))
    adjoint = csr_matrix(matrix.conj().T)
    psi = states(3, 1).reshape(3, 2).requires_grad_()

    def function(x):
        product = Product.apply(matrix, adjoint, x)
        return torch.view_as_real(product * product.conj() * x)

    assert torch.autograd.gradcheck(function, psi)
    assert torch.autograd.gradgradcheck(function, psi)
    together = torch.func.vmap(lambda x: Product.apply(matrix, adjoint, x))(psi)
    torch.testing.assert_close(together, psi @ torch.tensor(matrix.toarray()).T)


@pytest.mark.parametrize(
    "measurement",
    [
        qml.probs(wires=0),
        qml.expval(qml.SparseHamiltonian(csr_matrix([[0, 1.0], [0, 0]]), wires=[0])),
        qml.expval(qml.Hermitian(torch.eye(2, requires_grad=True), wires=0)),
        qml.expval(torch.tensor(0.2, requires_grad=True) * qml.X(0)),
    ],
    ids=["no observable", "not Hermitian", "trainable", "trainable coefficient"],
)
def test_what_is_left_to_pennylane(measurement):
    assert sparse_observable(measurement) is None
