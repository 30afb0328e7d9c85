"""Intervals of medians, against their coverage and another implementation."""

import math

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
