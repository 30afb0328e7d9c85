r"""Grids fitted to a trained denoiser, a sampler and a number of steps.

The steps from t = 1 to the cut are fractions of the interval in lambda,

    lambda_i = lambda_0 + (lambda_cut - lambda_0) sum_{j <= i} softmax(w)_j,

so that any w gives decreasing times and w = 0 the grid uniform in lambda; the last step leads from
the cut to 0. Powell's method minimises the distance from a reference solution with many steps and
the same noise over w; the result is measured on other noise.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from scipy.optimize import minimize
from torch import Tensor

from hqdm.diffusion.denoiser import Denoising
from hqdm.diffusion.schedule import Schedule, schedule_config
from hqdm.samplers import DPMSolver
from hqdm.samplers.base import MAX_STEPS
from hqdm.samplers.grids import T_CUT
from hqdm.samplers.registry import build_sampler
from hqdm.storage.digests import check_digest, plain_digest
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError
from hqdm.utils.files import write_file
from hqdm.utils.progress import Progress, silent, stepwise
from hqdm.utils.seeds import ImageNoise
from hqdm.utils.versions import provenance

REFERENCE_STEPS = 60
LEAST_STEPS = 3  # with two steps the only intermediate time is the cut
SPREAD = 3.0  # bound of |w|: the fractions differ at most by a factor of e^6


@dataclass(frozen=True)
class OptimisedGrid:
    """A fitted grid and the settings of the fit.

    Attributes:
        sampler: Name of the sampler.
        steps: Number of steps.
        schedule: Configuration of the noise schedule.
        times: The grid, from 1 to 0.
        before: Root mean square distance from the reference, on other noise, of the grid uniform in
            lambda.
        after: The same distance of this grid.
        n: Number of images of the fit, and of the other images on which distances are measured.
        seed: Random seed.
        trials: Number of grids tried.
    """

    sampler: str
    steps: int
    schedule: dict[str, Any]
    times: list[float]
    before: float
    after: float
    n: int
    seed: int
    trials: int

    def write(self, path: Path) -> None:
        """Write a JSON file for `read_grid`."""
        content = {**asdict(self), "provenance": provenance()}
        content["sha256"] = plain_digest(content)
        write_file(path, json.dumps(content, indent=2) + "\n")


def read_grid(path: Path, sampler: str, schedule: Schedule) -> list[float]:
    """The times in a file that `OptimisedGrid.write` wrote.

    Args:
        path: The file.
        sampler: Name of the sampler; a warning is issued if the grid was fitted for another one.
        schedule: The schedule of the model, which must equal that of the file.

    Raises:
        HQDMError: If the file is missing or damaged, or the grid was fitted for another schedule.
    """
    if not path.is_file():
        raise HQDMError(f"there is no grid {path}: expected a file of `hqdm optimise-grid`")
    try:
        content = json.loads(path.read_text())
        stated, found = content.pop("sha256", None), plain_digest(content)
        content.pop("provenance", None)
        grid = OptimisedGrid(**content)
        times = [float(time) for time in grid.times]
    except (OSError, ValueError, TypeError, AttributeError):
        raise HQDMError(f"{path} is not a grid of `hqdm optimise-grid`: use another file") from None
    check_digest(stated, found, path)
    own = schedule_config(schedule)
    if grid.schedule != own:
        raise HQDMError(f"{path} was fitted for the schedule {grid.schedule}, the model has {own}")
    if grid.sampler != sampler:
        warnings.warn(
            f"{path} was fitted for {grid.sampler} and may be less accurate with {sampler}",
            UserWarning,
            stacklevel=2,
        )
    return times


def times_of(schedule: Schedule, w: Tensor) -> list[float]:
    """The grid of weights `(steps - 1,)`."""
    start, cut = schedule.lam(torch.tensor([1.0, T_CUT], dtype=torch.float64))
    lam = start + (cut - start) * w.softmax(0).cumsum(0)[:-1]
    return [1.0, *schedule.inverse(lam).tolist(), T_CUT, 0.0]


def optimise_grid(
    denoiser: Denoising,
    name: str,
    steps: int,
    x1: Tensor,
    held_out: Tensor,
    *,
    y: Tensor | None = None,
    seed: int = 0,
    trials: int = 200,
    progress: Progress = silent,
) -> OptimisedGrid:
    """Fit a grid.

    Args:
        denoiser: The denoiser, with guidance and clipping as in sampling.
        name: Name of a deterministic sampler.
        steps: Number of steps, 3 or more.
        x1: Noise for the fit, `(N, C, H, W)`.
        held_out: Other noise on which the result is measured, `(N, C, H, W)`.
        y: Class labels for both, `(N,)`, or None.
        seed: Random seed of the noise, for the record.
        trials: Number of grids to try.
        progress: Reports the steps of the reference solutions, and the grids.

    Raises:
        HQDMError: If there are too few steps or trials, or the sampler is stochastic or adaptive.
    """
    whole("steps of a grid to optimise", steps, LEAST_STEPS, MAX_STEPS)
    whole("trials", trials, 1)
    if not build_sampler(name).reversible:
        raise HQDMError(f"{name} is stochastic or adaptive: optimise the grid of another sampler")
    reference = DPMSolver(REFERENCE_STEPS, "lambda")
    step = stepwise(progress, "reference solutions", 2 * REFERENCE_STEPS)
    targets = [reference(denoiser, noise, y, callback=step) for noise in (x1, held_out)]

    def error(w: Tensor, noise: Tensor, target: Tensor) -> float:
        sampler = build_sampler(name, grid=times_of(denoiser.schedule, w))
        return (sampler(denoiser, noise, y) - target).square().mean().sqrt().item()

    even = torch.zeros(steps - 1, dtype=torch.float64)
    best = error(even, x1, targets[0]), even
    tried = 1
    done = stepwise(progress, "grids", trials)
    done()

    def objective(free: Any) -> float:
        nonlocal best, tried
        if tried >= trials:
            raise StopIteration
        w = torch.cat([torch.as_tensor(free, dtype=torch.float64), even[:1]])
        found = error(w, x1, targets[0])
        tried += 1
        if found < best[0]:
            best = found, w
        done()
        return found

    try:
        bounds = [(-SPREAD, SPREAD)] * (steps - 2)
        minimize(objective, even[1:].numpy(), method="Powell", bounds=bounds)
    except StopIteration:
        pass  # Powell's own limit is checked between line searches only
    return OptimisedGrid(
        sampler=name,
        steps=steps,
        schedule=dict(schedule_config(denoiser.schedule)),
        times=times_of(denoiser.schedule, best[1]),
        before=error(even, held_out, targets[1]),
        after=error(best[1], held_out, targets[1]),
        n=len(x1),
        seed=seed,
        trials=tried,
    )


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
