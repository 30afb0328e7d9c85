"""The scoring protocol of a model, and the real images for comparison."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hqdm.data.images import load_images
from hqdm.data.sets import ImageSet
from hqdm.diffusion.denoiser import Denoiser
from hqdm.generation.sampling import Samples, sample_images
from hqdm.metrics.cache import reference_features
from hqdm.metrics.distribution import (
    Extracted,
    check_numbers,
    extract,
    feature_scores,
    warn_if_few,
)
from hqdm.metrics.features import FeatureExtractor
from hqdm.metrics.likelihood import feature_likelihood_divergence
from hqdm.metrics.uncertainty import HALF_WIDTH, Estimate, fid_infinity
from hqdm.samplers import Sampler
from hqdm.storage.digests import digest_of
from hqdm.utils.checks import whole
from hqdm.utils.pixels import to_float
from hqdm.utils.progress import Progress, silent, stepwise


def images_for(
    denoiser: Denoiser, data: str, split: str, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """The images of a data set in the size of a model, and their labels if the model takes labels.

    Args:
        denoiser: The model.
        data: Name of the data set.
        split: The split.
        **options: Options of `hqdm.data.load_images`.

    Returns:
        Images `(N, C, H, W)` in [-1, 1], and labels `(N,)` or None.

    Raises:
        HQDMError: If the data cannot be used.
    """
    channels, size, _ = denoiser.image_shape
    found = load_images(data, split, size=size, channels=channels, **options)
    return to_float(found.images), None if denoiser.n_classes is None else found.labels


@dataclass(frozen=True)
class ScoringProtocol:
    """The settings with which a model is scored.

    Attributes:
        data: Name of the data set.
        n: Number of samples.
        extractor: The feature extractor of FID, KID and IS; None is that of the data set.
        fid_weights: The weights for `extractor="inception"`, a file, or `"dinov2"`, a folder.
        restore_t: The time to which test images are noised for SSIM and PSNR.
        guidance: Scale of classifier-free guidance; 1 is none.
        seed: Random seed.
        batch_size: Images per batch.
        offline: Do not access the network.
        skip_bad: Leave out real images that cannot be read.
        classes: The classes of the real images, see `hqdm.data.load_images`; None takes all.
        fld: Whether the report has the feature likelihood divergence.

    Raises:
        HQDMError: If the number of samples is not a whole number from 1.
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
    skip_bad: bool = False
    classes: tuple[int, ...] | None = None
    fld: bool = False

    def __post_init__(self) -> None:
        whole("n", self.n, 1)

    def draw(self, denoiser: Denoiser, sampler: Sampler, progress: Progress = silent) -> Samples:
        """Generate the samples to score; raises as `sample_images`."""
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
    """The real images with which samples are compared.

    Attributes:
        train: The training split.
        test: The test split.
        reference: The reference images of the scores.
        other: Other real images, as many as the reference; their scores are the floor.
    """

    train: ImageSet
    test: ImageSet
    reference: Tensor
    other: Tensor

    @classmethod
    def load(
        cls,
        protocol: ScoringProtocol,
        shape: tuple[int, int, int],
        progress: Progress = silent,
    ) -> "RealImages":
        """Load both splits and select two disjoint groups of n images.

        The reference is a subset of the training split. The other images are those of the test
        split and, if these are too few, of the rest of the training split. A data set of fewer than
        2n images gives two groups of at most half its size.

        Raises:
            HQDMError: If a split cannot be loaded, or there are too few images for the scores.
        """
        channels, size, _ = shape
        train, test = (
            load_images(
                protocol.data,
                split,
                size=size,
                channels=channels,
                classes=protocol.classes,
                offline=protocol.offline,
                skip_bad=protocol.skip_bad,
                progress=progress,
            )
            for split in ("train", "test")
        )
        n = min(protocol.n, (len(train) + len(test)) // 2, len(train))
        check_numbers(n, protocol.n)
        spread = spread_over(len(train), n)
        rest = torch.ones(len(train), dtype=torch.bool)
        rest[spread] = False
        other = torch.cat([test.images, train.images[rest]])[:n]
        return cls(train, test, train.images[spread], other)

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 digests of both splits, in the size of the model."""
        sets = {"train": self.train, "test": self.test}
        return {name: digest_of(None, {"": kept.images.numpy()}) for name, kept in sets.items()}


class Scorer:
    """Scores of sets against real images, whose features are computed once.

    FID in the limit of many images is that against all training images, the other scores are those
    against the reference images.

    Args:
        real: The real images.
        extractor: The feature extractor.
        seed: Random seed of the scores.
        progress: Reports the images whose features are computed.
    """

    def __init__(
        self,
        real: RealImages,
        extractor: FeatureExtractor,
        seed: int,
        progress: Progress = silent,
    ) -> None:
        self.real, self.extractor, self.seed, self.progress = real, extractor, seed, progress
        self.reference = reference_features(real.reference, extractor, progress)
        self.other = reference_features(real.other, extractor, progress)
        self.every, _ = reference_features(real.train.images, extractor, progress)

    def features(self, images: Tensor) -> Extracted:
        """Features and logits of generated images `(N, C, H, W)`."""
        return extract(images, self.extractor, self.progress)

    def scores(self, images: Tensor) -> dict[str, float]:
        """The `hqdm.metrics.distribution_scores` of generated images `(N, C, H, W)`."""
        return self.scores_of(self.features(images))

    def floor(self) -> dict[str, float]:
        """The scores of the other real images."""
        return self.scores_of(self.other)

    def limit(self, features: Extracted) -> Estimate:
        """FID in the limit of many images, of images whose features are known."""
        return fid_infinity(self.every, features[0], self.seed)

    def likelihood_divergence(self, features: Extracted) -> float:
        """FLD of images whose features are known, by all test images.

        The mixture is fitted to twice as many training images as there are generated ones, so that
        the other one has as many components.
        """
        test, _ = reference_features(self.real.test.images, self.extractor, self.progress)
        fitted = stepwise(self.progress, "FLD", 1)
        train = self.every[spread_over(len(self.every), 2 * len(features[0]))]
        found = feature_likelihood_divergence(train, test, features[0], self.seed)
        fitted()
        return found

    def scores_of(self, features: Extracted, limit: Estimate | None = None) -> dict[str, float]:
        """The scores of images whose features are known.

        Args:
            features: Features and logits.
            limit: Their `limit`, if it is known, too.
        """
        with_scores = stepwise(self.progress, "FID, KID and IS", 1)
        limit = limit or self.limit(features)
        found = feature_scores(self.reference, features, self.seed, limit)
        with_scores()
        return found


def spread_over(n_all: int, n: int) -> Tensor:
    """Indices of n images at equal distances in a set; all of a smaller one.

    Args:
        n_all: Number of images of the set.
        n: Number of indices.
    """
    n = min(n, n_all)
    return torch.arange(n) * n_all // n


def with_interval(value: float, error: float) -> str:
    """A value with half the width of its interval, from its standard error."""
    return f"{value:.3f} ± {HALF_WIDTH * error:.3f}"


def limit_text(scores: Mapping[str, float]) -> str:
    """FID_infinity with its interval."""
    return with_interval(scores["fid_infinity"], scores["fid_error"])


def size_warnings(protocol: ScoringProtocol, real: RealImages) -> list[str]:
    """Warnings about too few images; each is also issued as a `UserWarning`."""
    few, small = warn_if_few(protocol.n), None
    if len(real.other) < protocol.n:
        small = (
            f"{protocol.data} has too few images for a floor at n = {protocol.n}: reference and "
            f"floor use {len(real.other)}"
        )
        warnings.warn(small, UserWarning, stacklevel=2)
    return [line for line in (few, small) if line]
