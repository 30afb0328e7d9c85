"""Gaussian images of which a part is known, with a denoiser in closed form."""

import torch

from hqdm.diffusion.analytic import GaussianDenoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.guidance.operators import Blur, Masked
from hqdm.samplers.registry import SAMPLERS
from hqdm.utils.seeds import ImageNoise

MEAN, VARIANCE = 0.2, 0.5


SHAPE = (2, 5, 4)


IMAGE = ImageNoise(11, 1).draw(SHAPE)[0].clamp(-1, 1)


MASK = torch.arange(20).view(5, 4) % 3 > 0


NETWORK = [name for name, entry in SAMPLERS.items() if entry.network and entry.objective is None]


FIXED = [name for name in NETWORK if not SAMPLERS[name].adaptive]


OPERATORS = {
    "mask": Masked(MASK),
    "super-resolution": torch.nn.AvgPool2d(2),
    "blur": Blur(1.2),
}


def gaussian(dtype=torch.float64, schedule=None):
    levels = (torch.tensor(value, dtype=dtype) for value in (MEAN, VARIANCE))
    return GaussianDenoiser(*levels, schedule or CosineSchedule())


def noisy(n=3, seed=0):
    return ImageNoise(seed, n).draw(SHAPE).double()
