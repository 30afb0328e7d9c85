"""Shortest paths: all paths of small graphs, and sums of costs that are equal."""

from itertools import combinations, pairwise

import pytest
import torch

from hqdm.samplers.optimised.shortest_path import no_costs, shortest_path


def random_costs(n, seed):
    generator = torch.Generator().manual_seed(seed)
    costs = torch.rand(n, n, generator=generator, dtype=torch.float64)
    return torch.where(torch.ones(n, n, dtype=torch.bool).triu(1), costs, no_costs(n))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("steps", range(1, 8))
def test_the_path_is_the_best_of_all(steps, seed):
    costs = random_costs(8, seed)
    paths = [(0, *inner, 7) for inner in combinations(range(1, 7), steps - 1)]
    best = min(paths, key=lambda path: sum(float(costs[i, j]) for i, j in pairwise(path)))
    assert shortest_path(costs, steps) == list(best)


def test_equal_steps_are_best_for_squared_lengths():
    """Of the costs (j - i)^2, by convexity."""
    places = torch.arange(13, dtype=torch.float64)
    costs = (places - places[:, None]).square()
    costs = torch.where(costs.triu(1) > 0, costs, no_costs(13))
    assert shortest_path(costs, 4) == [0, 3, 6, 9, 12]
