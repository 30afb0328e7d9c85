r"""Correction of the predicted clean images, from which the predicted noise follows.

x0 <- correct(x0),     eps <- (x_t - alpha x0) / sigma.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from hqdm.diffusion.denoiser import Denoising, step_back
from hqdm.diffusion.objective import Levels, Prediction


class DataCorrection(nn.Module, ABC):
    r"""A denoiser whose predicted clean images are corrected.

        x0 <- correct(x0),     eps <- (x_t - alpha x0) / sigma.

    Args:
        denoiser: The denoiser to wrap.
    """

    def __init__(self, denoiser: Denoising) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule

    @abstractmethod
    def correct(self, x0: Tensor) -> Tensor:
        """The corrected clean images `(B, C, H, W)`."""

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Prediction:
        """See `Denoising`."""
        x0 = self.correct(self.denoiser(x_t, t, y).x0)
        levels = Levels.at(self.schedule, t, x_t)
        return Prediction(x0, ((x_t - levels.alpha * x0) / levels.sigma).to(x_t.dtype))

    def previous(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The samples one step back, corrected as the clean images are; see `Denoiser.previous`.

        Complex ones are states, not images, and are returned as they are.
        """
        x_s = step_back(self.denoiser, x_t, t, y)
        return x_s if x_s.is_complex() else self.correct(x_s)
