"""The Petz chain against the exact path, and the map against its formula with Kraus operators."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_states import random_density, random_kets
from scipy.linalg import inv, sqrtm

from hqdm.states.channels import AmplitudeDamping, Depolarising
from hqdm.states.density import check_density, density
from hqdm.states.distances import fidelity
from hqdm.states.petz import petz_chain, petz_step
from hqdm.utils.errors import HQDMError

CHANNELS = (Depolarising(12), Depolarising(12, local=True), AmplitudeDamping(12, "linear"))
seeds = st.integers(0, 2**31)


def of_rank(rank, n, seed):
    """A density matrix `(d, d)`: an even mixture of random kets."""
    return density(random_kets(rank, n, seed)).mean(0)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(CHANNELS), st.integers(1, 2), seeds, st.integers(1, 11))
def test_the_map_is_its_formula_with_kraus_operators(channel, n, seed, t):
    rho, w = random_density(2, n, seed)
    before, after = channel.at(rho[None], t - 1)[0], channel.at(rho[None], t)[0]
    (found,) = petz_step(channel, w[None], before, after, t)
    root, inverse = sqrtm(before.numpy()), inv(sqrtm(after.numpy()))
    inner = inverse @ w.numpy() @ inverse
    adjoint = sum(k.conj().T @ inner @ k for k in channel.kraus(t, n).numpy())
    scale = np.linalg.norm(inverse, 2) ** 2
    np.testing.assert_allclose(found.numpy(), root @ adjoint @ root, atol=1e-12 * scale)
    check_density(petz_step(channel, w[None], before, after, t))


@pytest.mark.parametrize("channel", CHANNELS, ids=repr)
@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("rank", [1, 2])
def test_the_chain_returns_the_path(channel, n, rank):
    rho = of_rank(rank, n, seed=n)
    chain = petz_chain(channel, rho)
    assert chain.dtype == torch.complex128
    # Inverse roots of eigenvalues of some 1e-4 multiply the rounding of 12 steps.
    torch.testing.assert_close(chain, channel.path(rho), atol=1e-11, rtol=0)
    assert abs(fidelity(chain[0], rho) - 1) < 1e-9


def test_a_target_of_single_precision_is_returned():
    rho = of_rank(2, 2, seed=0).to(torch.complex64)
    # Rounded eigenvalues of zero, some 1e-8, may be negative; their roots count as zero.
    assert (petz_chain(Depolarising(30), rho)[0] - rho).abs().max() < 1e-6


def test_steps_out_of_range_are_refused():
    rho = random_density(1, 1)
    with pytest.raises(HQDMError, match="t needs a whole number"):
        petz_step(Depolarising(3), rho, rho[0], rho[0], 4)
