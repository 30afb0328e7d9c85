r"""Diffusion posterior sampling (Chung et al. 2023): images of which y = A x_0 was measured.

A is any callable that is linear in the images and differentiable, such as those of
`hqdm.guidance.operators`, or `torch.nn.AvgPool2d(factor)` for super-resolution.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import grad

from hqdm.diffusion.denoiser import Denoising
from hqdm.diffusion.objective import Prediction, expand
from hqdm.utils.errors import HQDMError

Operator = Callable[[Tensor], Tensor]
"""A linear measurement of images `(B, C, H, W)`, `(B, ...)`."""


class PosteriorSampling(nn.Module):
    r"""Diffusion posterior sampling (Chung et al. 2023) for a measurement y = A x_0.

    The score of x_t given y is that of x_t and the gradient of log p(y | x_t), which is taken to
    fall with the distance between y and what would be measured of the predicted images:

        g = gradient in x_t of |y - A x0(x_t)|,
        eps <- eps + scale sigma g,     x0 <- x0 - scale sigma^2 / alpha g.

    As sigma^2 / alpha times the Jacobian of x0(x_t) is the covariance C of x_0 given x_t, this
    moves x0 by scale C A^T r / |r|, r = y - A x0. For Gaussian data of which y is measured with
    noise of variance s^2, the posterior is met exactly at scale = |r| / (A C A^T + s^2).

    Costs a differentiation of the denoiser with each evaluation. Put `hqdm.guidance.clip` inside
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
