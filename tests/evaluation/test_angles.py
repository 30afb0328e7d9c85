"""Gradients and distances of angles in closed form, for a model whose loss is known."""

import copy
import math

import pytest
import torch
from networks import Toy

from hqdm.circuits import AngleEmbedding, Basic, Circuit
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.evaluation.angles import angle_distances, angle_gradients
from hqdm.nn.quantum_layer import QuantumLayer
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import generator


class Constant(Toy):
    """A network that predicts cos(2 pi theta) for each of two circuits of one qubit."""

    def __init__(self):
        super().__init__()
        self.layer = QuantumLayer(Circuit(AngleEmbedding(1), Basic(1)), 2)

    def forward(self, x, t, y=None):
        return self.layer(x.new_zeros(len(x), 2, 1))[:, :, 0, None].repeat(1, 1, 2)[:, None]


def model():
    torch.manual_seed(0)
    return Denoiser(Constant(), CosineSchedule(), "eps").requires_grad_(False)


def test_gradients_in_closed_form():
    """The loss is mean w (cos(2 pi theta) - eps)^2; row c of the 2x2 image is of circuit c."""
    denoiser, x0 = model(), torch.zeros(70, 1, 2, 2)
    found = angle_gradients(denoiser, x0, seed=5, batch_size=32)["network.layer"]
    phase = (2 * math.pi * denoiser.network.layer.theta[:, 0, 0]).double()
    rows = []
    for batch in range(2):
        draws = generator(5, batch)
        t = 1 - torch.rand(32, generator=draws)
        eps = torch.randn(32, 1, 2, 2, generator=draws)
        leaf = phase.clone().requires_grad_()
        prediction = leaf.cos()[None, None, :, None].expand(32, 1, 2, 2)
        # The weights are those of the objective: read off a network that returns its argument.
        weight = torch.tensor(
            [float(one_sample_weight(denoiser, ti, e)) for ti, e in zip(t, eps, strict=True)]
        )
        loss = (weight * (prediction - eps).square().mean((1, 2, 3))).mean()
        rows.append(2 * math.pi * torch.autograd.grad(loss, leaf)[0])
    g = torch.stack(rows)
    torch.testing.assert_close(found.norm.double(), g.abs().mean(0), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(found.variance.double(), g.var(0), rtol=1e-3, atol=1e-9)
    assert not any(p.requires_grad for p in denoiser.parameters())


def one_sample_weight(denoiser, t, eps):
    """Loss of one sample divided by its mean squared error."""
    error = (denoiser.network(eps[None], t[None]) - eps).square().mean()
    return denoiser.loss(torch.zeros(1, 1, 2, 2), None, t=t[None], eps=eps[None]) / error


def test_distances_are_modulo_a_turn():
    """A quarter of a turn, and two turns, of the first circuit and the second; one angle each."""
    start = model()
    end = copy.deepcopy(start)
    still = angle_distances(start, end)["network.layer"]
    assert still.mean.tolist() == still.largest.tolist() == [0, 0]
    end.network.layer.theta += torch.tensor([0.25, 2.0]).view(2, 1, 1)
    moved = angle_distances(start, end)["network.layer"]
    assert moved.mean.tolist() == moved.largest.tolist()
    assert moved.mean.tolist() == pytest.approx([math.pi / 2, 0], abs=1e-5)
    with torch.no_grad():  # more than half a turn is less in the other direction
        end.network.layer.theta += torch.tensor([0.45, 0.9]).view(2, 1, 1)
    moved = angle_distances(start, end)["network.layer"]
    assert moved.mean.tolist() == pytest.approx([0.3 * 2 * math.pi, 0.1 * 2 * math.pi], rel=1e-5)


@pytest.mark.parametrize("std", [None, 0.1])
def test_mean_largest_and_random_distances(std):
    """Of 40 angles. Uniform ones: pi / 2; of normal ones in both draws: 2 std / sqrt(pi).

    The start is one draw of 40 angles; given it, the mean over 100 draws of 40 is exact to
    0.9 / sqrt(4000) = 0.014 for uniform angles, and that over the start to
    std sqrt(var E(|x - y| | x)) / sqrt(40), some 0.05 std, for normal ones: four times these.
    """
    torch.manual_seed(1)
    start = Denoiser(Constant(), CosineSchedule(), "eps").requires_grad_(False)
    start.network.layer = QuantumLayer(Circuit(AngleEmbedding(4), Basic(4, 10)), 2, angle_std=std)
    end = copy.deepcopy(start).requires_grad_(False)
    steps = torch.linspace(-0.3, 0.2, 40).view(1, 10, 4).repeat(2, 1, 1)
    end.network.layer.theta += steps / (2 * math.pi)
    found = angle_distances(start, end)["network.layer"]
    assert found.mean.tolist() == pytest.approx([float(steps[0].abs().mean())] * 2, rel=1e-4)
    assert found.largest.tolist() == pytest.approx([0.3] * 2, rel=1e-4)
    expected = math.pi / 2 if std is None else 2 * std / math.sqrt(math.pi)
    error = 0.06 if std is None else 0.2 * std
    assert found.random.tolist() == pytest.approx([expected] * 2, abs=error)
    assert found.random[0] != found.random[1]
    state = torch.get_rng_state()
    assert torch.equal(angle_distances(start, end)["network.layer"].random, found.random)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_does_not_fit_is_refused():
    with pytest.raises(HQDMError, match="two batches of 32 images, got 63 images"):
        angle_gradients(model(), torch.zeros(63, 1, 2, 2), batch_size=32)
    other = model()
    other.network.layer.circuit = Circuit(AngleEmbedding(1, shift=1.0), Basic(1))
    with pytest.raises(HQDMError, match="different circuits"):
        angle_distances(model(), other)
