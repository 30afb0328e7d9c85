r"""The base class of all samplers: grid of times, trajectory, number of evaluations.

A sampler defines `init` and `step`. The driver takes one step per interval of a decreasing grid
t_0 > t_1 > ... > t_n = 0 and passes the state that a step returns to the next one:

    state = init(x)
    for t, s in pairs(grid):    x, state = step(denoise, x, t, s, state, noise)
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from hqdm.diffusion.denoiser import Denoising, step_back
from hqdm.diffusion.objective import Prediction
from hqdm.diffusion.schedule import Schedule
from hqdm.samplers.exponential import NoiseLevel, level_at
from hqdm.samplers.grids import T_CUT, build_grid, check_ends, check_grid
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise

MAX_STEPS = 100_000
"""The largest number of steps; in single precision the error of a step is larger long before."""

Callback = Callable[[int, Tensor, Tensor], None]
"""Called after each step with its number, the time reached and the images at that time."""


class Evaluating(Protocol):
    """The interface of a denoiser within a step."""

    @property
    def schedule(self) -> Schedule:
        """The denoiser's schedule."""

    def __call__(self, x_t: Tensor, t: Tensor, /) -> Prediction:
        """Evaluate at time `t`."""


@dataclass
class Evaluator:
    """A denoiser that counts the evaluations of its network.

    Attributes:
        denoiser: The denoiser.
        y: The labels, passed to each evaluation.
        count: Evaluations so far.
        rejected: Rejected steps so far, `()` for the batch or `(B,)` per image.
    """

    denoiser: Denoising
    y: Tensor | None = None
    count: int = 0
    rejected: Tensor = field(default_factory=lambda: torch.tensor(0))

    @property
    def schedule(self) -> Schedule:
        """The denoiser's schedule."""
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor) -> Prediction:
        """Evaluate at time `t`, `()` or `(B,)`, and count the evaluation."""
        self.count += 1
        return self.denoiser(x_t, t, self.y)

    def previous(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The samples one step back, see `hqdm.diffusion.denoiser.step_back`; counted as well."""
        self.count += 1
        return step_back(self.denoiser, x_t, t, self.y)


@dataclass
class Result:
    """The result of a sampler.

    Attributes:
        x0: The images `(B, C, H, W)`.
        times: The grid `(n + 1,)` in float64, from noise to data.
        evaluations: Number of network evaluations on the batch.
        rejected: Number of rejected steps, `()` for the batch or `(B,)` per image.
        trajectory: The images at every grid point, `(n + 1, B, C, H, W)`; empty unless requested.
    """

    x0: Tensor
    times: Tensor
    evaluations: int
    rejected: Tensor
    trajectory: Tensor = field(default_factory=lambda: torch.empty(0))

    def to(self, dtype: torch.dtype) -> Self:
        """The same result with images in another precision."""
        return replace(self, x0=self.x0.to(dtype), trajectory=self.trajectory.to(dtype))


class Sampler(ABC):
    """Transforms noise to images in a given number of steps.

    Images between the steps are in float32 at least, also if those at both ends are in half
    precision, since the steps of a fine grid would vanish in rounding.

    Args:
        steps: Number of steps, 1 or more; implied by a grid given as times.
        grid: A name, see `hqdm.samplers.grids`, or decreasing times; None is `default_grid`.

    Attributes:
        evaluations_per_step: Network evaluations per step; the step to t = 0 takes a single one.
        reversible: True if the sampler solves the flow in fixed steps, so that it can run from data
            to noise.
        variance_preserving_only: True if its equations assume alpha^2 + sigma^2 = 1.
        recursive: True if steps apply the network to its own output, without noise levels.
        at_once: True if all steps are taken at once, so that nothing can be done between them.
        from_noise: True if it starts from noise only, at t = 1, and not from noised images.

    Raises:
        HQDMError: If the number of steps is not in [1, `MAX_STEPS`] or differs from that of the
            grid, or the grid is unknown or not decreasing.
    """

    name: str
    default_steps: int
    default_grid: str = "time"
    evaluations_per_step: int = 1
    reversible: bool = True
    variance_preserving_only: bool = False
    recursive: bool = False
    at_once: bool = False
    from_noise: bool = False

    def __init__(self, steps: int | None = None, grid: str | Sequence[float] | None = None) -> None:
        self.times = self.default_grid if grid is None else grid
        check_grid(self.times)
        of_grid = None if isinstance(self.times, str) else len(self.times) - 1
        if steps is None:
            steps = of_grid or self.default_steps
        steps = whole("steps", steps, 1, MAX_STEPS)
        if of_grid not in (None, steps):
            raise HQDMError(f"the grid has {of_grid} steps, got steps={steps}: give one of the two")
        self.steps = steps

    def steps_for(self, evaluations: int) -> int:
        """The largest number of steps within a number of network evaluations, at least 1."""
        return max(1, (evaluations - 1) // self.evaluations_per_step + 1)

    def grid(self, schedule: Schedule, t_start: float, t_end: float) -> Tensor:
        """The grid of times, `(steps + 1,)` in float64."""
        return build_grid(self.times, schedule, t_start, t_end, self.steps)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the sampler, for the record of a run."""
        return {"sampler": self.name, "steps": self.steps, "grid": self.times}

    @property
    def work(self) -> str | None:
        """The cost of an image in words; None if it is the number of network evaluations."""
        return None

    def evaluator(self, denoiser: Denoising, y: Tensor | None) -> Evaluator:
        """The denoiser with its labels, as the steps call it."""
        return Evaluator(denoiser, y)

    def init(self, x: Tensor) -> Any:
        """The `state` passed to the first step; None for one-step samplers."""
        return None

    def begin(self, x: Tensor) -> tuple[Tensor, Any]:
        """The images at the first time and the state of the first step: `x` and `init(x)`."""
        return x, self.init(x)

    @abstractmethod
    def step(
        self, denoise: Evaluator, x: Tensor, t: Tensor, s: Tensor, state: Any, noise: ImageNoise
    ) -> tuple[Tensor, Any]:
        """One step from time `t` to the earlier time `s`.

        Args:
            denoise: The denoiser, called as `denoise(x, t)`.
            x: Images at time `t`, `(B, C, H, W)`.
            t: The time, `()` in float64, so that noise levels are computed in float64.
            s: The earlier time, `()`; 0 in the last step.
            state: The state that `init` or the previous step returned.
            noise: The random numbers of a stochastic sampler.

        Returns:
            The images at time `s` and the state for the next step.
        """

    def __call__(
        self, denoiser: Denoising, x1: Tensor, y: Tensor | None = None, **options: Any
    ) -> Tensor:
        """The images that `run` returns; see `run` for the options."""
        return self.run(denoiser, x1, y, **options).x0

    @torch.no_grad()
    def run(
        self,
        denoiser: Denoising,
        x1: Tensor,
        y: Tensor | None = None,
        *,
        t_start: float = 1.0,
        t_end: float = 0.0,
        noise: ImageNoise | None = None,
        callback: Callback | None = None,
        return_trajectory: bool = False,
    ) -> Result:
        """Integrate from `x1` at time `t_start` to images at time `t_end`.

        Args:
            denoiser: A denoiser, possibly with guidance.
            x1: Images at `t_start`, `(B, C, H, W)`; at t = 1 Gaussian noise with standard deviation
                `Schedule.prior_std`. Samplers of states take complex ones.
            y: Class labels `(B,)`, or None.
            t_start: First time, in (0, 1].
            t_end: Last time, in [0, t_start).
            noise: The noise of a stochastic sampler; None is that of random seed 0.
            callback: Called after each step.
            return_trajectory: Keep the images at every grid point.

        Returns:
            The images, in the precision of `x1`, the grid, the number of evaluations and the
            trajectory.

        Raises:
            HQDMError: If a time is out of range, a grid of times has other ends, the sampler
                requires a variance-preserving process and the schedule is not one, or a step
                reaches values that are not finite.
        """
        self._check_process(denoiser.schedule)
        if not 0 < t_start <= 1:
            raise HQDMError(f"t_start needs a time in (0, 1], got {t_start}")
        if self.from_noise and (t_start, t_end) != (1.0, 0.0):
            raise HQDMError(
                f"{self.name} in the latents of an autoencoder goes from noise at t = 1 to images "
                f"at t = 0, not from t = {t_start:g} to {t_end:g}: use another model"
            )
        if not 0 <= t_end < t_start:
            raise HQDMError(f"t_end needs a time in [0, {t_start}), got {t_end}")
        times = self.grid(denoiser.schedule, t_start, t_end)
        check_ends(times, t_start, t_end)
        noise = noise or ImageNoise(0, x1.shape[0])
        evaluator = self.evaluator(denoiser, y)
        x = x1.to(torch.promote_types(x1.dtype, torch.float32))
        result, _ = self._take_steps(evaluator, x, times, noise, callback, return_trajectory)
        return result.to(x1.dtype.to_real())

    @torch.no_grad()
    def encode(
        self,
        denoiser: Denoising,
        x0: Tensor,
        y: Tensor | None = None,
        *,
        noise: ImageNoise | None = None,
        callback: Callback | None = None,
        return_trajectory: bool = False,
    ) -> Result:
        """Integrate from images at time 0 to noise at time 1: the inverse of `run`.

        The first step, from 0 to the smallest positive time of the grid, uses the noise that the
        denoiser predicts for the images themselves.

        Args:
            denoiser: As in `run`.
            x0: Images, `(B, C, H, W)`.
            y: Class labels `(B,)`, or None.
            noise: As in `run`; deterministic samplers draw none.
            callback: As in `run`.
            return_trajectory: As in `run`.

        Returns:
            As `run`; `x0` holds the noise.

        Raises:
            HQDMError: If the sampler is stochastic or adaptive, or requires a variance-preserving
                process and the schedule is not one.
        """
        self._check_process(denoiser.schedule)
        if not self.reversible:
            raise HQDMError(
                f"{self.name} cannot run from data to noise: use a deterministic solver with fixed "
                "steps, such as ddim, dpm or unipc"
            )
        times = self.grid(denoiser.schedule, 1.0, T_CUT)
        times = times[times > 0].flip(0)  # a user's grid may end in 0, where lambda is infinite
        evaluator = self.evaluator(denoiser, y)
        alpha, sigma = denoiser.schedule(times[0])
        scaled = alpha * x0.to(torch.promote_types(x0.dtype, torch.float32))
        x = scaled + sigma * evaluator(scaled, times[0]).eps
        noise = noise or ImageNoise(0, x0.shape[0])
        result, _ = self._take_steps(evaluator, x, times, noise, callback, return_trajectory)
        return result.to(x0.dtype)

    def _check_process(self, schedule: Schedule) -> None:
        if self.variance_preserving_only and not schedule.variance_preserving:
            raise HQDMError(
                f"{self.name} solves variance-preserving processes only, got {schedule}: use "
                "another sampler, such as ddim, dpm, dpm++2m or unipc"
            )

    def _take_steps(
        self,
        evaluator: Evaluator,
        x: Tensor,
        times: Tensor,
        noise: ImageNoise,
        callback: Callback | None,
        return_trajectory: bool,
    ) -> tuple[Result, Any]:
        """Take one step per interval between the times; the result and the last state."""
        x, state = self.begin(x)
        trajectory = [x] if return_trajectory else []
        check = FiniteCheck()
        for i, (t, s) in enumerate(pairwise(times), start=1):
            x, state = self.step(evaluator, x, t, s, state, noise)
            check.add(x, t, s)
            if return_trajectory:
                trajectory.append(x)
            if callback:
                callback(i, s, x)
        check.end()
        kept = torch.stack(trajectory) if return_trajectory else torch.empty(0)
        return Result(x, times, evaluator.count, evaluator.rejected, kept), state


class FiniteCheck:
    """Refuses images with NaN or infinite values.

    On the CPU they are refused after the step that reached them. On a GPU they are counted, and
    refused after the last step: reading a number after each step would wait for the GPU.
    """

    def __init__(self) -> None:
        self._counts: list[Tensor] = []
        self._steps: list[tuple[int, Tensor, Tensor]] = []

    def add(self, x: Tensor, t: Tensor, s: Tensor) -> None:
        """Check the images that a step reached.

        Args:
            x: Images `(B, C, H, W)`.
            t: The time at which the step began.
            s: The time that it reached.

        Raises:
            HQDMError: On the CPU, if a value is not finite.
        """
        self._counts.append((~x.isfinite().flatten(1).all(1)).sum())
        self._steps.append((len(x), t, s))
        if x.device.type == "cpu":
            self.end()

    def end(self) -> None:
        """Refuse the images of the first step whose count is not zero.

        Raises:
            HQDMError: If there is one.
        """
        counts = torch.stack(self._counts).cpu().tolist() if self._counts else []
        for count, (n, t, s) in zip(counts, self._steps, strict=True):
            if count:
                raise HQDMError(
                    f"{count} of {n} samples have values that are not finite after the step from "
                    f"t = {float(t):.3g} to {float(s):.3g}: take more steps, another sampler or "
                    "a smaller guidance scale, or check the model"
                )
        self._counts, self._steps = [], []


class SingleStep(Sampler):
    """A deterministic one-step sampler; the step to t = 0 returns the predicted clean images."""

    default_grid = "lambda"

    def step(
        self, denoise: Evaluator, x: Tensor, t: Tensor, s: Tensor, state: None, noise: ImageNoise
    ) -> tuple[Tensor, None]:
        """See `Sampler.step`."""
        a, b = (level_at(denoise.schedule, time) for time in (t, s))
        return (denoise(x, t).x0 if b.is_data else self.advance(denoise, x, a, b)), None

    @abstractmethod
    def advance(self, denoise: Evaluator, x: Tensor, a: NoiseLevel, b: NoiseLevel) -> Tensor:
        """One step from images at level a to images at level b, where lambda is finite."""
