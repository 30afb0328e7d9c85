"""Kets and density matrices against PennyLane's functions of states and closed forms."""

import math

import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_states import random_density, random_kets

from hqdm.states import density as module
from hqdm.states.density import (
    bloch,
    check_density,
    check_kets,
    density,
    haar_kets,
    magnetisation,
    maximally_mixed,
    memory_needed,
    n_qubits_of,
    partial_trace,
    purity,
)
from hqdm.utils.errors import HQDMError

# Some hundred operations on numbers below 1 in float64.
CLOSE = {"rtol": 0, "atol": 1e-13}
seeds = st.integers(0, 2**31)


@given(st.integers(1, 30))
def test_qubits_of_a_dimension(n):
    assert n_qubits_of(2**n) == n
    for dim in {0, 1, 2**n + 1, -(2**n)}:
        with pytest.raises(HQDMError, match=f"got {dim}"):
            n_qubits_of(dim)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.data(), seeds)
def test_partial_trace_is_pennylanes(n, data, seed):
    order = data.draw(st.permutations(range(n)))
    keep = order[: data.draw(st.integers(1, n))]
    rho = random_density(3, n, seed)
    expected = qml.math.reduce_dm(rho, indices=sorted(keep))
    if keep != sorted(keep):
        places = [sorted(keep).index(qubit) for qubit in keep]
        split = expected.reshape(3, *(2,) * (2 * len(keep)))
        axes = [0, *(1 + p for p in places), *(1 + len(keep) + p for p in places)]
        expected = split.permute(axes).reshape(expected.shape)
    torch.testing.assert_close(partial_trace(rho, keep), expected, **CLOSE)
    torch.testing.assert_close(partial_trace(rho[0], keep), expected[0], **CLOSE)


def test_partial_trace_of_a_product_has_the_order_asked_for():
    a, b = random_density(1, 1, seed=1)[0], random_density(1, 2, seed=2)[0]
    torch.testing.assert_close(partial_trace(torch.kron(a, b), [0]), a, **CLOSE)
    torch.testing.assert_close(partial_trace(torch.kron(a, b), [1, 2]), b, **CLOSE)
    torch.testing.assert_close(
        partial_trace(torch.kron(a, b), [1, 2, 0]), torch.kron(b, a), **CLOSE
    )


@pytest.mark.parametrize("keep", [[], [0, 0], [2], [-1]])
def test_partial_trace_refuses_qubits(keep):
    with pytest.raises(HQDMError, match="keep"):
        partial_trace(maximally_mixed(2), keep)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), seeds)
def test_purity_is_the_sum_of_squared_eigenvalues(n, seed):
    rho = random_density(4, n, seed)
    squares = torch.linalg.eigvalsh(rho).square().sum(-1)
    torch.testing.assert_close(purity(rho), squares, **CLOSE)
    pure = purity(density(random_kets(4, n, seed)))
    torch.testing.assert_close(pure, torch.ones_like(pure), **CLOSE)
    assert float(purity(maximally_mixed(n))) == 2.0**-n


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_bloch_vectors_expand_the_state_in_paulis(seed):
    rho = random_density(5, 1, seed)
    paulis = torch.stack([torch.tensor(qml.matrix(p(0))) for p in (qml.X, qml.Y, qml.Z)])
    r = bloch(rho)
    expansion = torch.eye(2) / 2 + torch.einsum("bk,kij->bij", r.to(paulis.dtype), paulis) / 2
    torch.testing.assert_close(expansion, rho, **CLOSE)
    torch.testing.assert_close(purity(rho), (1 + r.square().sum(-1)) / 2, **CLOSE)


def test_bloch_vectors_are_of_one_qubit():
    with pytest.raises(HQDMError, match="one qubit"):
        bloch(maximally_mixed(2))


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3), seeds)
def test_magnetisation_is_the_mean_of_pennylanes_expectations(n, seed):
    kets = random_kets(2, n, seed)

    @qml.qnode(qml.device("default.qubit", wires=n))
    def mean_z(ket):
        qml.StatePrep(ket, wires=range(n))
        return [qml.expval(qml.Z(i)) for i in range(n)]

    expected = torch.stack([torch.stack(mean_z(ket)).mean() for ket in kets])
    torch.testing.assert_close(magnetisation(kets), expected, **CLOSE)
    torch.testing.assert_close(magnetisation(density(kets)), expected, **CLOSE)


