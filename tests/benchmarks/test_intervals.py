"""Intervals of medians, against their coverage and another implementation."""

import math

import numpy as np
import pytest


@pytest.fixture
def intervals(load):
    return load("intervals")


@pytest.mark.parametrize("n", [6, 7, 10, 25, 100])
def test_the_interval_of_a_median_has_its_level_and_is_the_smallest(intervals, n):
    """Counted over all 2^n ways in which values lie below or above the median."""
    low, high = intervals.of_median(list(range(n)))
    assert high == n - 1 - low

    def coverage(low):
        return sum(math.comb(n, below) for below in range(low + 1, n - low)) / 2**n

    assert coverage(low) >= intervals.LEVEL > coverage(low + 1)


def test_few_values_have_the_interval_of_all(intervals):
    assert intervals.of_median([3.0, 1.0, 2.0]) == (1.0, 3.0)
    assert intervals.of_median([5.0]) == (5.0, 5.0)


def test_the_bootstrap_interval_of_a_mean(intervals):
    """Of many values it is about that of the normal distribution; of three it is within them."""
    values = np.random.default_rng(0).normal(2, 3, 400)
    mean, low, high = intervals.of_bootstrap(list(values))
    assert mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20  # the quantiles of 10,000 resamples are within 5 % of it
    assert [mean - low, high - mean] == pytest.approx([half, half], rel=0.1)
    mean, low, high = intervals.of_bootstrap([1.0, 2.0, 6.0])
    assert (mean, low, high) == (3.0, 1.0, 6.0)
    assert math.isnan(intervals.of_bootstrap([1.0])[1])
