"""The best unitary: a bound that every unitary keeps and the closed form attains."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from sklearn.datasets import load_digits

from hqdm.diffusion.objective import StepBack
from hqdm.diffusion.schedule import MixingSchedule
from hqdm.evaluation.unitary_bound import step_pairs
from hqdm.nn.amplitude.procrustes import BestUnitary, Pairs, distance_to, fit_circuit
from hqdm.nn.amplitude.states import normalised, norms_of
from hqdm.nn.amplitude.unitary import USS
from hqdm.nn.network import build_network, network_config
from hqdm.utils.errors import HQDMError


def random_unitary(d, dtype, generator):
    q, r = torch.linalg.qr(torch.randn(d, d, dtype=dtype, generator=generator))
    phases = r.diagonal() / r.diagonal().abs()
    return q * phases


def direct(matrix, x, y):
    """The loss of a matrix, pair by pair."""
    dtype = torch.promote_types(matrix.dtype, x.dtype)
    return float((x.to(dtype) @ matrix.to(dtype).mT - y).abs().square().mean())


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    d=st.integers(1, 9),
    n=st.integers(1, 30),
    of_pairs=st.sampled_from([torch.float64, torch.complex128]),
    of_unitary=st.sampled_from([torch.float64, torch.complex128]),
)
def test_no_unitary_is_below_the_bound_which_the_closed_form_attains(
    seed, d, n, of_pairs, of_unitary
):
    """Fewer pairs than entries, too, where the best unitary is one of many."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(n, d, dtype=of_pairs, generator=generator) for _ in range(2))
    y = x @ random_unitary(d, of_pairs, generator).mT + 0.3 * y
    pairs = Pairs(d)
    for part in range(0, n, 7):
        pairs.add(x[part : part + 7], y[part : part + 7])
    other = random_unitary(d, of_unitary, generator)
    assert pairs.loss(other) == pytest.approx(direct(other, x, y), rel=0, abs=1e-12)
    assert direct(other, x, y) >= pairs.bound() - 1e-12
    best = pairs.best()
    eye = torch.eye(d, dtype=best.dtype)
    torch.testing.assert_close(best.mH @ best, eye, rtol=0, atol=1e-12)
    assert best.dtype == of_pairs
    assert direct(best, x, y) == pytest.approx(pairs.bound(), rel=0, abs=1e-12)


def test_the_closed_form_is_scipy_s():
    x, y = torch.randn(2, 50, 6, dtype=torch.float64)
    pairs = Pairs(6)
    pairs.add(x, y)
    expected, _ = orthogonal_procrustes(x.numpy(), y.numpy())  # min |x R - y|, R = U^T
    torch.testing.assert_close(pairs.best().mT, torch.from_numpy(expected), rtol=0, atol=1e-12)


def test_a_small_turn_of_the_best_unitary_is_worse():
    """By its square: the best unitary is a stationary point."""
    x, y = torch.randn(2, 50, 6, dtype=torch.float64)
    pairs = Pairs(6)
    pairs.add(x, y)
    generator = torch.randn(6, 6, dtype=torch.float64)
    turn = torch.linalg.matrix_exp(1e-3 * (generator - generator.mT))
    worse = pairs.loss(turn @ pairs.best()) - pairs.bound()
    assert 0 < worse < 1e-4


def test_the_network_of_the_best_unitary():
    net = BestUnitary(channels=2, size=2)
    x, y = torch.rand(2, 50, 8)
    pairs = Pairs(8)
    pairs.add(x, y)
    assert net.fit(pairs) == pytest.approx(pairs.bound())
    assert not any(p.requires_grad for p in net.parameters())
    out = net(2 * x.view(-1, 2, 2, 2) - 1, torch.ones(50))
    expected = 2 * x @ pairs.best().float().mT - 1
    torch.testing.assert_close(out, expected.view(-1, 2, 2, 2), rtol=0, atol=1e-5)
    z = torch.complex(x, y)
    turned = net(2 * z.view(-1, 2, 2, 2) - 1, torch.ones(50))
    torch.testing.assert_close(turned.real, out, rtol=0, atol=1e-5)
    assert turned.imag.abs().max() > 0.1
    torch.testing.assert_close(net.kraus()[0].real, net.matrix, rtol=0, atol=0)
    again = build_network(network_config(net))
    again.load_state_dict(net.state_dict())
    assert torch.equal(again.matrix, net.matrix)


