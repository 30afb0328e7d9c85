"""DDIM against the exact probability-flow ODE of Gaussian data, and against DDPM."""

import numpy as np
import pytest
import torch

from hqdm.diffusion.analytic import GaussianDenoiser
from hqdm.diffusion.schedule import CosineSchedule, LinearSchedule
from hqdm.samplers import DDIM, DDPM
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise

SCHEDULES = [CosineSchedule(), LinearSchedule()]


def gaussian(schedule):
    mean = torch.tensor([0.3, -0.5], dtype=torch.float64).view(1, 2, 1, 1)
    variance = torch.tensor([0.25, 0.01], dtype=torch.float64).view(1, 2, 1, 1)
    return GaussianDenoiser(mean, variance, schedule)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_first_order_towards_the_exact_flow(schedule):
    denoiser = gaussian(schedule)
    x1 = torch.linspace(-2, 2, 10, dtype=torch.float64).view(5, 2, 1, 1)
    end, start = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    exact = denoiser.flow(x1, start, end)
    steps = np.array([40, 80, 160, 320, 640])
    errors = [(DDIM(int(n))(denoiser, x1) - exact).abs().max().item() for n in steps]
    slopes = np.diff(np.log(errors)) / np.diff(np.log(1 / steps))
    # Order 1: each halving of the step halves the error, up to the next order's share.
    assert np.all(np.abs(slopes[1:] - 1) < 0.2), (errors, slopes)
    assert errors[-1] < 0.01


def test_point_data_is_reached_in_one_step():
    """With all data at one point the trajectory is a straight line in (x_0, eps): no error."""
    mean = torch.full((1, 1, 2, 2), 0.4, dtype=torch.float64)
    denoiser = GaussianDenoiser(mean, torch.zeros((), dtype=torch.float64), CosineSchedule())
    x1 = torch.randn(3, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(DDIM(1)(denoiser, x1), mean.expand_as(x1), rtol=0, atol=1e-12)
    torch.testing.assert_close(DDIM(7)(denoiser, x1), mean.expand_as(x1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_full_ancestral_noise_is_ddpm(schedule):
    """eta = 1 and the posterior's mean and variance are two forms of the same step."""
    denoiser = gaussian(schedule)
    x1 = ImageNoise(1, 4).draw((2, 1, 1)).double()
    ddim = DDIM(25, eta=1.0).run(denoiser, x1, noise=ImageNoise(7, 4)).x0
    ddpm = DDPM(25).run(denoiser, x1, noise=ImageNoise(7, 4)).x0
    # The two forms round differently where sigma_s^2 - std^2 cancels; 1e-9 leaves it room.
    torch.testing.assert_close(ddim, ddpm, rtol=0, atol=1e-9)


def test_eta_out_of_range():
    with pytest.raises(HQDMError, match=r"eta in \[0, 1\], got 1.5"):
        DDIM(10, eta=1.5)
