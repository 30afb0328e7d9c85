"""Bloch vectors, populations and magnetisation against PennyLane's operators."""

import math

import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_states import random_density, random_kets

from hqdm.states.density import density, maximally_mixed, purity
from hqdm.states.observables import bloch, magnetisation, populations
from hqdm.utils.errors import HQDMError

# Some hundred operations on numbers below 1 in float64.
CLOSE = {"rtol": 0, "atol": 1e-13}
seeds = st.integers(0, 2**31)
PAULIS = {"x": qml.X, "y": qml.Y, "z": qml.Z}


def mean_pauli(n, axis):
    """The matrix of the mean of a Pauli operator over the qubits."""
    terms = [qml.matrix(PAULIS[axis](i), wire_order=range(n)) for i in range(n)]
    return torch.tensor(sum(terms) / n, dtype=torch.complex128)


def expectation(rho, operator):
    return torch.einsum("bij,ji->b", rho, operator).real


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_bloch_vectors_expand_the_state_in_paulis(seed):
    rho = random_density(5, 1, seed)
    r = bloch(rho)
    expected = torch.stack([expectation(rho, mean_pauli(1, axis)) for axis in PAULIS], -1)
    torch.testing.assert_close(r, expected, **CLOSE)
    torch.testing.assert_close(purity(rho), (1 + r.square().sum(-1)) / 2, **CLOSE)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), seeds)
def test_kets_have_the_observables_of_their_density_matrices(n, seed):
    kets = random_kets(4, n, seed)
    rho = density(kets)
    torch.testing.assert_close(populations(kets), populations(rho), **CLOSE)
    for axis in ("x", "z"):
        for absolute in (False, True):
            options = {"axis": axis, "absolute": absolute}
            torch.testing.assert_close(
                magnetisation(kets, **options), magnetisation(rho, **options), **CLOSE
            )
    if n == 1:
        torch.testing.assert_close(bloch(kets), bloch(rho), **CLOSE)
        torch.testing.assert_close(bloch(kets).norm(dim=-1), torch.ones(4).double(), **CLOSE)


@pytest.mark.parametrize("shape", [(4, 4), (3, 4), (2, 4, 4)])
def test_bloch_vectors_are_of_one_qubit(shape):
    with pytest.raises(HQDMError, match="one qubit"):
        bloch(torch.zeros(shape, dtype=torch.complex128))


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 4), seeds)
def test_populations_are_the_squared_moduli_of_amplitudes(n, seed):
    kets = random_kets(3, n, seed)
    torch.testing.assert_close(populations(kets), kets.abs().square(), **CLOSE)
    rho = random_density(3, n, seed)
    diagonal = torch.stack([row.diagonal() for row in rho]).real
    torch.testing.assert_close(populations(rho), diagonal, **CLOSE)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.sampled_from(["x", "z"]), seeds)
def test_magnetisation_is_the_mean_of_pauli_expectations(n, axis, seed):
    rho = random_density(3, n, seed)
    expected = expectation(rho, mean_pauli(n, axis))
    torch.testing.assert_close(magnetisation(rho, axis=axis), expected, **CLOSE)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.sampled_from(["x", "z"]), seeds)
def test_absolute_magnetisation_is_that_of_the_modulus_of_the_operator(n, axis, seed):
    """|M| has the eigenvectors of M and the moduli of its eigenvalues."""
    values, vectors = torch.linalg.eigh(mean_pauli(n, axis))
    modulus = vectors @ torch.diag(values.abs()).to(vectors) @ vectors.mH
    rho = random_density(3, n, seed)
    expected = expectation(rho, modulus)
    torch.testing.assert_close(magnetisation(rho, absolute=True, axis=axis), expected, **CLOSE)


def test_absolute_magnetisation_is_a_mean_over_basis_states():
    w = torch.tensor([0.0, 1, 1, 0, 1, 0, 0, 0], dtype=torch.complex128) / math.sqrt(3)
    ghz = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 1], dtype=torch.complex128) / math.sqrt(2)
    kets = torch.stack([w, ghz])
    one_third = torch.tensor([1 / 3, 1], dtype=torch.float64)  # one spin of three is down in W
    torch.testing.assert_close(magnetisation(kets, absolute=True), one_third, **CLOSE)
    assert float(magnetisation(kets)[1].abs()) < 1e-15


def test_magnetisation_refuses_other_shapes_and_axes():
    with pytest.raises(HQDMError, match="expected kets"):
        magnetisation(torch.zeros(2, dtype=torch.complex128))
    with pytest.raises(HQDMError, match="axis of the magnetisation 'y': expected one of x, z"):
        magnetisation(maximally_mixed(1)[None], axis="y")


def test_magnetisation_along_x_is_refused_before_it_takes_the_memory():
    with pytest.raises(HQDMError, match="14 qubits would take"):
        magnetisation(torch.zeros(1, 2**14, dtype=torch.complex128), axis="x")
