"""A recursive sampler from noise around known pixels."""

import pytest
import torch
from networks import Toy
from torch import nn

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.objective import StepBack
from hqdm.diffusion.schedule import MixingSchedule
from hqdm.samplers.recursive import Iterate, UnitarySampling
from hqdm.samplers.recursive.known_start import KnownStart
from hqdm.utils.errors import HQDMError


class Rotated(Toy):
    """Half of the image, and i times its other half."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, x_t, t, y=None):
        return self.weight * x_t * (1 + 1j)


def test_the_start_is_replaced_once():
    """Complex states of three steps: x ((1 + i) / 2)^3 = x (i - 1) / 4, with a real part -x / 4."""
    image, mask = torch.ones(1, 2, 2), torch.tensor([[[True, False], [False, True]]])
    sampler = KnownStart(Iterate(3), image, mask)
    denoiser = Denoiser(Rotated(), MixingSchedule(), StepBack())
    result = sampler.run(denoiser, torch.full((2, 1, 2, 2), 8.0), return_trajectory=True)
    assert torch.allclose(result.x0, torch.where(mask, -0.25, -2.0).expand(2, -1, -1, -1))
    assert torch.allclose(result.trajectory[1], torch.where(mask, 0.5, 4.0).expand(2, -1, -1, -1))
    assert result.evaluations == 3
    assert sampler.settings == Iterate(3).settings


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(HQDMError, match="the mask is 3x2, the image"):
        KnownStart(Iterate(), torch.ones(1, 2, 2), torch.ones(3, 2, dtype=torch.bool))


def test_the_grid_is_that_of_the_sampler():
    """`uss` takes all steps at once."""
    image, mask = torch.ones(1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool)
    grid = KnownStart(UnitarySampling(3), image, mask).grid(MixingSchedule(), 1.0, 0.0)
    assert grid.tolist() == [1.0, 0.0]
