"""Distances between the distributions of real and generated images: FID, KID, MMD, IS, coverage.

The scores are pure functions, computed in float64; FID and IS are those of torchmetrics. Images are
`(N, C, H, W)`, float in [-1, 1] or uint8, see `hqdm.metrics.features.as_float`.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore

from hqdm.metrics.classes import unsure_share
from hqdm.metrics.coverage import coverage_scores
from hqdm.metrics.features import FeatureExtractor
from hqdm.metrics.uncertainty import (
    Estimate,
    fid_infinity,
    gaussian_kernel,
    median_distance,
    mmd,
)
from hqdm.utils.errors import HQDMError
from hqdm.utils.progress import Progress, silent
from hqdm.utils.tables import counted

FEW_IMAGES = 2048
"""With fewer images, FID depends on their number more than on their quality."""

LEAST_IMAGES = 4
"""With fewer images, the halves of FID_infinity have no covariance."""

BATCH_SIZE = 256
IS_SPLITS = 10

Extracted = tuple[Tensor, Tensor]
"""Features `(N, D)` and logits `(N, K)` of images, float64 on the CPU."""


def warn_if_few(n: int) -> str | None:
    """Warn if n images are too few for FID, KID and IS.

    Args:
        n: Number of generated images.

    Returns:
        The text of the warning, to be recorded in the report; None for `FEW_IMAGES` or more.
    """
    if n >= FEW_IMAGES:
        return None
    message = (
        f"{n} images are few for FID, KID and IS: compare only with scores at the same number, "
        f"or use {FEW_IMAGES} or more"
    )
    if constant := constant_score(n):
        message += f"; {constant}"
    warnings.warn(message, UserWarning, stacklevel=2)
    return message


def constant_score(n: int) -> str | None:
    """The warning that the IS of n images is 1 for any images; None if it is not."""
    if n > IS_SPLITS:
        return None
    return (
        f"the IS of {n} images is always 1, since each of its {IS_SPLITS} parts has one image at "
        f"most: use more than {IS_SPLITS}"
    )


def distribution_scores(
    real: Tensor, fake: Tensor, extractor: FeatureExtractor, seed: int = 0
) -> dict[str, float]:
    """Scores of generated images as a set.

    Args:
        real: Real images `(N, C, H, W)`.
        fake: Generated images `(M, C, H, W)`.
        extractor: Network whose features define all but the last three scores, which its class
            probabilities define.
        seed: Random seed of the halves of FID_infinity and the splits of IS.

    Returns:
        `fid`; `fid_infinity` and `fid_error`, `kid` and `kid_error`, `mmd` and `mmd_error` (with
        the Gaussian kernel of the median distance of real images), see
        `hqdm.metrics.uncertainty`; `precision`, `recall`, `density` and `coverage`, see
        `hqdm.metrics.coverage`; `is_mean` and `is_std` (over splits) of `fake`; its `unsure`, see
        `hqdm.metrics.classes`.

    Raises:
        HQDMError: If there are fewer than `LEAST_IMAGES` real or generated images.
    """
    check_numbers(len(real), len(fake))
    return feature_scores(extract(real, extractor), extract(fake, extractor), seed)


def check_numbers(real: int, fake: int) -> None:
    """Check that there are enough images.

    Args:
        real: Number of real images.
        fake: Number of generated images.

    Raises:
        HQDMError: If there are fewer than `LEAST_IMAGES` of a kind.
    """
    for kind, n in {"real": real, "generated": fake}.items():
        if n < LEAST_IMAGES:
            raise HQDMError(
                f"{counted(n, f'{kind} image')}: FID, KID and IS need at least {LEAST_IMAGES}"
            )


def feature_scores(
    real: Extracted, fake: Extracted, seed: int = 0, limit: Estimate | None = None
) -> dict[str, float]:
    """The `distribution_scores` of images whose features are known.

    Args:
        real: Features and logits of `LEAST_IMAGES` real images or more.
        fake: Features and logits of as many generated images or more.
        seed: As for `distribution_scores`.
        limit: FID_infinity, if it is that against other real images than `real`.
    """
    real_features, _ = real
    fake_features, fake_logits = fake
    features = real_features, fake_features
    limit = limit or fid_infinity(*features, seed)
    kid = mmd(*features)
    of_gaussians = mmd(*features, gaussian_kernel(median_distance(real_features)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the IS of")  # see `warn_if_few`
        is_mean, is_std = inception_score(fake_logits, seed=seed)
    return {
        "fid": frechet_distance(*features),
        "fid_infinity": limit.value,
        "fid_error": limit.error,
        "kid": kid.value,
        "kid_error": kid.error,
        "mmd": of_gaussians.value,
        "mmd_error": of_gaussians.error,
        **coverage_scores(*features),
        "is_mean": is_mean,
        "is_std": is_std,
        "unsure": unsure_share(fake_logits),
    }


def real_floor(
    real_a: Tensor, real_b: Tensor, extractor: FeatureExtractor, seed: int = 0
) -> dict[str, float]:
    """The `distribution_scores` of real images in place of generated images.

    No generator can be expected to score better at this number of images.

    Args:
        real_a: Real images `(N, C, H, W)`.
        real_b: Other real images `(N, C, H, W)`, the same number.
        extractor: As for `distribution_scores`.
        seed: As for `distribution_scores`.

    Raises:
        HQDMError: If the numbers of images differ.
    """
    if len(real_a) != len(real_b):
        raise HQDMError(
            f"the floor of {len(real_a)} against {len(real_b)} real images: expected equal numbers "
            "of images, since FID depends on the number"
        )
    return distribution_scores(real_a, real_b, extractor, seed)


@torch.no_grad()
def extract(
    images: Tensor,
    extractor: FeatureExtractor,
    progress: Progress = silent,
    task: str = "features",
) -> Extracted:
    """Features and logits, computed in batches.

    Args:
        images: Images `(N, C, H, W)`.
        extractor: The feature extractor.
        progress: Reports the images.
        task: Name of the task for `progress`.
    """
    device = next((p.device for p in extractor.parameters()), torch.device("cpu"))
    batches, done = [], 0
    progress(task, 0, len(images))
    for x in images.split(BATCH_SIZE):
        batches.append(extractor.features_and_logits(x.to(device)))
        done += len(x)
        progress(task, done, len(images))
    features, logits = zip(*batches, strict=True)
    return torch.cat(features).cpu().double(), torch.cat(logits).cpu().double()


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """FID: the squared Wasserstein-2 distance between Gaussians fitted to two sets of features.

    `|mu_r - mu_f|^2 + tr(S_r + S_f - 2 (S_r S_f)^(1/2))` with unbiased covariances S (Heusel et
    al. 2017, arXiv 1706.08500, eq. 6).

    Args:
        real: Features of real images `(N, D)`.
        fake: Features of generated images `(M, D)`.
    """
    fid = _on_features(FrechetInceptionDistance, real.shape[1])
    fid.update(real, real=True)
    fid.update(fake, real=False)
    return fid.compute().item()


def inception_score(logits: Tensor, seed: int = 0) -> tuple[float, float]:
    """IS: `exp(E_x KL(p(y|x) | p(y)))`, over random parts of the images.

    Salimans et al. 2016 (arXiv 1606.03498), section 4. A part of one image scores 1; for
    `IS_SPLITS` images or fewer, of which each is a part, a `UserWarning` is issued.

    Args:
        logits: Logits of generated images `(N, K)`.
        seed: Random seed of the parts.

    Returns:
        Mean and standard deviation over the `IS_SPLITS` parts (or N parts, if N is smaller).
    """
    if message := constant_score(len(logits)):
        warnings.warn(message, UserWarning, stacklevel=2)
    score = _on_features(InceptionScore, logits.shape[1], splits=IS_SPLITS)
    score.update(logits)
    with _seeded(seed):
        mean, std = score.compute()
    return mean.item(), std.item()


class _Features(nn.Module):
    """An extractor for torchmetrics that returns precomputed features unchanged."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def _on_features(metric: type[Metric], num_features: int, **arguments: int) -> Metric:
    """A metric of torchmetrics that takes features in place of images."""
    with warnings.catch_warnings():
        # Each metric warns that it stores all features, which are in memory already.
        warnings.simplefilter("ignore", UserWarning)
        return metric(feature=_Features(num_features), **arguments)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator, which torchmetrics uses; restore it on exit."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
