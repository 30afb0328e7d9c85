"""Samplers: from noise to images through a denoiser."""

from hqdm.errors import unknown
from hqdm.samplers.ancestral import DDPM
from hqdm.samplers.base import Result, Sampler
from hqdm.samplers.ddim import DDIM
from hqdm.samplers.noise import ImageNoise

SAMPLERS: dict[str, type[Sampler]] = {sampler.name: sampler for sampler in (DDPM, DDIM)}

__all__ = ["DDIM", "DDPM", "SAMPLERS", "ImageNoise", "Result", "Sampler", "build_sampler"]


def build_sampler(name: str, steps: int | None = None) -> Sampler:
    """The sampler of that name.

    Args:
        name: A key of `SAMPLERS`.
        steps: Number of steps; the sampler's own default where None.

    Raises:
        HQDMError: If the name is unknown or there are no steps.
    """
    if name not in SAMPLERS:
        raise unknown("sampler", name, SAMPLERS)
    return SAMPLERS[name](steps)
