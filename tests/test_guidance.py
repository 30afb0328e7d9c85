"""Denoisers around denoisers."""

import pytest
import torch

from hqdm.denoiser import Denoiser
from hqdm.errors import HQDMError
from hqdm.guidance import ClassifierFreeGuidance, Clip
from hqdm.nn.unet import UNet
from hqdm.samplers import DDIM
from hqdm.schedule import CosineSchedule

SMALL = {"channels": 1, "size": 8, "dim": 8, "mults": (1, 2)}


@pytest.fixture
def denoiser():
    return Denoiser(UNet(n_classes=3, **SMALL), CosineSchedule()).double()


def test_guidance_extrapolates_from_free_to_labelled(denoiser):
    x, t, y = torch.randn(4, 1, 8, 8).double(), torch.tensor(0.6), torch.tensor([0, 1, 2, 0])
    free, labelled = denoiser(x, t), denoiser(x, t, y)
    for scale in (0.0, 0.5, 3.0):
        guided = ClassifierFreeGuidance(denoiser, scale)(x, t, y)
        for part in ("x0", "eps"):
            f, c = getattr(free, part), getattr(labelled, part)
            torch.testing.assert_close(getattr(guided, part), f + scale * (c - f))


def test_scale_one_is_no_guidance(denoiser):
    x1, y = torch.randn(2, 1, 8, 8).double(), torch.tensor([1, 2])
    guided = DDIM(3)(ClassifierFreeGuidance(denoiser, 1.0), x1, y)
    assert torch.equal(guided, DDIM(3)(denoiser, x1, y))


def test_clip_keeps_the_range_and_the_sum(denoiser):
    x, t = 3 * torch.randn(4, 1, 8, 8).double(), torch.tensor([0.2, 0.5, 0.9, 1.0]).double()
    plain, clipped = denoiser(x, t), Clip(denoiser)(x, t)
    assert plain.x0.abs().max() > 1
    torch.testing.assert_close(clipped.x0, plain.x0.clamp(-1, 1), rtol=0, atol=0)
    alpha, sigma = (level.view(-1, 1, 1, 1) for level in denoiser.schedule(t))
    torch.testing.assert_close(alpha * clipped.x0 + sigma * clipped.eps, x)
    inside = plain.x0.abs().flatten(1).amax(1) < 1
    for i in inside.nonzero().flatten():
        torch.testing.assert_close(clipped.eps[i], plain.eps[i])


def test_guidance_needs_labels():
    with pytest.raises(HQDMError, match="guidance needs a model with class labels"):
        ClassifierFreeGuidance(Denoiser(UNet(**SMALL), CosineSchedule()), 2.0)
