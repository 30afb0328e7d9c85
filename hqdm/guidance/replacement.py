r"""Denoisers around denoisers for images of which something is known: some pixels, or y = A x_0.

A is any callable that is linear in the images and differentiable: `Masked` and `Blur` here,
`torch.nn.AvgPool2d(factor)` for super-resolution.
"""

import torch
from torch import Tensor

from hqdm.diffusion.denoiser import Denoising
from hqdm.guidance.correction import DataCorrection
from hqdm.utils.errors import HQDMError


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
