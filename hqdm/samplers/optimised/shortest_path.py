r"""Dynamic programming: the path with a given number of steps that has the least total cost.

With V_1(i) the cost of the step from node i to the last one, V_k(i) = min_j cost(i, j) +
V_{k-1}(j) is the least cost of k steps from i to the last node (Bellman).
"""

import torch
from torch import Tensor


def shortest_path(costs: Tensor, steps: int) -> list[int]:
    """The nodes of the path from the first node to the last one.

    Args:
        costs: Costs of a step from node i to node j, `(N, N)`; infinite unless i < j.
        steps: Number of steps, 1 to N - 1.

    Returns:
        The `steps + 1` nodes.
    """
    value = costs[:, -1]
    best_next: list[Tensor] = []
    for _ in range(steps - 1):
        value, best = (costs + value).min(1)
        best_next.insert(0, best)
    path = [0]
    for best in best_next:
        path.append(int(best[path[-1]]))
    return [*path, len(costs) - 1]


def no_costs(n: int) -> Tensor:
    """A matrix `(n, n)` for the costs of steps between n nodes: infinite."""
    return torch.full((n, n), torch.inf, dtype=torch.float64)
