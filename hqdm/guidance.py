r"""Denoisers around denoisers: what changes a prediction without the sampler noticing.

Each takes a denoiser and is one: the same `schedule`, the same call, the same `Prediction`.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from hqdm.denoiser import Denoiser, Denoising, Prediction, expand
from hqdm.errors import HQDMError


class ClassifierFreeGuidance(nn.Module):
    r"""Classifier-free guidance (Ho and Salimans 2022).

        eps = eps(x, t) + scale (eps(x, t, y) - eps(x, t)).

    Args:
        denoiser: A denoiser with class labels, trained with some of them dropped.
        scale: 0 ignores the label, 1 is no guidance, more sharpens.

    Raises:
        HQDMError: If the denoiser has no class labels.
    """

    def __init__(self, denoiser: Denoiser, scale: float) -> None:
        super().__init__()
        if denoiser.n_classes is None:
            raise HQDMError("guidance needs a model with class labels: train with n_classes set")
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.scale = scale

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Prediction:
        """See `Denoising`; without labels, or at scale 1, one plain evaluation."""
        if y is None or self.scale == 1:
            return self.denoiser(x_t, t, y)
        null = torch.full_like(y, self.denoiser.n_classes or 0)
        both = self.denoiser(
            torch.cat([x_t, x_t]), t.expand(x_t.shape[0]).repeat(2), torch.cat([null, y])
        )
        free, labelled = zip(*(part.chunk(2) for part in both), strict=True)
        return Prediction(*(f + self.scale * (c - f) for f, c in zip(free, labelled, strict=True)))


class DataCorrection(nn.Module, ABC):
    r"""A denoiser whose predicted clean images are corrected; the noise follows from them.

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
        """The clean images `(B, C, H, W)` that stand in for the predicted ones."""

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Prediction:
        """See `Denoising`."""
        x0 = self.correct(self.denoiser(x_t, t, y).x0)
        alpha, sigma = (expand(level, x_t) for level in self.schedule(t.to(x_t)))
        return Prediction(x0, (x_t - alpha * x0) / sigma)


class Clip(DataCorrection):
    """Keep the predicted clean images in the range of the data: x0 <- clamp(x0, -1, 1)."""

    def correct(self, x0: Tensor) -> Tensor:
        """See `DataCorrection.correct`."""
        return x0.clamp(-1, 1)


class DynamicThreshold(DataCorrection):
    r"""Dynamic thresholding (Saharia et al. 2022, section 2.3), against strong guidance.

        s = max(percentile of |x0|, 1) of each image,     x0 <- clamp(x0, -s, s) / s.

    `Clip` piles up all that guidance drives out of the range at its ends; this scales it back.

    Args:
        denoiser: The denoiser to wrap.
        percentile: Share of the pixels of an image that are not clamped, in (0, 1]; 1 clamps none.

    Raises:
        HQDMError: If the percentile is out of its range.
    """

    def __init__(self, denoiser: Denoising, percentile: float = 0.995) -> None:
        super().__init__(denoiser)
        if not 0 < percentile <= 1:
            raise HQDMError(f"dynamic thresholding needs a percentile in (0, 1], got {percentile}")
        self.percentile = percentile

    def correct(self, x0: Tensor) -> Tensor:
        """See `DataCorrection.correct`."""
        bound = x0.abs().flatten(1).quantile(self.percentile, dim=1).clamp_min(1)
        bound = expand(bound, x0)
        return x0.clamp(-bound, bound) / bound
