"""Statistics of two models over the same random seeds: intervals, effect sizes, tests and power.

With one pair of scores per random seed, i = 1, ..., n, and d_i = log(score_i / other_i), or
score_i - other_i for scores without a ratio,

    m = mean(d),  s^2 = sum (d_i - m)^2 / (n - 1)
    m ± t s / sqrt(n)                           interval, t the quantile (1 + LEVEL) / 2 of n - 1
                                                degrees of freedom
    g = J m / s                                 standardised paired difference (Hedges)
    J = Gamma(k / 2) / (sqrt(k / 2) Gamma((k - 1) / 2)),  k = n - 1
    p = 2 P(T > |m| sqrt(n) / s)                paired t test

The interval is that of the t distribution: for 5 to 10 seeds percentile and BCa bootstrap intervals
of a mean are too narrow, and the studentised bootstrap needs more than 4 seeds and is no closer to
its level for symmetric distributions, of which kind differences of two similar models are. The
tests simulate all four.

Several comparisons: Holm (1979), Scandinavian Journal of Statistics 6, 65. Pairs, intervals and
several comparisons as Bowles, Ahmed and Schuld (arXiv 2403.07059) ask for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev

from scipy.special import gammaln
from scipy.stats import nct, t

from hqdm.utils.errors import HQDMError

LEVEL = 0.95
POWER = 0.8
MAX_SEEDS = 10_000


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
def _quantile(freedom: int) -> float:
    """The quantile (1 + LEVEL) / 2 of the t distribution."""
    return float(t.ppf((1 + LEVEL) / 2, freedom))


@dataclass(frozen=True)
class Difference:
    """The difference of two models over random seeds.

    Attributes:
        n: Number of pairs.
        mean: Mean difference; of ratios the geometric mean minus 1, in which case -0.01 says that
            the first scores are 1 % lower.
        low: Lower end of its interval, nan with a single pair.
        high: Upper end of its interval, nan with a single pair.
        effect: Standardised difference with the small-sample correction; nan below three pairs
            or without scatter.
        p: The p-value of the paired t test, nan with a single pair.
        scatter: Standard deviation s of the differences, nan with a single pair.
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

    def seeds_for(self, difference: float) -> int | None:
        """The number of seeds with which the test finds a difference with probability `POWER`.

        It follows from the scatter of the pairs, which itself is uncertain with few of them.

        Args:
            difference: The true difference, 0.01 for 1 % of ratios.

        Returns:
            The number; None above `MAX_SEEDS`, or with a single pair.
        """
        step = abs(math.log1p(difference) if self.relative else difference)
        return None if math.isnan(self.scatter) else seeds_needed(step, self.scatter)


def paired(scores: Sequence[float], others: Sequence[float], relative: bool = True) -> Difference:
    """Compare two models by their scores with the same random seeds.

    Args:
        scores: Scores of the first model, one per random seed.
        others: Scores of the second model with the same random seeds.
        relative: Compare ratios, of positive scores.

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
    mean, half = mean_interval(d)
    scatter = stdev(d) if len(d) > 1 else math.nan
    middle, low, high = (math.expm1(x) if relative else x for x in (mean, mean - half, mean + half))
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
    """The p-value of the t test; equal differences without scatter are certain."""
    if n == 1:
        return math.nan
    if scatter == 0:
        return float(mean == 0)
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


def power(difference: float, scatter: float, n: int) -> float:
    """The probability that a paired t test of level 1 - `LEVEL` finds a difference.

    Args:
        difference: The true mean difference.
        scatter: The true standard deviation of differences.
        n: Number of pairs, two or more.
    """
    if scatter == 0:
        return float(difference != 0)
    critical, shift = _quantile(n - 1), difference / scatter * n**0.5
    return float(nct.sf(critical, n - 1, shift) + nct.cdf(-critical, n - 1, shift))


def seeds_needed(difference: float, scatter: float) -> int | None:
    """The least number of seeds with which a paired t test has `POWER`; None above `MAX_SEEDS`.

    Args:
        difference: The true mean difference.
        scatter: The true standard deviation of differences.
    """
    if power(difference, scatter, MAX_SEEDS) < POWER:
        return None
    low, high = 1, MAX_SEEDS  # the power is below at `low`, and not at `high`
    while high - low > 1:
        middle = (low + high) // 2
        if power(difference, scatter, middle) < POWER:
            low = middle
        else:
            high = middle
    return high
