"""Divergences of steps: in closed form for Gaussian data, and bounds of that of the images."""

import math

import pytest
import torch
from gaussian_images import MEAN, VARIANCE, gaussian
from gaussian_moments import exact_moments, sampled_moments
from scipy.optimize import minimize

from hqdm.diffusion.schedule import CosineSchedule, VarianceExplodingSchedule
from hqdm.samplers import DDPM
from hqdm.samplers.grids import T_CUT, build_grid
from hqdm.samplers.optimised.ays import divergences
from hqdm.samplers.optimised.shortest_path import shortest_path
from hqdm.utils.seeds import ImageNoise

N, SHAPE = 16, (1, 32, 32)


def nodes(schedule, n=60):
    return build_grid("lambda", schedule, 1.0, 0.0, n)[:-1]


def exact_divergences(schedule, times):
    """Per pixel, from mmse = v / (1 + v s) and s = alpha^2 / sigma^2 = exp(2 lambda):

    int (mmse(s_a) - mmse(s)) / 2 ds over [s_a, s_b].
    """
    s = (2 * schedule.lam(times)).exp()
    a, b = s[:, None], s[None, :]
    shrinkage = (1 + VARIANCE * b) / (1 + VARIANCE * a)
    return (VARIANCE * (b - a) / (1 + VARIANCE * a) - shrinkage.log()) / 2


def sampled_divergences(schedule, times):
    noise = ImageNoise(3, N)
    x0 = MEAN + math.sqrt(VARIANCE) * noise.draw(SHAPE).double()
    costs = divergences(gaussian(schedule=schedule), x0, None, times, noise, lambda: None)
    return costs / math.prod(SHAPE)


def trapezoidal_divergences(schedule, times):
    """The same with trapezoidal sums over the nodes."""
    lam = schedule.lam(times)
    s = (2 * lam).exp()
    mmse = VARIANCE / (1 + VARIANCE * s)
    sums = torch.full((len(times), len(times)), torch.inf, dtype=torch.float64)
    for i in range(len(times) - 1):
        sums[i, i + 1 :] = torch.cumulative_trapezoid(s[i:] * (mmse[i] - mmse[i:]), lam[i:])
    return sums


@pytest.mark.parametrize("schedule", [CosineSchedule(), VarianceExplodingSchedule(9.0)])
def test_divergences_of_gaussian_data(schedule):
    """With 16,384 numbers: a standard error of 1.1 %, of which 5 are allowed."""
    times = nodes(schedule)
    costs, expected = sampled_divergences(schedule, times), trapezoidal_divergences(schedule, times)
    torch.testing.assert_close(costs, expected, rtol=0.055, atol=0)


def test_trapezoidal_sums_approach_the_integrals():
    """With an error of order 2 in the distance of the nodes."""
    schedule = CosineSchedule()

    def error(n):
        times = nodes(schedule, n + 1)[:: n // 15]  # 16 of the nodes, which are n + 1
        sums = trapezoidal_divergences(schedule, nodes(schedule, n + 1))[:: n // 15, :: n // 15]
        upper = torch.ones_like(sums, dtype=torch.bool).triu(1)
        return float((sums / exact_divergences(schedule, times) - 1)[upper].abs().max())

    assert error(60) < 0.06
    assert error(120) == pytest.approx(error(60) / 4, rel=0.1)


@pytest.mark.parametrize("steps", [3, 8])
def test_the_grid_is_close_to_the_best_of_all_times(steps):
    """Which a search over shares of the way in lambda finds from the closed form."""
    schedule = CosineSchedule()
    times = nodes(schedule)
    lam = schedule.lam(times)

    def bound(lam):
        exact = exact_divergences(schedule, schedule.inverse(lam))
        return float(exact.diagonal(1).sum())

    def of_shares(w):
        shares = torch.tensor(w).softmax(0).cumsum(0)
        return bound(torch.cat([lam[:1], lam[0] + (lam[-1] - lam[0]) * shares]))

    best = minimize(of_shares, torch.zeros(steps).double().numpy(), method="BFGS").fun
    found = bound(lam[shortest_path(sampled_divergences(schedule, times), steps)])
    assert best <= found < 1.06 * best
    assert found < 0.3 * bound(torch.linspace(float(lam[0]), float(lam[-1]), steps + 1).double())


def divergence_of_images(grid):
    """Of what ancestral sampling makes of Gaussian data from the data, without random numbers."""
    mean, variance = sampled_moments(DDPM(grid=grid)).tolist()
    exact_mean, exact_variance = exact_moments(grid[-1]).tolist()
    ratio = exact_variance / variance
    return (ratio - 1 - math.log(ratio) + (exact_mean - mean) ** 2 / variance) / 2


@pytest.mark.parametrize("steps", [8, 12, 20])
def test_images_of_ancestral_sampling_are_closer_to_the_data_than_those_of_even_steps(steps):
    """And the divergence is below its bound."""
    schedule = CosineSchedule()
    times = nodes(schedule)
    fitted = times[shortest_path(sampled_divergences(schedule, times), steps)]
    found = divergence_of_images(fitted.tolist())
    even = build_grid("lambda", schedule, 1.0, T_CUT, steps).tolist()
    assert found < 0.8 * divergence_of_images(even)
    assert found < float(exact_divergences(schedule, fitted).diagonal(1).sum())
