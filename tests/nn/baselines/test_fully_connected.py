"""The fully connected network against its equation."""

import numpy as np
import torch

from hqdm.nn.baselines import FullyConnected


def test_the_network_of_the_prototype():
    assert sum(p.numel() for p in FullyConnected(n_classes=2).parameters()) == 974  # 65-7-64


def test_two_layers_equal_their_equation():
    network = FullyConnected(channels=2, size=3, widths=(4, 5), n_classes=3).double()
    x = torch.randn(3, 2, 3, 3, dtype=torch.float64)
    weights = [p.detach().numpy() for p in network.parameters()]
    for labels, c in (([0, 1, 2], [0, 0.5, 1]), ([3, 3, 3], [-1, -1, -1])):
        h = np.column_stack([(x.flatten(1).numpy() + 1) / 2, c])
        for weight, bias in zip(weights[:4:2], weights[1:4:2], strict=True):
            h = np.maximum(h @ weight.T + bias, 0)
        expected = 2 / (1 + np.exp(-(h @ weights[4].T + weights[5]))) - 1
        with torch.no_grad():
            output = network(x, torch.ones(3), torch.tensor(labels))
        assert np.allclose(output.flatten(1).numpy(), expected, atol=1e-12)


def test_outputs_are_in_the_range_of_images():
    output = FullyConnected()(10 * torch.randn(50, 1, 8, 8), torch.ones(50))
    assert output.abs().max() <= 1
    assert output.min() < 0 < output.max()
