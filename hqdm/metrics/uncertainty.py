r"""Intervals of the FID and of the squared maximum mean discrepancy (MMD) of generated images.

For features x_1, ..., x_n of generated images, with mean mu and covariance S, and those of the real
images held fixed (mu_r, S_r = R R), the influence of an image on the FID is its derivative
with respect to the weight of the image in mean and covariance,

    I(x) = 2 (mu - mu_r).(x - mu) + (x - mu)^T G (x - mu) - tr(G S),    G = 1 - R (R S R)^(-1/2) R,

and the standard error is the standard deviation of I(x_i) divided by sqrt(n): the infinitesimal
jackknife, to which the bootstrap tends for many resamples (Efron 1982, The jackknife, the bootstrap
and other resampling plans, chapter 6). The errors of two sets from the same noise are correlated;
that of their difference follows from the differences I_a(x_i) - I_b(x_i), image by image.

The FID of n images has a bias of c / n. FID_infinity (Chong and Forsyth 2020, arXiv 1911.07023) is
its limit for many images, here 2 FID_n - FID_(n/2) with the mean FID of random halves, in which the
first-order errors of a set and of its halves are the same.

    MMD^2 = mean_(i != j) k(x_i, x_j) + mean_(i != j) k(r_i, r_j) - 2 mean k(x_i, r_j)

is an unbiased U-statistic of m real and n generated images. With its projections on single images,
a_i = 2 (mean_(j != i) k(x_i, x_j) - mean_j k(x_i, r_j)) and b_j alike, its squared standard error
is var(a) / n + var(b) / m (Hoeffding 1948).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.stats import norm
from torch import Tensor

from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import generator

LEVEL = 0.95
HALF_WIDTH = float(norm.ppf((1 + LEVEL) / 2))
"""Half of the width of an interval of `LEVEL`, in standard errors."""
SPLITS = 4  # random halves for the limit of the FID
ROUNDING = 1e-12  # of the eigenvalues of a covariance, relative to the largest
LEAST = 4  # images, of which each half has a covariance
MEASURED = 1024  # real images of the median distance
ROWS = 1024  # of a matrix of kernels at once

Kernel = Callable[[Tensor, Tensor], Tensor]
"""From vectors `(N, D)` and `(M, D)` to `(N, M)`."""


@dataclass(frozen=True)
class Estimate:
    """A score with its standard error.

    Attributes:
        value: The score, without the bias of a finite number of images.
        error: Its standard error.
        influences: What each generated image contributes to the error, `(n,)`; its standard
            deviation divided by sqrt(n) is the part of the error that comes from these images.
    """

    value: float
    error: float
    influences: Tensor

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of `LEVEL`, for a normal distribution of the errors."""
        half = HALF_WIDTH * self.error
        return self.value - half, self.value + half


