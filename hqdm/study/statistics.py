"""Statistics of two models over the same random seeds: intervals, effect sizes, tests and power.

With one pair of scores per random seed, i = 1, ..., n, and d_i = log(score_i / other_i), or
score_i - other_i for scores without a ratio,

    m = mean(d),  s^2 = sum (d_i - m)^2 / (n - 1)
    m ± t s / sqrt(n)                           interval, t the quantile (1 + LEVEL) / 2 of n - 1
                                                degrees of freedom
    g = J m / s                                 standardised paired difference (Hedges)
    J = Gamma(k / 2) / (sqrt(k / 2) Gamma((k - 1) / 2)),  k = n - 1
    p = 2 P(T > |m| sqrt(n) / s)                paired t test

The interval is that of the t distribution, or of the studentised bootstrap: with m*, s* of
resamples of the d_i with replacement, its ends are m - q s / sqrt(n) with the quantiles
(1 ± LEVEL) / 2 of (m* - m) sqrt(n) / s* in place of q (Efron and Tibshirani, An introduction to the
bootstrap, section 12.5). Both keep their level at 5 to 10 seeds, where percentile and BCa bootstrap
intervals of a mean are too narrow; the tests simulate all four.

Several comparisons: Holm (1979), Scandinavian Journal of Statistics 6, 65. Pairs, intervals and
several comparisons as Bowles, Ahmed and Schuld (arXiv 2403.07059) ask for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
from scipy.special import chdtr, gammaln
from scipy.stats import chi2, t

from hqdm.utils.checks import finite, positive, whole
from hqdm.utils.errors import HQDMError

LEVEL = 0.95
POWER = 0.8
MAX_SEEDS = 10_000
LEAST_PAIRS = 5  # of a bootstrap interval, and of a number of seeds from the scatter
RESAMPLES = 4999
ROUNDING = 1e-14  # of a difference, relative to the scores
INTERVALS = ("t", "bootstrap")


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half the width of its t interval of `LEVEL`; nan with a single value.

    Args:
        values: Independent values of about the same normal distribution, one or more.
    """
    n = len(values)
    if n == 1:
        return values[0], math.nan
    return fmean(values), _quantile(n - 1) * stdev(values) / n**0.5


@cache
def _quantile(freedom: int, level: float = 1 - LEVEL) -> float:
    """The quantile 1 - level / 2 of the t distribution."""
    return float(t.isf(level / 2, freedom))


def interval_of(values: Sequence[float], kind: str = "t") -> tuple[float, float, float]:
    """Mean and both ends of its interval of `LEVEL`; ends are nan where there is no interval.

    Args:
        values: Independent values of one distribution, one or more.
        kind: One of `INTERVALS`.
    """
    if kind == "bootstrap":
        return fmean(values), *_bootstrap_ends(np.array(values))
    mean, half = mean_interval(values)
    return mean, mean - half, mean + half


def _bootstrap_ends(values: "np.ndarray") -> tuple[float, float]:
    """The ends of the studentised bootstrap interval, always with the same resamples.

    Below `LEAST_PAIRS` values more resamples repeat a single one, which has no scatter, than the
    level leaves out.
    """
    n = len(values)
    if n < LEAST_PAIRS:
        return math.nan, math.nan
    drawn = values[_resamples(n)]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (drawn.mean(1) - values.mean()) / drawn.std(1, ddof=1)
    ratios[np.isnan(ratios)] = 0  # a single value, and that is the mean
    tails = np.quantile(ratios, [(1 + LEVEL) / 2, (1 - LEVEL) / 2], method="nearest")
    if not np.isfinite(tails).all():  # most values are equal
        return math.nan, math.nan
    low, high = values.mean() - tails * values.std(ddof=1)
    return float(low), float(high)


@cache
def _resamples(n: int) -> "np.ndarray":
    """The rows of values in each resample, `(RESAMPLES, n)`."""
    return np.random.default_rng(0).integers(0, n, (RESAMPLES, n))


class Seeds(NamedTuple):
    """Numbers of seeds; None is more than `MAX_SEEDS`.

    Attributes:
        likely: With the scatter at hand.
        low: With the lower end of the interval of `LEVEL` of the scatter.
        high: With its upper end.
    """

    likely: int | None
    low: int | None
    high: int | None


@dataclass(frozen=True)
class Difference:
    """The difference of two models over random seeds.

    Attributes:
        n: Number of pairs.
        mean: Mean difference; of ratios the geometric mean minus 1, in which case -0.01 says that
            the first scores are 1 % lower.
        low: Lower end of its interval; nan with a single pair, and below `LEAST_PAIRS` pairs for
            the bootstrap.
        high: Upper end of its interval, or nan.
        effect: Standardised difference with the small-sample correction; nan below three pairs
            or without scatter.
        p: The p-value of the paired t test; nan with a single pair or without scatter.
        scatter: Standard deviation s of the differences, nan with a single pair; 0 if they are
            equal up to rounding.
        relative: Whether the differences are those of ratios.
    """

    n: int
    mean: float
    low: float
    high: float
    effect: float
    p: float
    scatter: float
    relative: bool

    def seeds_for(self, difference: float, level: float = 1 - LEVEL) -> Seeds | None:
        """The number of seeds with which the test finds a difference with probability `POWER`.

        It follows from the scatter of the pairs, with the interval of the scatter of normal values,
        s sqrt(k / c) for the quantiles c of the chi-square distribution of k = n - 1.

        Args:
            difference: The true difference, 0.01 for 1 % of ratios.
            level: The level of the test.

        Returns:
            The number; None for differences that are not those of ratios, below `LEAST_PAIRS`
            pairs, or without scatter.
        """
        if not self.relative or self.n < LEAST_PAIRS or not self.scatter > 0:
            return None
        step, k = abs(math.log1p(difference)), self.n - 1
        ends = [self.scatter * (k / chi2.ppf((1 + x) / 2, k)) ** 0.5 for x in (LEVEL, -LEVEL)]
        return Seeds(*(seeds_needed(step, s, level) for s in (self.scatter, *ends)))


