"""DDPM's moments on Gaussian data, where every step is an affine map plus noise."""

import math
from itertools import pairwise

import pytest
import torch

from hqdm.diffusion.analytic import GaussianDenoiser
from hqdm.diffusion.schedule import CosineSchedule, LinearSchedule
from hqdm.samplers import DDPM
from hqdm.utils.seeds import ImageNoise

MEAN, VARIANCE, STEPS = 0.3, 0.25, 200


def exact_moments(schedule, steps):
    """Mean and variance that the chain of posteriors ends in, by recursion over its steps."""
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    mean, variance = 0.0, 1.0
    for t, s in pairwise(times):
        (a_t, s_t), (a_s, s_s) = ([float(v) for v in schedule(u)] for u in (t, s))
        # E[x0 | x_t] = c x_t + d
        c = a_t * VARIANCE / (a_t**2 * VARIANCE + s_t**2)
        d = MEAN - c * a_t * MEAN
        ratio = a_t / a_s
        var_ts = s_t**2 - ratio**2 * s_s**2
        slope = (ratio * s_s**2 + a_s * var_ts * c) / s_t**2
        mean = slope * mean + a_s * var_ts * d / s_t**2
        variance = slope**2 * variance + var_ts * s_s**2 / s_t**2
    return mean, variance


@pytest.mark.parametrize("schedule", [CosineSchedule(), LinearSchedule()])
def test_moments(schedule):
    denoiser = GaussianDenoiser(
        torch.tensor(MEAN, dtype=torch.float64),
        torch.tensor(VARIANCE, dtype=torch.float64),
        schedule,
    )
    noise = ImageNoise(3, 100)
    x1 = noise.draw((1, 10, 10)).double()
    x0 = DDPM(STEPS).run(denoiser, x1, noise=noise).x0
    n = x0.numel()
    mean, variance = exact_moments(schedule, STEPS)
    # Standard errors of the mean and the variance of n independent normal draws.
    assert abs(x0.mean().item() - mean) < 3 * math.sqrt(variance / n)
    assert abs(x0.var().item() - variance) < 3 * variance * math.sqrt(2 / n)


@pytest.mark.parametrize("schedule", [CosineSchedule(), LinearSchedule()])
def test_bias_falls_with_the_number_of_steps(schedule):
    """The recursion above is about the sampler's formula; its limit is the data."""
    coarse, fine = (abs(exact_moments(schedule, n)[1] - VARIANCE) for n in (200, 800))
    assert fine < 0.4 * coarse
    assert fine < 0.01
