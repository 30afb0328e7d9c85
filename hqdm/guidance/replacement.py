r"""Replacement of known pixels in the predicted clean images, for inpainting.

x0 <- mask image + (1 - mask) x0,     eps <- (x_t - alpha x0) / sigma.
"""

import torch
from torch import Tensor

from hqdm.diffusion.denoiser import Denoising, step_back
from hqdm.guidance.correction import DataCorrection
from hqdm.utils.errors import HQDMError
from hqdm.utils.memory import to_device


class Replacement(DataCorrection):
    r"""Replaces the known pixels of the predicted clean images by those of a given image.

        x0 <- mask image + (1 - mask) x0,     eps <- (x_t - alpha x0) / sigma.

    The last step of a sampler returns the predicted clean images, so that the known pixels of a
    sample equal the image exactly. The known pixels of x_t keep the noise of the sampler and affect
    the other pixels through the denoiser only; `hqdm.samplers.RePaint` harmonises both.

    Args:
        denoiser: The denoiser to wrap.
        image: The image `(C, H, W)`, or one image per sample `(B, C, H, W)`.
        mask: True or 1 at known pixels; broadcastable to `image`.

    Raises:
        HQDMError: If the size of the mask does not match the image.
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
            HQDMError: If the size of the image differs from that of the predicted images.
        """
        if self.image.shape[-3:] != x0.shape[1:]:
            raise HQDMError(
                f"the known image is {by_size(self.image)}, the model generates {by_size(x0)}: "
                "use an image of that size"
            )
        mask, image = to_device(self.mask, x0.device), to_device(self.image, x0.device, x0.dtype)
        return torch.where(mask, image, x0)

    def previous(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The samples one step back with the known pixels of the image, also in complex states.

        See `hqdm.diffusion.denoiser.Denoiser.previous`.
        """
        return self.correct(step_back(self.denoiser, x_t, t, y))


def check_mask(image: Tensor, mask: Tensor) -> None:
    """Refuse a mask that cannot be broadcast to an image.

    Raises:
        HQDMError: If its size does not match.
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
    """The size of an image `(..., H, W)`, such as 28x28, with its channels if it has any."""
    *_, height, width = image.shape
    channels = f"{image.shape[-3]} x " if image.ndim > 2 else ""
    return f"{channels}{height}x{width}"
