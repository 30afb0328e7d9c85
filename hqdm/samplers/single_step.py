"""Samplers whose step needs nothing of the steps before: from one level to another in lambda."""

from abc import abstractmethod

from torch import Tensor

from hqdm.samplers.base import Evaluator, Sampler
from hqdm.samplers.exponential import Level, level_at
from hqdm.samplers.noise import ImageNoise


class SingleStep(Sampler):
    """A deterministic sampler of single steps; the one to t = 0 ends in the predicted images."""

    default_grid = "lambda"

    def step(
        self, denoise: Evaluator, x: Tensor, t: Tensor, s: Tensor, state: None, noise: ImageNoise
    ) -> tuple[Tensor, None]:
        """See `Sampler.step`."""
        a, b = (level_at(denoise.schedule, time) for time in (t, s))
        return (denoise(x, t).x0 if b.is_data else self.advance(denoise, x, a, b)), None

    @abstractmethod
    def advance(self, denoise: Evaluator, x: Tensor, a: Level, b: Level) -> Tensor:
        """The images at level b, where lambda is finite, from those at level a."""
