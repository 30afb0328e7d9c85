r"""Diffusion posterior sampling (Chung et al. 2023) of images given a measurement y = A x_0.

A is any callable that is linear in the images and differentiable, such as the operators of
`hqdm.guidance.operators`, or `torch.nn.AvgPool2d(factor)` for super-resolution.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import grad

from hqdm.diffusion.denoiser import Denoising, differentiable
from hqdm.diffusion.objective import Levels, Prediction
from hqdm.utils.errors import HQDMError
from hqdm.utils.memory import to_device

Operator = Callable[[Tensor], Tensor]
"""A linear map from images `(B, C, H, W)` to measurements `(B, ...)`."""


class PosteriorSampling(nn.Module):
    r"""Diffusion posterior sampling (Chung et al. 2023) for a measurement y = A x_0.

    The score of x_t given y is the sum of the score of x_t and the gradient of log p(y | x_t). The
    latter is modelled as decreasing with the distance between y and the measurement of the
    predicted images:

        g = gradient in x_t of |y - A x0(x_t)|,
        eps <- eps + scale sigma g,     x0 <- x0 - scale sigma^2 / alpha g.

    Since sigma^2 / alpha times the Jacobian of x0(x_t) is the covariance C of x_0 given x_t, this
    moves x0 by scale C A^T r / |r|, r = y - A x0. For Gaussian data and a measurement y with noise
    of variance s^2, the posterior is exact for scale = |r| / (A C A^T + s^2).

    Each evaluation includes a differentiation of the denoiser, which is computed without autocast,
    and in float32 for a denoiser in half precision. Apply `hqdm.guidance.clip.Clip` both
    to the wrapped denoiser and to the result: near t = 1 predictions and their gradients may be far
    out of range.

    Args:
        denoiser: The denoiser to wrap.
        operator: The operator A; see `Operator`.
        measurement: The measurement y, with the shape of `operator(images)`, `(B, ...)`, or of the
            measurement of one image.
        scale: Guidance scale, 0 or more; 0 is no guidance.

    Raises:
        HQDMError: If the scale is negative, or alpha is 0 at t = 1.
    """

    measurement: Tensor

    def __init__(
        self, denoiser: Denoising, operator: Operator, measurement: Tensor, scale: float
    ) -> None:
        super().__init__()
        if not scale >= 0:
            raise HQDMError(f"posterior sampling needs a scale of 0 or more, got {scale}")
        if denoiser.schedule.pure_noise:
            raise HQDMError(
                f"posterior sampling divides by alpha, which is 0 at t = 1 of {denoiser.schedule}"
            )
        self.denoiser = differentiable(denoiser)
        self.schedule = denoiser.schedule
        self.operator = operator
        self.register_buffer("measurement", measurement, persistent=False)
        self.scale = scale

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Prediction:
        """See `Denoising`; at scale 0 one evaluation without guidance.

        Raises:
            HQDMError: If the shape of the measurement does not match the operator.
        """
        if self.scale == 0:
            return self.denoiser(x_t, t, y)

        def distances(x: Tensor) -> tuple[Tensor, Prediction]:
            prediction = self.denoiser(x, t, y)
            return self.distance(prediction.x0).sum(), prediction

        # torch.func, since dpm-exact differentiates the result again in forward mode.
        with torch.autocast(x_t.device.type, enabled=False):
            gradient, (x0, eps) = grad(distances, has_aux=True)(x_t)
        _, _, alpha, sigma = Levels.at(self.schedule, t, x_t)
        change = self.scale * sigma * gradient
        moved = x0 - sigma / alpha * change, eps + change
        return Prediction(*(part.to(x_t.dtype) for part in moved))

    def distance(self, x0: Tensor) -> Tensor:
        """The distance |y - A x0| of the measurement from that of each image, `(B,)`."""
        measured = self.operator(x0)
        batch, *one = measured.shape
        if tuple(self.measurement.shape) not in ((batch, *one), (1, *one), (*one,)):
            raise HQDMError(
                f"the measurement has shape {tuple(self.measurement.shape)}, the operator gives "
                f"{tuple(one)} of an image: expected that, for one image or for {batch}"
            )
        residual = to_device(self.measurement, measured.device, measured.dtype) - measured
        return torch.linalg.vector_norm(residual.flatten(1), dim=1)
