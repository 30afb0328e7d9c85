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
    start = model()
    end = copy.deepcopy(start)
    assert angle_distances(start, end) == {"network.layer": 0}
    end.network.layer.theta += torch.tensor([0.25, 2.0]).view(2, 1, 1)
    expected = math.pi / 2 / math.sqrt(2)
    assert angle_distances(start, end)["network.layer"] == pytest.approx(expected, rel=1e-5)


def test_what_does_not_fit_is_refused():
    with pytest.raises(HQDMError, match="two batches of 32 images, got 63 images"):
        angle_gradients(model(), torch.zeros(63, 1, 2, 2), batch_size=32)
    other = model()
    other.network.layer.circuit = Circuit(AngleEmbedding(1, shift=1.0), Basic(1))
    with pytest.raises(HQDMError, match="different circuits"):
        angle_distances(model(), other)
