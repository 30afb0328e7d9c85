r"""Classifier-free guidance: eps = eps(x, t) + scale (eps(x, t, y) - eps(x, t))."""

import torch
from torch import Tensor, nn

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.objective import Prediction, as_times
from hqdm.utils.errors import HQDMError


class ClassifierFreeGuidance(nn.Module):
    r"""Classifier-free guidance (Ho and Salimans 2022).

        eps = eps(x, t) + scale (eps(x, t, y) - eps(x, t)).

    Args:
        denoiser: A denoiser with class labels, trained with label dropout.
        scale: Guidance scale: 0 ignores the label, 1 is no guidance, larger values strengthen it.

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
        """See `Denoising`; without labels, or at scale 1, one evaluation without guidance."""
        if y is None or self.scale == 1:
            return self.denoiser(x_t, t, y)
        null = torch.full_like(y, self.denoiser.n_classes or 0)
        times = as_times(t, x_t).expand(x_t.shape[0]).repeat(2)
        both = self.denoiser(torch.cat([x_t, x_t]), times, torch.cat([null, y]))
        free, labelled = zip(*(part.chunk(2) for part in both), strict=True)
        return Prediction(*(f + self.scale * (c - f) for f, c in zip(free, labelled, strict=True)))
