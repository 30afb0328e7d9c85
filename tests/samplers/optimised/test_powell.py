"""Grids of weights, and the search for the best ones."""

import math

import pytest
import torch

from hqdm.diffusion.schedule import CosineSchedule
from hqdm.samplers.grids import T_CUT, build_grid
from hqdm.samplers.optimised.powell import search, times_of

SCHEDULE = CosineSchedule()


def test_no_weights_are_the_even_grid():
    times = times_of(SCHEDULE, torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(
        torch.tensor(times).double(), build_grid("lambda", SCHEDULE, 1.0, 0.0, 7)
    )


def test_weights_are_shares_of_the_way_in_lambda():
    times = times_of(SCHEDULE, torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64).log() + 3)
    lam = SCHEDULE.lam(torch.tensor(times[:-1]).double())
    steps = lam.diff() / (lam[-1] - lam[0])
    torch.testing.assert_close(steps[1:], torch.tensor([2 / 3, 1 / 3]).double())


def shares_of(times):
    lam = SCHEDULE.lam(torch.tensor(times[:-1]).double())
    return lam.diff() / (lam[-1] - lam[0])


def test_the_minimum_of_a_known_error_is_found():
    """The squared distance of the shares from given ones."""
    wanted = torch.tensor([0.2, 0.5, 0.3]).double()
    calls = []

    def error(times):
        return float((shares_of(times) - wanted).square().sum())

    times, tried = search(SCHEDULE, 4, error, 150, lambda: calls.append(None))
    assert shares_of(times).tolist() == pytest.approx(wanted.tolist(), abs=1e-3)
    assert (times[0], times[-2:]) == (1.0, [T_CUT, 0.0])
    assert tried == len(calls) <= 150


def test_the_best_grid_is_kept_when_no_other_is_better():
    errors = iter([0.0])
    times, tried = search(SCHEDULE, 4, lambda times: next(errors, math.inf), 7, lambda: None)
    assert times == times_of(SCHEDULE, torch.zeros(3, dtype=torch.float64))
    assert tried == 7
