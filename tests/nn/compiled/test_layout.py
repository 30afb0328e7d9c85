"""The layout of the lanes."""

import pytest
import torch

from hqdm.nn.compiled.layout import from_lanes, to_lanes
from hqdm.simulators.compiled.lanes import n_lanes


@pytest.mark.parametrize("n", [1, n_lanes(4) - 1, n_lanes(4), 2 * n_lanes(4) + 3])
def test_samples_are_lanes(n):
    lanes = n_lanes(4)
    x = torch.randn(n, 3, 2, 5)
    y = to_lanes(x)
    assert y.shape == (-(-n // lanes), 3, 2, 5, lanes)
    for i in range(n):
        assert torch.equal(y[i // lanes, ..., i % lanes], x[i])
    assert not y.movedim(-1, 1).flatten(0, 1)[n:].any()
    assert torch.equal(from_lanes(y, n), x)
