r"""Recursive sampling from noise around known pixels, for inpainting.

x_1 = mask image + (1 - mask) noise,     x <- f(x)
"""

from typing import Any

import torch
from torch import Tensor

from hqdm.diffusion.schedule import Schedule
from hqdm.guidance.replacement import check_mask
from hqdm.samplers.base import Evaluator, Sampler
from hqdm.utils.memory import to_device
from hqdm.utils.seeds import ImageNoise


class KnownStart(Sampler):
    """A recursive sampler that starts from images with known pixels.

    Args:
        sampler: The sampler.
        image: The image `(C, H, W)`, or one per sample `(B, C, H, W)`.
        mask: True at known pixels; broadcastable to `image`.

    Raises:
        HQDMError: If the size of the mask does not match the image.
    """

    reversible = False
    recursive = True

    def __init__(self, sampler: Sampler, image: Tensor, mask: Tensor) -> None:
        super().__init__(sampler.steps)
        check_mask(image, mask)
        self.sampler, self.image, self.mask = sampler, image, mask
        self.name = sampler.name
        self.evaluations_per_step = sampler.evaluations_per_step

    @property
    def work(self) -> str | None:
        """See `Sampler.work`."""
        return self.sampler.work

    @property
    def settings(self) -> dict[str, Any]:
        """See `Sampler.settings`."""
        return self.sampler.settings

    def grid(self, schedule: Schedule, t_start: float, t_end: float) -> Tensor:
        """The grid of the other sampler."""
        return self.sampler.grid(schedule, t_start, t_end)

    def step(
        self, denoise: Evaluator, x: Tensor, t: Tensor, s: Tensor, state: Any, noise: ImageNoise
    ) -> tuple[Tensor, Any]:
        """See `Sampler.step`; the state is that of the other sampler in a tuple, None at first."""
        if state is None:
            mask = to_device(self.mask, x.device)
            x = torch.where(mask, to_device(self.image, x.device, x.dtype), x)
            state = (self.sampler.init(x),)
        (own,) = state
        x, after = self.sampler.step(denoise, x, t, s, own, noise)
        return x, (after,)
