r"""GITS (Chen et al. 2024): the grid with the least sum of the errors of single Euler steps.

The nodes are the times of a solution with many steps. The cost of a step from node i to node j is
the distance of the Euler step, here DDIM, from the solution at node j,

    cost(i, j) = E |ddim(x_i, t_i -> t_j) - x_j| / sqrt(alpha_j^2 + sigma_j^2),

and dynamic programming finds the nodes of the grid. The trajectories of different images are alike,
so that few of them suffice. The norm of the paper is that of a variance-exploding process, with the
costs of later steps multiplied by a coefficient; this one, relative to x_t of data of variance 1,
needs none, since the flow of such data preserves it.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from hqdm.diffusion.denoiser import Denoising
from hqdm.samplers.base import Result
from hqdm.samplers.exponential import level_at, transfer
from hqdm.samplers.optimised.shortest_path import no_costs


@torch.no_grad()
def euler_costs(
    denoiser: Denoising, solution: Result, y: Tensor | None, done: Callable[[], None]
) -> Tensor:
    """The costs of Euler steps between the times of a solution.

    Args:
        denoiser: The denoiser.
        solution: A solution with its trajectory `(N, B, C, H, W)`.
        y: Class labels `(B,)`, or None.
        done: Called after the steps from each node but the last one, N - 1 times.

    Returns:
        The costs, `(N, N)` in float64; infinite unless i < j.
    """
    levels = [level_at(denoiser.schedule, t) for t in solution.times]
    costs = no_costs(len(levels))
    for i, (a, x) in enumerate(zip(levels[:-1], solution.trajectory, strict=False)):
        eps = denoiser(x, a.t, y).eps
        for j, b in enumerate(levels[i + 1 :], start=i + 1):
            error = transfer(x, eps, a, b) - solution.trajectory[j]
            distance = error.flatten(1).norm(dim=1).mean()
            costs[i, j] = float(distance) / torch.hypot(b.alpha, b.sigma)
        done()
    return costs
