"""Costs of Euler steps along a solution: in closed form for Gaussian data."""

import math

import pytest
import torch
from gaussian_images import MEAN, VARIANCE, gaussian, noisy

from hqdm.diffusion.schedule import CosineSchedule, VarianceExplodingSchedule
from hqdm.samplers import DPMSolver
from hqdm.samplers.base import Result
from hqdm.samplers.optimised.gits import euler_costs
from hqdm.samplers.optimised.shortest_path import shortest_path


def solution(denoiser, times, x1):
    """The exact flow at the times."""
    trajectory = torch.stack([denoiser.flow(x1, times[0], t) for t in times])
    return Result(trajectory[-1], times, 0, torch.tensor(0), trajectory)


@pytest.mark.parametrize("schedule", [CosineSchedule(), VarianceExplodingSchedule(9.0)])
def test_costs_of_gaussian_data(schedule):
    """In angles a = arctan(sigma / (alpha std)), a step multiplies x / alpha - mean by

        cos(a - b) cos(a) / cos(b),     the flow by cos(a) / cos(b),

    so that the cost is (1 - cos(a - b)) times the length of the solution at the end of the step.
    """
    denoiser, times = gaussian(schedule=schedule), torch.linspace(1, 0, 6, dtype=torch.float64)
    run = solution(denoiser, times, noisy())
    calls = []
    costs = euler_costs(denoiser, run, None, lambda: calls.append(None))
    alpha, sigma = schedule(times)
    angles = torch.atan(sigma / (alpha * math.sqrt(VARIANCE)))
    centred = run.trajectory - (alpha * MEAN).view(-1, 1, 1, 1, 1)
    lengths = centred.flatten(2).norm(dim=2).mean(1) / (alpha**2 + sigma**2).sqrt()
    expected = (1 - (angles[:, None] - angles).cos()) * lengths
    upper = torch.ones(6, 6, dtype=torch.bool).triu(1)
    torch.testing.assert_close(costs[upper], expected[upper], rtol=1e-9, atol=1e-13)
    assert costs[~upper].isinf().all()
    assert len(calls) == 5


def test_equal_angles_are_chosen_for_data_of_variance_one():
    """Then x_t has the same length at every time, and 1 - cos is convex."""
    denoiser = gaussian()
    denoiser.mean, denoiser.variance = torch.zeros(2, dtype=torch.float64), 1 + 0 * denoiser.mean
    denoiser.mean = denoiser.mean[0]
    angles = torch.linspace(0, 1, 13, dtype=torch.float64).flip(0) * math.atan(math.exp(6))
    times = denoiser.schedule.inverse(-angles.tan().log())
    costs = euler_costs(denoiser, solution(denoiser, times, noisy()), None, lambda: None)
    assert shortest_path(costs, 4) == [0, 3, 6, 9, 12]


def test_a_solution_of_a_solver_will_do():
    denoiser = gaussian()
    run = DPMSolver(30, "lambda").run(denoiser, noisy(), return_trajectory=True)
    found = euler_costs(denoiser, run, None, lambda: None)
    exact = euler_costs(denoiser, solution(denoiser, run.times, noisy()), None, lambda: None)
    assert shortest_path(found, 6) == shortest_path(exact, 6)
