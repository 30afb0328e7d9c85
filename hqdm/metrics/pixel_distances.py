r"""Distances between sets of images as vectors of pixels, without a feature extractor.

    energy distance    2 E|X - Y| - E|X - X'| - E|Y - Y'|         (Szekely and Rizzo 2013, eq. 1)
    pixel FID          |mu_x - mu_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2))

of pixels in [0, 1]. The expectations are means over all pairs of images, also of an image with
itself (the V-statistic): the result is not negative, zero for equal sets only, and n images of the
same distribution as infinitely many others have E|X - X'| / n on average. The pixel FID is the
squared Wasserstein-2 distance between the Gaussians of equal means and covariances S, as the FID is
in features. Both are computed in float64.

For n images of d pixels, S = R^T R with R of min(n, d) rows, and

    tr (S_x S_y)^(1/2) = sum of the singular values of R_x R_y^T,

so that covariances of fewer images than pixels, which are singular, need no special care.
"""

import torch
from torch import Tensor

from hqdm.metrics.features import as_float
from hqdm.utils.errors import HQDMError

NUMBERS_AT_ONCE = 2**24
"""Number of distances, or of their coordinates, in memory at once: 128 MB."""

NEAR = 0.01
"""Distance of vectors relative to the sum of their norms, below which it is computed directly."""


def pixel_scores(real: Tensor, fake: Tensor) -> dict[str, float]:
    """Energy distance and pixel FID of generated images.

    Both depend on the numbers of images: compare with real images in place of the generated ones,
    at the same numbers.

    Args:
        real: Real images `(N, C, H, W)`, see `hqdm.metrics.features.as_float`.
        fake: Generated images `(M, C, H, W)`.

    Returns:
        `energy_distance` and `pixel_fid`.

    Raises:
        HQDMError: If the shapes differ, or there are fewer than two images of a kind.
    """
    x, y = vectors(real), vectors(fake)
    return {"energy_distance": energy_distance(x, y), "pixel_fid": gaussian_distance(x, y)}


def vectors(images: Tensor) -> Tensor:
    """Images `(N, C, H, W)` as vectors of pixels in [0, 1], `(N, C H W)` in float64."""
    return ((as_float(images).double() + 1) / 2).flatten(1)


def energy_distance(x: Tensor, y: Tensor) -> float:
    """The energy distance of two sets of vectors, see the head of this module.

    In one dimension it is the square of `scipy.stats.energy_distance`.

    Args:
        x: Vectors `(N, D)`.
        y: Vectors `(M, D)`.

    Raises:
        HQDMError: If a set is empty, or their dimensions differ.
    """
    _check(x, y, 1)
    x, y = x.double(), y.double()
    centre = y.mean(0)  # differences of large numbers lose digits
    x, y = x - centre, y - centre
    return 2 * _mean_distance(x, y) - _mean_distance(x, x) - _mean_distance(y, y)


def _mean_distance(x: Tensor, y: Tensor) -> float:
    """The mean Euclidean distance over all pairs."""
    rows = max(1, NUMBERS_AT_ONCE // len(y))
    total = torch.stack([_distances(part, y).sum() for part in x.split(rows)]).sum()
    return float(total) / (len(x) * len(y))


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """The Euclidean distances of all pairs, `(N, D)` and `(M, D)` to `(N, M)`.

    By |x|^2 + |y|^2 - 2 x y, and directly, at thirty times the cost, for near vectors, where the
    error eps |x|^2 / |x - y| of that is not small.
    """
    found = torch.cdist(x, y, compute_mode="use_mm_for_euclid_dist")
    norms = torch.linalg.vector_norm(x, dim=1)[:, None] + torch.linalg.vector_norm(y, dim=1)
    near = (found < NEAR * norms).nonzero()
    for i, j in (part.T for part in near.split(max(1, NUMBERS_AT_ONCE // x.shape[1]))):
        found[i, j] = torch.linalg.vector_norm(x[i] - y[j], dim=1)
    return found


def gaussian_distance(x: Tensor, y: Tensor) -> float:
    """The squared Wasserstein-2 distance of Gaussians fitted to two sets of vectors.

    Args:
        x: Vectors `(N, D)`.
        y: Vectors `(M, D)`; covariances are unbiased, divided by N - 1 and M - 1.

    Raises:
        HQDMError: If a set has fewer than two vectors, or their dimensions differ.
    """
    _check(x, y, 2)
    x, y = x.double(), y.double()
    means = (x.mean(0) - y.mean(0)).square().sum()
    a, b = _root_of_covariance(x), _root_of_covariance(y)
    traces = a.square().sum() + b.square().sum()
    return float(means + traces - 2 * torch.linalg.svdvals(a @ b.T).sum())


def _root_of_covariance(x: Tensor) -> Tensor:
    """R with R^T R the covariance, `(min(N, D), D)`."""
    centred = (x - x.mean(0)) / (len(x) - 1) ** 0.5
    return centred if len(x) <= x.shape[1] else torch.linalg.qr(centred, mode="r").R


def _check(x: Tensor, y: Tensor, least: int) -> None:
    """Refuse sets that cannot be compared."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < least:
        raise HQDMError(
            f"distance of sets of shapes {tuple(x.shape)} and {tuple(y.shape)}: expected {least} "
            "or more vectors in each, of one length"
        )