def test_absolute_magnetisation_is_a_mean_over_basis_states():
    w = torch.tensor([0.0, 1, 1, 0, 1, 0, 0, 0], dtype=torch.complex128) / math.sqrt(3)
    ghz = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 1], dtype=torch.complex128) / math.sqrt(2)
    kets = torch.stack([w, ghz])
    one_third = torch.tensor([1 / 3, 1], dtype=torch.float64)  # one spin of three is down in W
    torch.testing.assert_close(magnetisation(kets, absolute=True), one_third, **CLOSE)
    assert float(magnetisation(kets)[1].abs()) < 1e-15


@pytest.mark.parametrize("n", [1, 2, 3])
def test_haar_kets_have_the_moments_of_the_haar_measure(n):
    d, size = 2**n, 20_000
    kets = haar_kets(size, n, torch.Generator().manual_seed(n))
    check_kets(kets)
    # Four standard errors of means of numbers in [-1, 1].
    error = 4 / math.sqrt(size)
    first = kets.mT @ kets.conj() / size
    torch.testing.assert_close(first, maximally_mixed(n), rtol=0, atol=error)
    assert float((kets @ kets.mT.mean(1)).abs().mean()) < error  # the phase is random, too
    # <|a_i|^4> = 2 / (d (d + 1)), a second moment, which tells Haar kets from product kets.
    fourth = float(kets.abs().pow(4).mean())
    assert fourth == pytest.approx(2 / (d * (d + 1)), abs=error / d**2)


def test_magnetisation_takes_one_batch_axis():
    with pytest.raises(HQDMError, match="expected kets"):
        magnetisation(torch.zeros(2, dtype=torch.complex128))


def test_memory_is_refused_before_it_is_taken():
    assert memory_needed(3, 2, torch.complex64) == 3 * 16 * 8
    ket = torch.zeros(2**20, dtype=torch.complex128)
    with pytest.raises(HQDMError, match="20 qubits would take"):
        density(ket)
    with pytest.raises(HQDMError, match="20 qubits would take"):
        maximally_mixed(20)


def test_memory_limit_counts_the_batch(monkeypatch):
    kets = random_kets(8, 2)
    monkeypatch.setattr(module, "MAX_STATE_BYTES", 8 * 16 * 16)
    density(kets)
    with pytest.raises(HQDMError, match="9 density matrices of 2 qubits"):
        density(random_kets(9, 2))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_states_pass_at_the_rounding_of_their_dtype(dtype):
    kets = random_kets(50, 4).to(dtype)
    assert check_kets(kets) is kets
    rho = density(kets)
    assert check_density(rho) is rho


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (torch.zeros(2, 4), "complex"),
        (torch.ones(2, 3, dtype=torch.complex128), "got 3"),
        (torch.zeros(0, 4, dtype=torch.complex128), "not empty"),
        (torch.ones(2, 4, dtype=torch.complex128), "norm 1"),
        (torch.full((2, 4), math.nan, dtype=torch.complex128), "norm 1"),
    ],
)
def test_other_tensors_are_no_kets(states, message):
    with pytest.raises(HQDMError, match=message):
        check_kets(states)


@pytest.mark.parametrize(
    ("rho", "message"),
    [
        ([[0.5, 0], [0, 0.5]], "complex"),
        ([0.5 + 0j, 0.5], "complex"),
        ([[0.5 + 0j, 0], [0, 0.4]], "trace 1"),
        ([[0.5 + 0j, 0.1], [0.2, 0.5]], "Hermitian"),
        ([[1.2 + 0j, 0], [0, -0.2]], "eigenvalues"),
        ([[0.5 + 0j, 0.6], [0.6, 0.5]], "eigenvalues"),
        ([[1j * math.nan, 0], [0, 0.5]], "trace 1"),
    ],
)
def test_other_tensors_are_no_density_matrices(rho, message):
    with pytest.raises(HQDMError, match=f"targets need .*{message}"):
        check_density(torch.tensor(rho), "targets")
