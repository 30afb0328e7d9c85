r"""Feature likelihood divergence: fidelity, diversity and novelty in one number.

A mixture of normal distributions is centred at the n generated features,

    p(x) = (1 / n) sum_j N(x; g_j, s_j^2 I),

and its variances s_j^2 are fitted to training features by maximum likelihood. With the mean
log-likelihood of test features in D dimensions, in per cent,

    FLD = -(100 / D) mean log p(x_test) - C,

where C is the same for a mixture centred at one half of the training features and fitted to the
other (Jiralerspong, Bose, Gemp, Qin, Bachrach and Gidel 2023, arXiv 2302.04440): 0 is as good as
further training images, more is worse. Copies of training images take variances of 0, with which
test images have no likelihood. All features are standardised by those of the training images.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError

LEAST = 4  # images of a set
ITERATIONS = 50
"""Steps of expectation maximisation."""

FLOOR = 1e-6
"""Least variance of a component, that of a feature being 1."""

ROWS = 1024  # of a matrix of distances at once


def feature_likelihood_divergence(
    train: Tensor, test: Tensor, fake: Tensor, seed: int = 0
) -> float:
    """FLD of generated images.

    Args:
        train: Features of training images, `(K, D)`.
        test: Features of test images, `(M, D)`.
        fake: Features of generated images, `(N, D)`.
        seed: Random seed of the halves of the training features.

    Raises:
        HQDMError: If a set has fewer than `LEAST` images or its features another number.
    """
    whole("seed", seed)
    shapes = [tuple(part.shape) for part in (train, test, fake)]
    if any(len(shape) != 2 or shape[0] < LEAST or shape[1] != shapes[0][1] for shape in shapes):
        raise HQDMError(
            f"FLD of features {shapes[2]} by {shapes[0]} and {shapes[1]}: expected (N, D) with N "
            f"from {LEAST} each"
        )
    mean, deviation = train.double().mean(0), train.double().std(0).clamp(min=1e-12)
    train, test, fake = ((part.double() - mean) / deviation for part in (train, test, fake))
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    size = min(len(fake), len(train) // 2)
    half, rest = train[order[:size]], train[order[size:]]
    likelihoods = [
        mean_log_likelihood(test, centres, fit_variances(points, centres))
        for centres, points in ((half, rest), (fake, train))
    ]
    return 100 / train.shape[1] * (likelihoods[0] - likelihoods[1])


def fit_variances(points: Tensor, centres: Tensor) -> Tensor:
    """The variances of a mixture with given centres, by maximum likelihood.

    Expectation maximisation from the mean squared distance to the nearest centre; a component
    without points keeps its variance.

    Args:
        points: Points `(M, D)`.
        centres: Centres `(N, D)`.

    Returns:
        Variances `(N,)`, at least `FLOOR`.
    """
    dim = points.shape[1]
    nearest = torch.cat([squares.amin(1) for squares in _squares(points, centres)])
    variances = nearest.mean().div(dim).clamp(min=FLOOR).repeat(len(centres))
    for _ in range(ITERATIONS):
        shares, spread = torch.zeros_like(variances), torch.zeros_like(variances)
        for squares in _squares(points, centres):
            responsibilities = _log_parts(squares, variances, dim).softmax(1)
            shares += responsibilities.sum(0)
            spread += (responsibilities * squares).sum(0)
        found = (spread / (dim * shares)).clamp(min=FLOOR)
        variances = torch.where(shares > 1e-12, found, variances)
    return variances


def mean_log_likelihood(points: Tensor, centres: Tensor, variances: Tensor) -> float:
    """The mean of log p over points `(M, D)` for centres `(N, D)` and variances `(N,)`."""
    parts = [
        _log_parts(squares, variances, points.shape[1]).logsumexp(1)
        for squares in _squares(points, centres)
    ]
    return float(torch.cat(parts).mean() - torch.tensor(len(centres)).double().log())


def _squares(points: Tensor, centres: Tensor) -> Iterator[Tensor]:
    """Squared distances `(rows, N)`, some rows at a time."""
    for part in points.split(ROWS):
        yield torch.cdist(part, centres, compute_mode="donot_use_mm_for_euclid_dist").square()


def _log_parts(squares: Tensor, variances: Tensor, dim: int) -> Tensor:
    """The log N(x; g_j, s_j^2 I) `(rows, N)` by squared distances."""
    return -dim / 2 * (2 * torch.pi * variances).log() - squares / (2 * variances)
