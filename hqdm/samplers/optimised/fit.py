"""The fit of a grid to a denoiser, a sampler and a number of steps, by a method of `METHODS`.

    powell  Powell's method on the error of the sampler itself
    gits    the least sum of the errors of Euler steps along a solution, by dynamic programming
    ays     the least bound of the KL divergence of the reverse-time SDE, by dynamic programming

The result is measured on other noise, by the distance from a reference solution with many steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hqdm.diffusion.denoiser import Denoising
from hqdm.diffusion.schedule import schedule_config
from hqdm.samplers.base import MAX_STEPS, Result
from hqdm.samplers.dpm_solver import DPMSolver
from hqdm.samplers.optimised.ays import divergences
from hqdm.samplers.optimised.gits import euler_costs
from hqdm.samplers.optimised.grid import OptimisedGrid
from hqdm.samplers.optimised.powell import search, times_of
from hqdm.samplers.optimised.shortest_path import shortest_path
from hqdm.samplers.registry import build_sampler
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError, unknown
from hqdm.utils.progress import Progress, silent, stepwise
from hqdm.utils.seeds import ImageNoise

REFERENCE_STEPS = 60
LEAST_STEPS = 3  # with two steps the only intermediate time is the cut
TRIALS = 200


@dataclass(frozen=True)
class Fit:
    """The data of a fit.

    Attributes:
        denoiser: The denoiser.
        name: Name of the sampler.
        steps: Number of steps.
        x1: Noise, `(N, C, H, W)`.
        y: Class labels, `(N,)`, or None.
        solution: The reference solution from this noise.
        seed: Random seed.
        trials: Number of grids to try.
        progress: Receives the progress.
    """

    denoiser: Denoising
    name: str
    steps: int
    x1: Tensor
    y: Tensor | None
    solution: Result
    seed: int
    trials: int
    progress: Progress

    def error(self, times: list[float], x1: Tensor, target: Tensor) -> float:
        """The root mean square distance of the sampler on a grid from solutions `target`."""
        x0 = build_sampler(self.name, grid=times)(self.denoiser, x1, self.y)
        return (x0 - target).square().mean().sqrt().item()


def _powell(fit: Fit) -> tuple[list[float], int]:
    done = stepwise(fit.progress, "grids", fit.trials)

    def error(times: list[float]) -> float:
        return fit.error(times, fit.x1, fit.solution.x0)

    return search(fit.denoiser.schedule, fit.steps, error, fit.trials, done)


def _gits(fit: Fit) -> tuple[list[float], int]:
    times = fit.solution.times
    done = stepwise(fit.progress, "costs", len(times) - 1)
    path = shortest_path(euler_costs(fit.denoiser, fit.solution, fit.y, done), fit.steps)
    return times[path].tolist(), 1


def _ays(fit: Fit) -> tuple[list[float], int]:
    times = fit.solution.times[:-1]  # at 0 lambda is infinite
    done = stepwise(fit.progress, "costs", len(times))
    n = len(fit.x1)
    noise = ImageNoise(fit.seed, n, first=2 * n)  # after that of `noise_pair`
    costs = divergences(fit.denoiser, fit.solution.x0, fit.y, times, noise, done)
    return [*times[shortest_path(costs, fit.steps - 1)].tolist(), 0.0], 1


METHODS: dict[str, Callable[[Fit], tuple[list[float], int]]] = {
    "powell": _powell,
    "gits": _gits,
    "ays": _ays,
}
"""Functions that return the times of a grid and the number of grids tried, by name."""


def optimise_grid(
    denoiser: Denoising,
    name: str,
    steps: int,
    x1: Tensor,
    held_out: Tensor,
    *,
    method: str = "powell",
    y: Tensor | None = None,
    seed: int = 0,
    trials: int | None = None,
    progress: Progress = silent,
) -> OptimisedGrid:
    """Fit a grid.

    Args:
        denoiser: The denoiser, with guidance and clipping as in sampling.
        name: Name of a deterministic sampler; with `gits` and `ays` the grid does not depend on it.
        steps: Number of steps, 3 or more; with `gits` and `ays` at most `REFERENCE_STEPS`.
        x1: Noise for the fit, `(N, C, H, W)`.
        held_out: Other noise on which the result is measured, `(N, C, H, W)`.
        method: A key of `METHODS`.
        y: Class labels for both, `(N,)`, or None.
        seed: Random seed of the noise: for the record, and for the noise that `ays` adds to images.
        trials: Number of grids to try with `powell`, 200 by default; None with other methods.
        progress: Reports the steps of the reference solutions, and the grids or the nodes between
            which costs are computed.

    Raises:
        HQDMError: If there are too few or too many steps, too few trials, the method is unknown or
            tries no grids, or the sampler is stochastic or adaptive.
    """
    check_method(method, steps, trials)
    if not build_sampler(name).reversible:
        raise HQDMError(f"{name} is stochastic or adaptive: optimise the grid of another sampler")
    reference = DPMSolver(REFERENCE_STEPS, "lambda")
    step = stepwise(progress, "reference solutions", 2 * REFERENCE_STEPS)
    keep = method == "gits"
    solution = reference.run(denoiser, x1, y, callback=step, return_trajectory=keep)
    target = reference(denoiser, held_out, y, callback=step)
    fit = Fit(denoiser, name, steps, x1, y, solution, seed, trials or TRIALS, progress)
    times, tried = METHODS[method](fit)
    even = times_of(denoiser.schedule, torch.zeros(steps - 1, dtype=torch.float64))
    return OptimisedGrid(
        sampler=name,
        steps=steps,
        schedule=dict(schedule_config(denoiser.schedule)),
        times=times,
        before=fit.error(even, held_out, target),
        after=fit.error(times, held_out, target),
        n=len(x1),
        seed=seed,
        trials=tried,
        method=method,
    )


def check_method(method: str, steps: int, trials: int | None) -> None:
    """Refuse an unknown method, and steps or trials that it does not take.

    Raises:
        HQDMError: If there is one.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    by_search = method == "powell"
    most = MAX_STEPS if by_search else REFERENCE_STEPS
    whole("steps of a grid to optimise", steps, LEAST_STEPS, most)
    if trials is None:
        return
    if not by_search:
        raise HQDMError(f"{method} tries no grids: leave out trials, or use the method powell")
    whole("trials", trials, 1)


def noise_pair(seed: int, n: int, shape: Sequence[int], std: float = 1.0) -> tuple[Tensor, Tensor]:
    """Noise for the fit and other noise, `(n, *shape)` each: that of the first 2n images.

    Args:
        seed: The random seed.
        n: The number of images.
        shape: Shape of one image.
        std: Standard deviation of the noise, `Schedule.prior_std`.
    """
    x1, held_out = (std * ImageNoise(seed, 2 * n).draw(shape)).split(n)
    return x1, held_out
