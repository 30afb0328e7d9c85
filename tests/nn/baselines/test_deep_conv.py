"""The chain of convolutions against its equation, and the paper's numbers of parameters."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate

from hqdm.nn.baselines import DeepConv


@pytest.mark.parametrize(
    ("widths", "count"), [((10, 10), 1101), ((6, 6, 6, 6), 1105), ((9, 10), 1001)]
)
def test_the_paper_s_networks(widths, count):
    assert sum(p.numel() for p in DeepConv(widths=widths).parameters()) == count


def test_two_layers_equal_their_equation():
    network = DeepConv(channels=2, size=5, widths=(3,), n_classes=2).double()
    x = torch.randn(1, 2, 5, 5, dtype=torch.float64)
    weights = [p.detach().numpy() for p in network.parameters()]

    def convolved(h, weight, bias):
        padded = np.pad(h, ((0, 0), (1, 1), (1, 1)))
        return np.stack([correlate(padded, w, "valid")[0] + b for w, b in zip(weight, bias)])  # noqa: B905

    mask = 0.1 * np.sin(1 + np.arange(5) / 20)
    h = (x[0].numpy() + 1) / 2 + mask[:, None]
    h = np.maximum(convolved(h, *weights[:2]), 0)
    expected = 2 / (1 + np.exp(-convolved(h, *weights[2:]))) - 1
    with torch.no_grad():
        output = network(x, torch.ones(1), torch.tensor([1]))[0].numpy()
    assert np.allclose(output, expected, atol=1e-12)


def test_outputs_are_on_both_sides_of_the_middle():
    """A ReLU before the sigmoid, as in the published code, would leave the upper half only."""
    output = DeepConv()(torch.randn(50, 1, 8, 8), torch.ones(50))
    assert output.min() < 0 < output.max()