@dataclass(frozen=True)
class Gaussian:
    """Mean `(D,)` and unbiased covariance `(D, D)` of features."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Gaussian":
        """That of features `(N, D)`."""
        centred = features - features.mean(0)
        return cls(features.mean(0), centred.T @ centred / (len(features) - 1))


def fid_infinity(real: Tensor, fake: Tensor, seed: int = 0) -> Estimate:
    """The FID in the limit of many generated images, with its standard error.

    Below about 16 images per feature the extrapolation is too low by a part of the error.

    Args:
        real: Features of real images `(M, D)`, which are taken as all there are.
        fake: Features of generated images `(N, D)`.
        seed: Random seed of the halves.

    Raises:
        HQDMError: If there are fewer than `LEAST` generated images or two real ones, the features
            differ in number, or the seed is negative.
    """
    _check(real, fake)
    whole("seed", seed)
    reference, x = Gaussian.of(real.double()), fake.double()
    root = _power(reference.covariance, 0.5)
    own = Gaussian.of(x)
    distance = _distance(reference, root, own)
    halves = []
    for split in range(SPLITS):
        order = torch.randperm(len(x), generator=generator(seed, split))
        halves += [_distance(reference, root, Gaussian.of(x[part])) for part in order.chunk(2)]
    value = 2 * distance - sum(halves) / len(halves)
    influences = _influences(reference, root, own, x)
    return Estimate(value, _standard_error(influences), influences)


def _distance(real: Gaussian, root: Tensor, fake: Gaussian) -> float:
    """The FID, from the root of the covariance of the real features."""
    inner = torch.linalg.eigvalsh(root @ fake.covariance @ root).clamp_min(0).sqrt().sum()
    traces = real.covariance.trace() + fake.covariance.trace()
    return float((real.mean - fake.mean).square().sum() + traces - 2 * inner)


def _influences(real: Gaussian, root: Tensor, fake: Gaussian, x: Tensor) -> Tensor:
    """I(x_i), see the head of this module, `(N,)`."""
    slope = -root @ _power(root @ fake.covariance @ root, -0.5) @ root
    slope.diagonal().add_(1)
    centred = x - fake.mean
    linear = 2 * centred @ (fake.mean - real.mean)
    quadratic = ((centred @ slope) * centred).sum(1)
    return linear + quadratic - (slope * fake.covariance).sum()


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """A power of a positive semidefinite matrix on the space where it is not zero."""
    values, vectors = torch.linalg.eigh(matrix)
    kept = values > ROUNDING * values[-1].clamp_min(torch.finfo(values.dtype).tiny)
    powers = torch.where(kept, values.clamp_min(0), 1).pow(exponent) * kept
    return (vectors * powers) @ vectors.T


def polynomial(x: Tensor, y: Tensor) -> Tensor:
    """The kernel of KID, (x . y / D + 1)^3 (Binkowski et al. 2018, arXiv 1801.01401)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def gaussian_kernel(width: float) -> Kernel:
    """The kernel exp(-|x - y|^2 / (2 width^2)), that of CMMD (arXiv 2401.09603)."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return torch.exp(torch.cdist(x, y).square() / (-2 * width**2))

    return kernel


def median_distance(real: Tensor) -> float:
    """The median distance of features `(M, D)` from one another, 1 if most are equal."""
    spread = real[torch.arange(min(MEASURED, len(real))) * len(real) // min(MEASURED, len(real))]
    return float(torch.pdist(spread.double()).median()) or 1.0


def mmd(real: Tensor, fake: Tensor, kernel: Kernel = polynomial) -> Estimate:
    """The unbiased squared MMD of two sets, with its standard error; may be negative.

    With `polynomial` it is the KID of all images.

    Args:
        real: Features of real images `(M, D)`.
        fake: Features of generated images `(N, D)`.
        kernel: The kernel.

    Raises:
        HQDMError: As for `fid_infinity`.
    """
    _check(real, fake)
    real, fake = real.double(), fake.double()
    within_fake, within_real = _means_within(fake, kernel), _means_within(real, kernel)
    of_fake, of_real = _means_between(fake, real, kernel)
    value = within_fake.mean() + within_real.mean() - 2 * of_fake.mean()
    influences, others = 2 * (within_fake - of_fake), 2 * (within_real - of_real)
    error = math.hypot(_standard_error(influences), _standard_error(others))
    return Estimate(float(value), error, influences - influences.mean())


def _means_within(x: Tensor, kernel: Kernel) -> Tensor:
    """The mean kernel of each vector with the others, `(N,)`."""
    rows = [kernel(part, x).sum(1) for part in x.split(ROWS)]
    own = torch.cat([kernel(part, part).diagonal() for part in x.split(ROWS)])
    return (torch.cat(rows) - own) / (len(x) - 1)


def _means_between(x: Tensor, y: Tensor, kernel: Kernel) -> tuple[Tensor, Tensor]:
    """The mean kernel of each vector of a set with those of the other, `(N,)` and `(M,)`."""
    rows, columns = [], torch.zeros(len(y), dtype=y.dtype)
    for part in x.split(ROWS):
        values = kernel(part, y)
        rows.append(values.mean(1))
        columns += values.sum(0)
    return torch.cat(rows), columns / len(x)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """The difference of a score between two sets of images from the same noise, in the same order.

    The real images are the same, so that their share of the errors cancels to first order and is
    left out.

    Raises:
        HQDMError: If the numbers of images differ.
    """
    if len(first.influences) != len(second.influences):
        raise HQDMError(
            "a paired difference needs as many images from the same noise in both sets, got "
            f"{len(first.influences)} and {len(second.influences)}"
        )
    influences = first.influences - second.influences
    return Estimate(first.value - second.value, _standard_error(influences), influences)


def _standard_error(values: Tensor) -> float:
    """Of the mean of values."""
    return float(values.std() / len(values) ** 0.5)


def _check(real: Tensor, fake: Tensor) -> None:
    """Refuse sets without an estimate."""
    alike = real.ndim == 2 and fake.ndim == 2 and real.shape[1] == fake.shape[1]
    if not alike or len(real) < 2 or len(fake) < LEAST:
        raise HQDMError(
            f"scores with errors of features {tuple(fake.shape)} against {tuple(real.shape)}: "
            f"expected (N, D) and (M, D) with N from {LEAST} and M from 2"
        )
