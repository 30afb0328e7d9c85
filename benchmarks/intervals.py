"""Confidence intervals for the tables of the benchmarks."""

from collections.abc import Sequence

from scipy.stats import binom

from hqdm.study.statistics import LEVEL


def of_median(values: Sequence[float]) -> tuple[float, float]:
    """The interval between two order statistics that contains the median, for any distribution.

    The number of values below the median is binomial with probability 1/2. From 6 values on the
    interval has `LEVEL`; below, it is that of all values, which contains the median with
    probability 1 - 2^(1 - n).

    Args:
        values: Independent values, one or more.
    """
    ordered = sorted(values)
    outside = max(1, int(binom.ppf((1 - LEVEL) / 2, len(ordered), 0.5)))
    return ordered[outside - 1], ordered[-outside]
