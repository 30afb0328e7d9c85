"""Circuits per label: the samples of a batch in any order, by any simulator, compiled or not."""

import copy

import pytest
import torch

from hqdm.circuits import AmplitudeEmbedding, Circuit
from hqdm.circuits.labels import LabelledLayers
from hqdm.nn.amplitude.labelled import LabelledLayer
from hqdm.utils.errors import HQDMError

WIRES, CLASSES = 3, 2


def circuits():
    return [
        Circuit(AmplitudeEmbedding(WIRES), LabelledLayers(WIRES, 2, CLASSES, label), "probs")
        for label in range(CLASSES + 1)
    ]


@pytest.fixture
def layer():
    return LabelledLayer(circuits()).double()


def inputs(n=7):
    return torch.rand(n, 1, 2**WIRES, dtype=torch.float64), torch.arange(n).flip(0) % (CLASSES + 1)


def test_samples_are_independent_of_the_batch(layer):
    """Each sample has the output and the gradient that it has alone."""
    x, y = inputs()
    x.requires_grad_()
    out = layer(x, y)
    alone = torch.cat([layer(x[i : i + 1], y[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(out, alone, rtol=0, atol=1e-13)
    assert (out[0] - out[1]).abs().max() > 1e-3
    weight = torch.rand_like(out)
    ours = torch.autograd.grad((weight * out).sum(), (x, layer.theta))
    theirs = torch.autograd.grad((weight * alone).sum(), (x, layer.theta))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("simulator", ["unitary", "compiled", "statevector"])
def test_every_simulator_agrees(layer, simulator):
    x, y = inputs()
    other = LabelledLayer(circuits(), simulator).double()
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other(x, y), layer(x, y), rtol=0, atol=1e-13)


def test_the_first_circuit_is_the_usual_one(layer):
    x, y = inputs()
    assert torch.equal(layer(x), layer(x, torch.zeros_like(y)))
    assert layer(x[:0], torch.zeros(0).long()).shape == (0, 1, 2**WIRES)


@pytest.mark.parametrize("label", [-1, CLASSES + 1])
def test_labels_without_a_circuit_are_refused(layer, label):
    x, y = inputs(2)
    with pytest.raises(HQDMError, match="expected 0 to 2"):
        layer(x, torch.full_like(y, label))


def test_the_operator_of_the_compiler_is_the_layer(layer):
    """Values and gradients by `hqdm::evaluate`, which `torch.compile` calls; copies have a name."""
    x, y = inputs()
    x.requires_grad_()
    other = copy.deepcopy(layer)
    assert other.operator_name != layer.operator_name
    joined = torch.cat([x, y[:, None, None].to(x)], -1)
    by_operator = torch.ops.hqdm.evaluate(other.operator_name, joined, [other.theta])
    torch.testing.assert_close(by_operator, layer(x, y), rtol=0, atol=1e-13)
    ours = torch.autograd.grad(by_operator[..., 0].sum(), (x, other.theta))
    theirs = torch.autograd.grad(layer(x, y)[..., 0].sum(), (x, layer.theta))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert layer(x.to("meta"), y.to("meta")).shape == by_operator.shape


def test_features_that_the_circuits_cannot_take_are_refused(layer):
    x, y = inputs()
    with pytest.raises(HQDMError, match="needs real inputs, got torch.complex128"):
        layer(x + 1j, y)
    with pytest.raises(HQDMError, match=r"QuantumLayer needs inputs of shape \(..., 1,"):
        layer(x[..., 1:], y)
