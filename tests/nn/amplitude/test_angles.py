import copy
import math

import pytest
import torch

from hqdm.circuits import AmplitudeEmbedding, Circuit, StronglyEntangling
from hqdm.nn.amplitude.angles import TanhLayer, normal, uniform
from hqdm.nn.quantum_layer import QuantumLayer

WIRES = 3


def circuit() -> Circuit:
    embedding = AmplitudeEmbedding(WIRES, n_inputs=2**WIRES)
    return Circuit(embedding, StronglyEntangling(WIRES, 2), measure="probs")


def test_angles_are_pi_tanh_of_the_parameters():
    """A `QuantumLayer`, with angles 2 pi theta, of theta = tanh(w) / 2 has the same outputs."""
    layer, usual = TanhLayer(circuit(), 2).double(), QuantumLayer(circuit(), 2).double()
    usual.theta.data = torch.tanh(layer.theta.detach()) / 2
    x = torch.rand(5, 2, 2**WIRES, dtype=torch.float64)
    torch.testing.assert_close(layer(x), usual(x), rtol=0, atol=1e-14)
    layer(x)[..., 0].sum().backward()
    usual(x)[..., 0].sum().backward()
    slope = (1 - torch.tanh(layer.theta.detach()) ** 2) / 2
    assert layer.theta.grad.abs().max() > 1e-3
    torch.testing.assert_close(layer.theta.grad, usual.theta.grad * slope, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("init", "std"), [(normal, 0.4), (uniform, math.pi / math.sqrt(12))], ids=["normal", "uniform"]
)
def test_initial_parameters(init, std):
    """The standard deviation of n = 4,500 numbers has the relative error 1 / sqrt(2n) = 1 %."""
    torch.manual_seed(0)
    layer = TanhLayer(circuit(), 250, init=init)
    assert layer.theta.std().item() == pytest.approx(std, rel=0.05)
    assert layer.theta.mean().item() == pytest.approx(0, abs=0.05 * std)
    again = copy.deepcopy(layer)
    again.reset_parameters()
    assert not torch.equal(again.theta, layer.theta)
    assert again.theta.std().item() == pytest.approx(std, rel=0.05)
