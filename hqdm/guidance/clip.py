"""Clipping of the predicted clean images to the range of the data: x0 <- clamp(x0, -1, 1)."""

from torch import Tensor

from hqdm.guidance.correction import DataCorrection


class Clip(DataCorrection):
    """Clip the predicted clean images to the range of the data: x0 <- clamp(x0, -1, 1)."""

    def correct(self, x0: Tensor) -> Tensor:
        """See `DataCorrection.correct`."""
        return x0.clamp(-1, 1)
