"""Powers of a step: against repeated steps, and density matrices by their definition."""

import pytest
import torch

from hqdm.nn.amplitude.unitary import USS
from hqdm.samplers.recursive import powers
from hqdm.samplers.recursive.powers import (
    Powers,
    channel_probabilities,
    fingerprint,
    observables,
    trajectory_probabilities,
    unitary_power,
)
from hqdm.utils.errors import HQDMError


def network(**options):
    return USS(channels=2, size=2, n_layers=3, **options).double()


def states(n=5, d=8, dtype=torch.complex128):
    found = torch.randn(n, d, dtype=dtype)
    return found / found.norm(dim=1, keepdim=True)


def density_probabilities(kraus, psi, n):
    """The diagonal of sum K rho K^H, n times."""
    rho = psi[:, :, None] * psi.conj()[:, None, :]
    for _ in range(n):
        rho = sum(k @ rho @ k.mH for k in kraus)
    assert (rho.diagonal(dim1=1, dim2=2).sum(1).real - 1).abs().max() < 1e-12  # trace-preserving
    return rho.diagonal(dim1=1, dim2=2).real


@pytest.mark.parametrize("n", [1, 2, 7, 10])
def test_powers_of_a_unitary_are_repeated_steps(n):
    kraus, psi = network().kraus().detach(), states()
    expected = psi
    for _ in range(n):
        expected = expected @ kraus[0].mT
    torch.testing.assert_close(psi @ unitary_power(kraus, n).mT, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [1, 3, 10])
@pytest.mark.parametrize("y", [None, 0, 1])
def test_the_channel_is_that_of_density_matrices(y, n):
    net = network(n_classes=2)
    kraus, psi = net.kraus(y).detach(), states()
    matrices = observables(kraus, n)
    found = channel_probabilities(matrices, psi)
    torch.testing.assert_close(found, density_probabilities(kraus, psi, n), rtol=0, atol=1e-12)
    eye = torch.eye(net.dim, dtype=matrices.dtype)
    torch.testing.assert_close(matrices.sum(0), eye, rtol=0, atol=1e-12)  # traces are preserved


def test_without_an_ancilla_the_channel_is_the_power():
    net, psi = network(), states()
    kraus = net.kraus().detach()
    by_channel = channel_probabilities(observables(kraus, 6), psi)
    by_power = (psi @ unitary_power(kraus, 6).mT).abs().square()
    torch.testing.assert_close(by_channel, by_power, rtol=0, atol=1e-12)


def test_trajectories_converge_to_the_channel():
    """The standard deviation of a mean of R probabilities is at most 1 / (2 sqrt(R)); 5 of them."""
    kraus, psi = network(n_classes=2).kraus(1).detach(), states(3)
    exact = density_probabilities(kraus, psi, 3)
    errors = {}
    for r in (40, 4_000):
        found = trajectory_probabilities(kraus, psi, torch.rand(3, 3, r, dtype=torch.float64))
        torch.testing.assert_close(found.sum(1), torch.ones(3).double(), rtol=0, atol=1e-12)
        errors[r] = (found - exact).abs().max()
        assert errors[r] < 2.5 / r**0.5
    assert errors[4_000] < errors[40] / 3  # a tenth, if the two maxima were equally likely


def test_one_trajectory_takes_each_outcome_by_its_probability():
    """With u below the probability of outcome 0 the state is K_0 psi, above it K_1 psi."""
    kraus, psi = network(ancilla=True).kraus().detach(), states(1)
    branches = torch.einsum("kij,bj->kbi", kraus, psi)[:, 0]
    p0 = branches[0].abs().square().sum()
    for u, branch in ((p0 - 1e-6, branches[0]), (p0 + 1e-6, branches[1])):
        found = trajectory_probabilities(kraus, psi, torch.full((1, 1, 1), u).double())
        expected = branch.abs().square() / branch.abs().square().sum()
        torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-12)


def test_powers_are_kept_until_weights_change(monkeypatch):
    net, kept = network(), Powers()
    calls = []
    monkeypatch.setattr(net, "kraus", lambda y: calls.append(y) or USS.kraus(net, y))
    first, is_unitary = kept.get(net, None, 10, torch.complex128)
    assert is_unitary
    assert kept.get(net, None, 10, torch.complex128)[0] is first
    assert len(calls) == 1
    assert kept.get(net, None, 11, torch.complex128)[0] is not first
    with torch.no_grad():
        net.circuit.theta[0, 1, 0, 1] += 1e-9  # in place, as an optimiser does
    second, _ = kept.get(net, None, 10, torch.complex128)
    assert len(calls) == 3
    assert 0 < (second - first).abs().max() < 1e-6
    other = network()
    other.load_state_dict(net.state_dict())
    assert kept.get(other, None, 10, torch.complex128)[0] is second
    assert fingerprint(network(n_classes=2)) != fingerprint(network(ancilla=True))


def test_labels_have_powers_of_their_own():
    net, kept = network(n_classes=2), Powers()
    (one, is_unitary), (other, _) = (kept.get(net, y, 2, torch.complex128) for y in (0, 1))
    assert not is_unitary
    assert one.shape == (8, 8, 8)
    assert (one - other).abs().max() > 1e-3


def test_memory_is_refused_before_it_is_taken(monkeypatch):
    kraus, psi = network(ancilla=True).kraus().detach(), states()
    monkeypatch.setattr("hqdm.utils.memory.available_bytes", lambda: 3 * 8**3 * 16 - 1)
    monkeypatch.setattr(powers.torch, "diag_embed", lambda *_: pytest.fail("allocated"))
    with pytest.raises(HQDMError, match="the channel of 8 amplitudes would take 24 KiB"):
        observables(kraus, 1)
    monkeypatch.setattr(powers.torch, "einsum", lambda *_: pytest.fail("allocated"))
    with pytest.raises(HQDMError, match="100 trajectories of 5 images would take .* fewer traj"):
        trajectory_probabilities(kraus, psi, torch.rand(5, 1, 100))
