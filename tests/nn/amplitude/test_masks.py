"""The mask of a label against its formula."""

import torch

from hqdm.nn.amplitude.masks import label_mask


def test_the_mask_of_a_label():
    like = torch.zeros(2, 3, 5, 4, dtype=torch.float64)
    mask = label_mask(torch.tensor([1, 4]), 4, like)
    rows = torch.arange(5, dtype=torch.float64)
    assert torch.allclose(mask[0, 0, :, 0], 0.1 * torch.sin(1 + rows / 20), atol=1e-15)
    assert mask.shape == (2, 1, 5, 1)
    assert mask[1].abs().max() == 0
