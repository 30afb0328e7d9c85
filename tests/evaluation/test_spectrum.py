"""Spectra against closed forms: a cosine, its double by re-uploading, Parseval."""

import math

import pytest
import torch

from hqdm.circuits import (
    AmplitudeEmbedding,
    AngleEmbedding,
    Basic,
    Circuit,
    HQConv,
    StronglyEntangling,
)
from hqdm.evaluation.spectrum import spectrum
from hqdm.nn.quantum_layer import QuantumLayer
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import generator


def test_a_rotation_is_one_cosine():
    """cos(x + 2 pi theta): c_0 = 0 and |c_1| = 1/2, also with a factor of the feature."""
    layer = QuantumLayer(Circuit(AngleEmbedding(1), Basic(1)), 3, input_scale=True).double()
    with torch.no_grad():
        layer.scale.copy_(torch.tensor([[1.0], [2.0], [-3.0]]))
    found = spectrum(layer)
    expected = torch.tensor([[[0, 0.5]]], dtype=torch.float64)
    torch.testing.assert_close(found.coefficients, expected, rtol=0, atol=1e-12)
    assert found.scale == pytest.approx(math.sqrt(14 / 3))
    assert found.deviation == pytest.approx(math.sqrt(0.5))
    assert found.shares.tolist() == pytest.approx([1])


def test_two_embeddings_have_two_frequencies():
    """RX(x) RX(a) RX(x) RX(b) is cos(2 x + a + b); a rotation about another axis mixes both."""
    twice = QuantumLayer(Circuit(AngleEmbedding(1), Basic(1, 2), repeats=2)).double()
    expected = torch.tensor([[[0, 0, 0.5]]], dtype=torch.float64)
    torch.testing.assert_close(spectrum(twice).coefficients, expected, rtol=0, atol=1e-12)
    mixed = QuantumLayer(Circuit(AngleEmbedding(1), StronglyEntangling(1, 2), repeats=2)).double()
    assert (spectrum(mixed).coefficients > 1e-3).all()


def test_the_coefficients_have_the_variance_of_the_layer_over_a_feature():
    """By Parseval, from 64 values of HQConv for the same other features."""
    layer = QuantumLayer(Circuit(AngleEmbedding(4), HQConv(4, 3), repeats=2), 2).double()
    found = spectrum(layer, seed=3, samples=5)
    assert found.coefficients.shape == (4, 4, 3)
    others = 2 * math.pi * torch.rand(5, 2, 4, generator=generator(3))
    for feature in range(4):
        x = others.double().repeat(64, 1, 1, 1)
        x[..., feature] = 2 * math.pi * torch.arange(64).double()[:, None, None] / 64
        values = layer(x).detach()
        variance = values.var(0, unbiased=False).mean((0, 1))
        own = 2 * found.coefficients[feature, :, 1:].square().sum(-1)
        torch.testing.assert_close(own, variance, rtol=0, atol=1e-12)


def test_amplitudes_have_no_spectrum():
    layer = QuantumLayer(Circuit(AmplitudeEmbedding(2), Basic(2)))
    with pytest.raises(HQDMError, match="embed features as angles, got AmplitudeEmbedding"):
        spectrum(layer)