def paired(
    scores: Sequence[float], others: Sequence[float], relative: bool = True, kind: str = "t"
) -> Difference:
    """Compare two models by their scores with the same random seeds.

    Args:
        scores: Scores of the first model, one per random seed.
        others: Scores of the second model with the same random seeds.
        relative: Compare ratios, of positive scores.
        kind: The interval, one of `INTERVALS`.

    Raises:
        HQDMError: If there are no pairs, or ratios of scores that are not positive.
    """
    if not scores or len(scores) != len(others):
        raise HQDMError(
            f"a paired comparison needs one score of each model per random seed, got {len(scores)} "
            f"and {len(others)}"
        )
    if relative and min(*scores, *others) <= 0:
        raise HQDMError("ratios need positive scores: compare differences")
    pairs = zip(scores, others, strict=True)
    d = [math.log(a / b) if relative else a - b for a, b in pairs]
    ends = interval_of(d, kind)
    mean, scatter = ends[0], stdev(d) if len(d) > 1 else math.nan
    if scatter <= ROUNDING * (1 if relative else max(map(abs, (*scores, *others)))):
        scatter = 0.0
    middle, low, high = map(math.expm1, ends) if relative else ends
    effect, p = _effect(mean, scatter, len(d)), _p(mean, scatter, len(d))
    return Difference(len(d), middle, low, high, effect, p, scatter, relative)


def _effect(mean: float, scatter: float, n: int) -> float:
    """Standardised difference with the correction J."""
    if n < 3 or not scatter > 0:
        return math.nan
    k = n - 1
    log_j = gammaln(k / 2) - math.log(k / 2) / 2 - gammaln((k - 1) / 2)
    return float(math.exp(log_j) * mean / scatter)


def _p(mean: float, scatter: float, n: int) -> float:
    """The p-value of the t test."""
    if not scatter > 0:
        return math.nan
    return float(2 * t.sf(abs(mean) * n**0.5 / scatter, n - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several comparisons, adjusted for their number by Holm's method.

    If all comparisons below a level are called differences, the probability of one or more errors
    among them is at most this level, for any dependence.

    Args:
        p_values: The p-values; nan for a comparison without a test, which stays nan and does not
            count.
    """
    order = sorted(
        (i for i, p in enumerate(p_values) if not math.isnan(p)), key=p_values.__getitem__
    )
    adjusted = [math.nan] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def power(difference: float, scatter: float, n: int, level: float = 1 - LEVEL) -> float:
    """The probability that a paired t test finds a difference.

    With c the quantile of the test and d = difference sqrt(n) / scatter, it is the mean over
    standard normal values z of P(V < k (z + d)^2 / c^2), with V of the chi-square distribution of
    k = n - 1. (The noncentral t distribution of scipy is nan for many values of d.)

    Args:
        difference: The true mean difference.
        scatter: The true standard deviation of differences.
        n: Number of pairs.
        level: The level of the test.

    Raises:
        HQDMError: If the scatter is not positive, there is no test (a single pair), or another
            number is out of range.
    """
    finite("difference", difference)
    positive("scatter", scatter)
    whole("n", n, 2)
    if not 0 < level < 1:
        raise HQDMError(f"level needs a number between 0 and 1, got {level}")
    z, weights = _normal_values()
    with np.errstate(over="ignore"):  # infinite, at which the probability is 1
        ratios = (z + difference / scatter * n**0.5) / _quantile(n - 1, level)
        found = chdtr(n - 1, (n - 1) * ratios**2)
    return min(1.0, float(weights @ found))


@cache
def _normal_values() -> tuple["np.ndarray", "np.ndarray"]:
    """Equidistant values, and their weights in a mean over the normal distribution."""
    values = np.linspace(-9, 9, 4001)
    weights = np.exp(-(values**2) / 2)
    return values, weights / weights.sum()


def seeds_needed(difference: float, scatter: float, level: float = 1 - LEVEL) -> int | None:
    """The least number of seeds with which a paired t test has `POWER`; None above `MAX_SEEDS`.

    Args:
        difference: The true mean difference.
        scatter: The true standard deviation of differences.
        level: The level of the test.

    Raises:
        HQDMError: If a number is out of range, see `power`.
    """
    if power(difference, scatter, MAX_SEEDS, level) < POWER:
        return None
    low, high = 1, MAX_SEEDS  # the power is below at `low`, and not at `high`
    while high - low > 1:
        middle = (low + high) // 2
        if power(difference, scatter, middle, level) < POWER:
            low = middle
        else:
            high = middle
    return high