def test_a_circuit_fits_a_unitary():
    """Two qubits and six layers reach any matrix of determinant 1 (15 of 36 parameters suffice)."""
    generator = torch.Generator().manual_seed(1)
    target = random_unitary(4, torch.float64, generator)
    if torch.linalg.det(target) < 0:
        target[0] *= -1
    net = USS(channels=1, size=2, n_layers=6).double()
    before = distance_to(net, target).item()
    after = fit_circuit(net, target, steps=300, lr=0.1)
    assert after < 1e-4 < before
    error = (net.kraus()[0] - target).detach().abs().square().sum()
    assert float(error) / 8 == pytest.approx(after, rel=1e-6)  # |U - V|^2 / (2 d)
    assert net.circuit.theta.grad is None


def test_the_learning_rate_of_the_fit_decreases_by_a_cosine(monkeypatch):
    """A quarter of a step of pi after the other: (1 + cos) / 2 = cos^2 of half of it."""
    rates, step = [], torch.optim.Adam.step

    def recorded(optimizer):
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer)

    monkeypatch.setattr(torch.optim.Adam, "step", recorded)
    net = USS(channels=1, size=2, n_layers=1)
    fit_circuit(net, torch.eye(4), steps=4, lr=0.2)
    assert rates == pytest.approx([0.2 * math.cos(k * math.pi / 8) ** 2 for k in range(4)])


def test_what_does_not_fit_is_refused():
    pairs = Pairs(4)
    for of_none in (pairs.best, pairs.bound, lambda: pairs.loss(torch.eye(4))):
        with pytest.raises(HQDMError, match="needs one pair of images or more, got none"):
            of_none()
    with pytest.raises(HQDMError, match=r"pairs need two shapes \(B, 4\)"):
        pairs.add(torch.zeros(2, 4), torch.zeros(2, 3))
    pairs.add(torch.ones(2, 4, dtype=torch.complex64), torch.ones(2, 4, dtype=torch.complex64))
    with pytest.raises(HQDMError, match="needs real pairs of 4 pixels, got torch.complex128"):
        BestUnitary(1, 2).fit(pairs)
    with pytest.raises(HQDMError, match="ancilla is no unitary"):
        fit_circuit(USS(size=2, ancilla=True), torch.eye(4))
    with pytest.raises(HQDMError, match=r"needs a matrix of shape \(4, 4\), got \(3, 3\)"):
        fit_circuit(USS(size=2), torch.eye(3))


def test_the_digits_zero_and_one():
    """A prototype's numbers for 80 images, and the paper's noise from which digits come back.

    The prototype, of states |x_t>: 2.53e-4 for no change and 1.80e-4 for the best unitary. Over 80
    images their standard error is about 1 %, of which the images are the same and the noise is
    averaged over 16 draws. Its z = U^-10 x of all digits has the mean 0.41 and the standard
    deviation 0.27, two digits each.
    """
    pixels = torch.from_numpy(load_digits(n_class=2).images).flatten(1) / 16
    x0, pairs = (2 * pixels[:80] - 1).view(-1, 1, 8, 8), Pairs(64)
    for seed in range(16):
        steps = step_pairs(StepBack(clamp=True), MixingSchedule(), x0, torch.arange(len(x0)), seed)
        for images in steps:
            p_t, p_s = ((x.flatten(1) + 1) / 2 for x in images)
            pairs.add(normalised(p_t), p_s / norms_of(p_t))
    assert pairs.loss(torch.eye(64)) == pytest.approx(2.53e-4, rel=0.01)
    assert pairs.bound() == pytest.approx(1.80e-4, rel=0.01)
    z = pixels @ torch.linalg.matrix_power(pairs.best(), 10)
    assert float(z.mean()) == pytest.approx(0.41, abs=0.005)
    assert float(z.std()) == pytest.approx(0.27, abs=0.005)
