"""A small network with class labels, for denoisers around denoisers."""

import pytest

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.nn.unet import UNet


@pytest.fixture
def denoiser():
    return Denoiser(
        UNet(n_classes=3, channels=1, size=8, dim=8, mults=(1, 2)), CosineSchedule()
    ).double()
