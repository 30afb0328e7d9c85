r"""Denoisers around denoisers for images of which something is known: some pixels, or y = A x_0.

A is any callable that is linear in the images and differentiable: `Masked` and `Blur` here,
`torch.nn.AvgPool2d(factor)` for super-resolution.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import grad
from torch.nn import functional as F

from hqdm.denoiser import Denoising, Prediction, expand
from hqdm.errors import HQDMError
from hqdm.guidance import DataCorrection

Operator = Callable[[Tensor], Tensor]
"""A linear measurement of images `(B, C, H, W)`, `(B, ...)`."""

BLUR_REACH = 3  # of a Gaussian in standard deviations: the rest weighs 0.3 %


class Replacement(DataCorrection):
    r"""Known pixels of the predicted clean images are those of the image.

        x0 <- mask image + (1 - mask) x0,     eps <- (x_t - alpha x0) / sigma.

    A sampler's step to t = 0 ends in the predicted clean images, so that known pixels of what is
    drawn equal the image exactly. The known pixels of x_t keep the noise that the sampler gave
    them; the others see them through the denoiser only. `hqdm.samplers.RePaint` makes both agree.

    Args:
        denoiser: The denoiser to wrap.
        image: The image `(C, H, W)`, or one for each of a batch `(B, C, H, W)`.
        mask: True or 1 where the image is known; broadcastable to `image`.

    Raises:
        HQDMError: If the mask is of another size than the image.
    """

    image: Tensor
    mask: Tensor

    def __init__(self, denoiser: Denoising, image: Tensor, mask: Tensor) -> None:
        super().__init__(denoiser)
        check_mask(image, mask)
        self.register_buffer("image", image, persistent=False)
        self.register_buffer("mask", mask.bool(), persistent=False)

    def correct(self, x0: Tensor) -> Tensor:
        """See `DataCorrection.correct`.

        Raises:
            HQDMError: If the image is of another size than the predicted ones.
        """
        if self.image.shape[-3:] != x0.shape[1:]:
            raise HQDMError(
                f"the known image is {by_size(self.image)}, the model draws {by_size(x0)}: "
                "use an image of that size"
            )
        return torch.where(self.mask.to(x0.device), self.image.to(x0), x0)


class PosteriorSampling(nn.Module):
    r"""Diffusion posterior sampling (Chung et al. 2023) for a measurement y = A x_0.

    The score of x_t given y is that of x_t and the gradient of log p(y | x_t), which is taken to
    fall with the distance between y and what would be measured of the predicted images:

        g = gradient in x_t of |y - A x0(x_t)|,
        eps <- eps + scale sigma g,     x0 <- x0 - scale sigma^2 / alpha g.

    As sigma^2 / alpha times the Jacobian of x0(x_t) is the covariance C of x_0 given x_t, this
    moves x0 by scale C A^T r / |r|, r = y - A x0. For Gaussian data of which y is measured with
    noise of variance s^2, the posterior is met exactly at scale = |r| / (A C A^T + s^2).

    Costs a differentiation of the denoiser with each evaluation. Put `hqdm.guidance.Clip` inside
    and around: near t = 1 predictions may be far out of range, and so may their gradients.

    Args:
        denoiser: The denoiser to wrap.
        operator: A; see `Operator`.
        measurement: y, of the shape of `operator(images)`, `(B, ...)`, or of that of one image.
        scale: Strength, 0 or more; 0 is no guidance.

    Raises:
        HQDMError: If the scale is negative.
    """

    measurement: Tensor

    def __init__(
        self, denoiser: Denoising, operator: Operator, measurement: Tensor, scale: float
    ) -> None:
        super().__init__()
        if not scale >= 0:
            raise HQDMError(f"posterior sampling needs a scale of 0 or more, got {scale}")
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.operator = operator
        self.register_buffer("measurement", measurement, persistent=False)
        self.scale = scale

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Prediction:
        """See `Denoising`; at scale 0 one plain evaluation.

        Raises:
            HQDMError: If the measurement does not fit the operator.
        """
        if self.scale == 0:
            return self.denoiser(x_t, t, y)

        def distances(x: Tensor) -> tuple[Tensor, Prediction]:
            prediction = self.denoiser(x, t, y)
            return self.distance(prediction.x0).sum(), prediction

        # A functional derivative: dpm-exact differentiates it once more, forward.
        gradient, (x0, eps) = grad(distances, has_aux=True)(x_t)
        alpha, sigma = (expand(level, x_t) for level in self.schedule(t.to(x_t)))
        change = self.scale * sigma * gradient
        return Prediction(x0 - sigma / alpha * change, eps + change)

    def distance(self, x0: Tensor) -> Tensor:
        """How far the measurement is from that of each image, |y - A x0|, `(B,)`."""
        measured = self.operator(x0)
        batch, *one = measured.shape
        if tuple(self.measurement.shape) not in ((batch, *one), (1, *one), (*one,)):
            raise HQDMError(
                f"the measurement has shape {tuple(self.measurement.shape)}, the operator gives "
                f"{tuple(one)} of an image: expected that, for one image or for {batch}"
            )
        residual = self.measurement.to(measured) - measured
        return torch.linalg.vector_norm(residual.flatten(1), dim=1)


class Masked(nn.Module):
    """The known pixels of images, zero elsewhere.

    Args:
        mask: True or 1 where pixels are known, broadcastable to `(C, H, W)`.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask.bool(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Measure images `(B, C, H, W)`, `(B, C, H, W)`."""
        return x * self.mask.to(x)


class Blur(nn.Module):
    """Images blurred by a Gaussian; beyond the edges they go on with their edge pixels.

    Args:
        std: Standard deviation in pixels, above 0.

    Raises:
        HQDMError: If it is not.
    """

    kernel: Tensor

    def __init__(self, std: float) -> None:
        super().__init__()
        if not std > 0:
            raise HQDMError(f"a blur needs a standard deviation above 0, got {std}")
        reach = max(1, round(BLUR_REACH * std))
        offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
        self.register_buffer("kernel", (-(offsets**2) / (2 * std**2)).softmax(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Measure images `(B, C, H, W)` or `(C, H, W)`, same shape out: rows, then columns."""
        reach, channels = len(self.kernel) // 2, x.shape[-3]
        row = self.kernel.to(x).expand(channels, 1, 1, -1)
        padded = F.pad(x, (reach,) * 4, mode="replicate")
        return F.conv2d(F.conv2d(padded, row, groups=channels), row.mT, groups=channels)


def check_mask(image: Tensor, mask: Tensor) -> None:
    """Refuse a mask that does not fit an image.

    Raises:
        HQDMError: If it is of another size.
    """
    try:
        fits = torch.broadcast_shapes(image.shape, mask.shape) == image.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise HQDMError(
            f"the mask is {by_size(mask)}, the image {by_size(image)}: use a mask of that size"
        )


def by_size(image: Tensor) -> str:
    """The size of an image `(..., H, W)`, such as 28x28, with its channels where it has any."""
    *_, height, width = image.shape
    channels = f"{image.shape[-3]} x " if image.ndim > 2 else ""
    return f"{channels}{height}x{width}"
