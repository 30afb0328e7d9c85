"""The mask and the number of a label against their formulas."""

import torch

from hqdm.nn.amplitude.masks import label_mask, label_number


def test_the_mask_of_a_label():
    like = torch.zeros(2, 3, 5, 4, dtype=torch.float64)
    mask = label_mask(torch.tensor([1, 4]), 4, like)
    rows = torch.arange(5, dtype=torch.float64)
    assert torch.allclose(mask[0, 0, :, 0], 0.1 * torch.sin(1 + rows / 20), atol=1e-15)
    assert mask.shape == (2, 1, 5, 1)
    assert mask[1].abs().max() == 0


def test_the_number_of_a_label():
    like = torch.zeros(4, 3, dtype=torch.float64)
    number = label_number(torch.tensor([0, 1, 2, 3]), 3, like)
    assert torch.equal(number, torch.tensor([[0.0], [0.5], [1.0], [-1.0]], dtype=torch.float64))
    assert (label_number(None, 3, like) == -1).all()
    assert (label_number(torch.zeros(4, dtype=torch.long), 1, like) == 0).all()
