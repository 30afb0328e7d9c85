"""Classifier-free guidance against its formula."""

import pytest
import torch
from networks import Toy
from simulated_gpu import SimulatedGPU, on_gpu

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.guidance.classifier_free import ClassifierFreeGuidance
from hqdm.nn.unet import UNet
from hqdm.samplers import DDIM
from hqdm.utils.errors import HQDMError


def test_guidance_extrapolates_from_free_to_labelled(denoiser):
    x, t, y = torch.randn(4, 1, 8, 8).double(), torch.tensor(0.6), torch.tensor([0, 1, 2, 0])
    free, labelled = denoiser(x, t), denoiser(x, t, y)
    for scale in (0.0, 0.5, 3.0):
        guided = ClassifierFreeGuidance(denoiser, scale)(x, t, y)
        for part in ("x0", "eps"):
            f, c = getattr(free, part), getattr(labelled, part)
            torch.testing.assert_close(getattr(guided, part), f + scale * (c - f))


def test_a_gpu_is_not_waited_for():
    labelled = Toy()
    labelled.n_classes = 3
    guided = ClassifierFreeGuidance(Denoiser(labelled, CosineSchedule()), 2.0)
    x, t, y = torch.randn(2, 1, 2, 2), torch.tensor(0.6, dtype=torch.float64), torch.tensor([1, 2])
    with SimulatedGPU() as gpu:
        prediction = guided(on_gpu(x), t, on_gpu(y))
    assert gpu.waits == []
    assert torch.equal(prediction.x0.held, guided(x, t, y).x0)


def test_scale_one_is_no_guidance(denoiser):
    x1, y = torch.randn(2, 1, 8, 8).double(), torch.tensor([1, 2])
    guided = DDIM(3)(ClassifierFreeGuidance(denoiser, 1.0), x1, y)
    assert torch.equal(guided, DDIM(3)(denoiser, x1, y))


def test_guidance_needs_labels():
    with pytest.raises(HQDMError, match="guidance needs a model with class labels"):
        ClassifierFreeGuidance(
            Denoiser(UNet(channels=1, size=8, dim=8, mults=(1, 2)), CosineSchedule()), 2.0
        )
