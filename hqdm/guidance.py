r"""Denoisers around denoisers: what changes a prediction without the sampler noticing.

Each takes a denoiser and is one: the same `schedule`, the same call, the same `Prediction`.
"""

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


class Clip(nn.Module):
    r"""Keep the predicted clean images in the range of the data; the noise follows from them.

        x0 <- clamp(x0, -1, 1),     eps <- (x_t - alpha x0) / sigma.

    Args:
        denoiser: The denoiser to wrap.
    """

    def __init__(self, denoiser: Denoising) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Prediction:
        """See `Denoising`."""
        x0 = self.denoiser(x_t, t, y).x0.clamp(-1, 1)
        alpha, sigma = (expand(level, x_t) for level in self.schedule(t.to(x_t)))
        return Prediction(x0, (x_t - alpha * x0) / sigma)
