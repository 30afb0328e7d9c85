"""Kets and density matrices against PennyLane's functions of states and closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_states import random_density, random_kets

from hqdm.states import density as module
from hqdm.states.density import (
    check_density,
    check_kets,
    density,
    haar_kets,
    maximally_mixed,
    n_qubits_of,
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
@given(st.integers(1, 4), seeds)
def test_purity_is_the_sum_of_squared_eigenvalues(n, seed):
    rho = random_density(4, n, seed)
    squares = torch.linalg.eigvalsh(rho).square().sum(-1)
    torch.testing.assert_close(purity(rho), squares, **CLOSE)
    pure = purity(density(random_kets(4, n, seed)))
    torch.testing.assert_close(pure, torch.ones_like(pure), **CLOSE)
    assert float(purity(maximally_mixed(n))) == 2.0**-n


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


def test_memory_is_refused_before_it_is_taken():
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
        (torch.full((2, 4), math.nan, dtype=torch.complex128), "finite"),
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
        ([[1j * math.nan, 0], [0, 0.5]], "finite"),
    ],
)
def test_other_tensors_are_no_density_matrices(rho, message):
    with pytest.raises(HQDMError, match=f"targets need .*{message}"):
        check_density(torch.tensor(rho), "targets")
