"""Classes of images, from logits of known probabilities."""

import pytest
import torch

from hqdm.metrics.classes import class_histogram, unsure_share


def test_unsure_images_and_the_histogram():
    """The likeliest class has probability 0.79, 0.81, 0.5 and 1."""
    p = torch.tensor([[0.79, 0.21, 0], [0.1, 0.81, 0.09], [0.5, 0.25, 0.25], [0, 1, 0]]).double()
    logits = p.log() + torch.arange(4)[:, None]  # a shift of all logits of an image has no effect
    assert unsure_share(logits) == 0.5
    assert class_histogram(logits) == pytest.approx([0.5, 0.5, 0.0])
