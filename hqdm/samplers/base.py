r"""The driver that all samplers share: grid of times, trajectory, progress, count of evaluations.

A sampler is an `init` and a `step`. The driver walks a decreasing grid t_0 > t_1 > ... > t_n = 0
and hands the state that one step returns to the next:

    state = init(x)
    for t, s in pairs(grid):    x, state = step(denoise, x, t, s, state, noise)
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor

from hqdm.denoiser import Denoising, Prediction
from hqdm.errors import HQDMError
from hqdm.samplers.noise import ImageNoise
from hqdm.schedule import Schedule

Callback = Callable[[int, Tensor, Tensor], None]
"""Called after each step with its number, the time reached and the images there."""


@dataclass
class Evaluator:
    """A denoiser that counts how often its network was evaluated.

    Attributes:
        denoiser: The denoiser.
        y: The labels that each evaluation gets.
        count: Evaluations so far.
    """

    denoiser: Denoising
    y: Tensor | None = None
    count: int = 0

    @property
    def schedule(self) -> Schedule:
        """The denoiser's schedule."""
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor) -> Prediction:
        """Evaluate at time `t` `()` and count."""
        self.count += 1
        return self.denoiser(x_t, t, self.y)


@dataclass
class Result:
    """What a sampler returns when the whole trajectory is asked for.

    Attributes:
        x0: The images `(B, C, H, W)`.
        times: The grid `(n + 1,)` in float64, from noise to data.
        evaluations: How often the network was evaluated on the batch.
        trajectory: The images at every grid point, `(n + 1, B, C, H, W)`; empty unless asked for.
    """

    x0: Tensor
    times: Tensor
    evaluations: int
    trajectory: Tensor = field(default_factory=lambda: torch.empty(0))


class Sampler(ABC):
    """From noise to images with a given number of steps.

    Args:
        steps: Number of steps, 1 or more.

    Raises:
        HQDMError: If there are no steps.
    """

    name: str
    default_steps: int

    def __init__(self, steps: int | None = None) -> None:
        steps = self.default_steps if steps is None else steps
        if steps < 1:
            raise HQDMError(f"a sampler needs 1 step or more, got {steps}")
        self.steps = steps

    def grid(self, schedule: Schedule, t_start: float) -> Tensor:
        """The times of the walk, `(steps + 1,)` in float64: uniform in t, ending in 0."""
        return torch.linspace(t_start, 0, self.steps + 1, dtype=torch.float64)

    def init(self, x: Tensor) -> Any:
        """What the first step gets as `state`; most one-step samplers need none."""
        return None

    @abstractmethod
    def step(
        self, denoise: Evaluator, x: Tensor, t: Tensor, s: Tensor, state: Any, noise: ImageNoise
    ) -> tuple[Tensor, Any]:
        """One step from time `t` to the earlier time `s`.

        Args:
            denoise: The denoiser, called as `denoise(x, t)`.
            x: Images at time `t`, `(B, C, H, W)`.
            t: The time, `()` in float64; levels are computed from it before they meet `x`.
            s: The time to reach, `()`; 0 in the last step.
            state: What `init` or the step before returned.
            noise: Where a stochastic sampler draws from.

        Returns:
            The images at time `s` and the state for the next step.
        """

    def __call__(
        self, denoiser: Denoising, x1: Tensor, y: Tensor | None = None, **options: Any
    ) -> Tensor:
        """The images that `run` ends in; see there for the options."""
        return self.run(denoiser, x1, y, **options).x0

    @torch.no_grad()
    def run(
        self,
        denoiser: Denoising,
        x1: Tensor,
        y: Tensor | None = None,
        *,
        t_start: float = 1.0,
        noise: ImageNoise | None = None,
        callback: Callback | None = None,
        progress: Progress | None = None,
        return_trajectory: bool = False,
    ) -> Result:
        """Walk from `x1` at time `t_start` to images at time 0.

        Args:
            denoiser: A denoiser, or a denoiser around one.
            x1: Images at `t_start`, `(B, C, H, W)`; at t = 1 standard normal noise.
            y: Class labels `(B,)`, or None.
            t_start: Where the walk starts, in (0, 1].
            noise: The noise of a stochastic sampler; seed 0 where None.
            callback: Called after each step.
            progress: Shows a bar where given.
            return_trajectory: Keep the images at every grid point.

        Returns:
            The images, the grid, the number of evaluations and the trajectory.

        Raises:
            HQDMError: If `t_start` is outside (0, 1].
        """
        if not 0 < t_start <= 1:
            raise HQDMError(f"t_start needs a time in (0, 1], got {t_start}")
        noise = noise or ImageNoise(0, x1.shape[0])
        times = self.grid(denoiser.schedule, t_start)
        evaluator = Evaluator(denoiser, y)
        x, state = x1, self.init(x1)
        trajectory = [x1] if return_trajectory else []
        task = progress.add_task(self.name, total=len(times) - 1) if progress else None
        for i, (t, s) in enumerate(pairwise(times), start=1):
            x, state = self.step(evaluator, x, t, s, state, noise)
            if return_trajectory:
                trajectory.append(x)
            if callback:
                callback(i, s, x)
            if progress and task is not None:
                progress.update(task, advance=1, description=f"{self.name} NFE {evaluator.count}")
        if progress and task is not None:
            progress.remove_task(task)
        kept = torch.stack(trajectory) if return_trajectory else torch.empty(0)
        return Result(x, times, evaluator.count, kept)
