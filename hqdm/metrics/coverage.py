r"""Precision, recall, density and coverage: do the images look real, and are all kinds there?

With r_k(x) the distance of x to the k-th nearest other member of its set, and balls B(x, r_k(x)),

    precision    share of generated images in the ball of a real one
    recall       share of real images in the ball of a generated one
    density      mean number of balls of real images around a generated one, divided by k
    coverage     share of the balls of real images with a generated image

in the features of an extractor: Kynkaanniemi et al. 2019 (arXiv 1904.06991) and Naeem et al. 2020
(arXiv 2002.09797), equations 3 and 4 of the latter. Repeated images lower recall and coverage; FID
hardly notices them.
"""

import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from hqdm.utils.errors import HQDMError

NEIGHBOURS = 5  # of fewer images all others
ROWS = 1024  # of a matrix of distances at once


def coverage_scores(real: Tensor, fake: Tensor) -> dict[str, float]:
    """Precision, recall, density and coverage of generated images.

    All depend on the numbers of images: compare with real images in place of the generated ones.

    Args:
        real: Features of real images `(M, D)`.
        fake: Features of generated images `(N, D)`.

    Returns:
        `precision`, `recall`, `density`, `coverage`.

    Raises:
        HQDMError: If a set has fewer than two images, or the features differ in number.
    """
    alike = real.ndim == 2 and fake.ndim == 2 and real.shape[1] == fake.shape[1]
    if not alike or min(len(real), len(fake)) < 2:
        raise HQDMError(
            f"coverage of features {tuple(real.shape)} by {tuple(fake.shape)}: expected (M, D) and "
            "(N, D) with M and N from 2"
        )
    k = min(NEIGHBOURS, len(real) - 1, len(fake) - 1)
    real, fake = real.double(), fake.double()
    real_radii, fake_radii = radii(real, k), radii(fake, k)
    counts, covered, recalled = [], [], []
    for part, own in zip(real.split(ROWS), real_radii.split(ROWS), strict=True):
        distances = torch.cdist(part, fake)
        inside = distances <= own[:, None]
        counts.append(inside.sum(0))
        covered.append(inside.any(1))
        recalled.append((distances <= fake_radii).any(1))
    balls = torch.stack(counts).sum(0)
    return {
        "precision": float((balls > 0).double().mean()),
        "recall": float(torch.cat(recalled).double().mean()),
        "density": float(balls.double().mean() / k),
        "coverage": float(torch.cat(covered).double().mean()),
    }


def radii(features: Tensor, k: int) -> Tensor:
    """The distance of each vector to the k-th nearest other one, `(N, D)` to `(N,)`."""
    found = NearestNeighbors(n_neighbors=k).fit(features.numpy())
    return torch.from_numpy(found.kneighbors()[0][:, -1])
