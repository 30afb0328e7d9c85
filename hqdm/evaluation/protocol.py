"""How a model is scored, and the real images that it is compared with."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from hqdm.data.images import ImageSet, load_images
from hqdm.diffusion.denoiser import Denoiser
from hqdm.generation.sampling import Samples, sample_images
from hqdm.metrics.distribution import warn_if_few
from hqdm.samplers import Sampler
from hqdm.utils.progress import Progress, silent


@dataclass(frozen=True)
class ScoringProtocol:
    """How a model is scored.

    Attributes:
        data: The data set.
        n: How many samples are drawn.
        extractor: Whose features FID, KID and IS use; None picks one for the data set.
        fid_weights: The weights of the Inception network, for `extractor="inception"`.
        restore_t: The time to which test images are noised for SSIM and PSNR.
        guidance: Scale of classifier-free guidance; 1 is none.
        seed: Key of all noise.
        batch_size: Images at a time.
        offline: Never touch the network.
    """

    data: str
    n: int = 2048
    extractor: str | None = None
    fid_weights: str | None = None
    restore_t: float = 0.5
    guidance: float = 1.0
    seed: int = 0
    batch_size: int = 256
    offline: bool = False

    def draw(self, denoiser: Denoiser, sampler: Sampler, progress: Progress = silent) -> Samples:
        """The samples to score; errors as for `sample_images`."""
        return sample_images(
            denoiser,
            sampler,
            self.n,
            seed=self.seed,
            guidance=self.guidance,
            batch_size=self.batch_size,
            progress=progress,
        )


@dataclass(frozen=True)
class RealImages:
    """The real images that samples are compared with.

    Attributes:
        train: The training split.
        test: The test split.
        reference: What samples are scored against.
        other: As many other real images, for the floor.
    """

    train: ImageSet
    test: ImageSet
    reference: Tensor
    other: Tensor

    @classmethod
    def load(cls, protocol: ScoringProtocol, shape: tuple[int, int, int]) -> "RealImages":
        """Load both splits and set two disjoint groups of n images aside.

        The reference comes from the training split, the others from the test split and, where
        that is too small, from the rest of the training split. A data set of fewer than 2n images
        gives two groups of half of it.
        """
        channels, size, _ = shape
        train, test = (
            load_images(
                protocol.data, split, size=size, channels=channels, offline=protocol.offline
            )
            for split in ("train", "test")
        )
        n = min(protocol.n, (len(train) + len(test)) // 2, len(train))
        spread = torch.arange(n) * len(train) // n
        rest = torch.ones(len(train), dtype=torch.bool)
        rest[spread] = False
        other = torch.cat([test.images, train.images[rest]])[:n]
        return cls(train, test, train.images[spread], other)


def size_warnings(protocol: ScoringProtocol, real: RealImages) -> list[str]:
    """What to bear in mind where there are few images; each is also a warning."""
    few, small = warn_if_few(protocol.n), None
    if len(real.other) < protocol.n:
        small = (
            f"{protocol.data} has too few images for a floor at n = {protocol.n}: reference and "
            f"floor use {len(real.other)}"
        )
        warnings.warn(small, UserWarning, stacklevel=2)
    return [line for line in (few, small) if line]
