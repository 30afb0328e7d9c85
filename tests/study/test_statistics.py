"""Statistics against scipy, and in simulations: coverage, false positives, power."""

import math

import numpy as np
import pytest
from marks import slow, thinned
from scipy.stats import bootstrap, false_discovery_control, t, ttest_1samp, ttest_rel

from hqdm.study.statistics import (
    INTERVALS,
    LEVEL,
    MAX_SEEDS,
    POWER,
    holm,
    interval_of,
    mean_interval,
    paired,
    power,
    seeds_needed,
)
from hqdm.utils.errors import HQDMError

SIMULATIONS = 2000


def test_the_interval_of_a_mean():
    values = [3.1, 2.9, 3.6, 3.3]
    mean, half = mean_interval(values)
    expected = ttest_1samp(values, 0).confidence_interval(LEVEL)
    assert (mean - half, mean + half) == pytest.approx(expected)
    assert math.isnan(mean_interval([1.0])[1])


def test_a_comparison_is_scipy_s_paired_test_of_logarithms():
    rng = np.random.default_rng(0)
    others = rng.lognormal(size=7)
    scores = others * np.exp(rng.normal(-0.1, 0.1, size=7))
    found = paired(list(scores), list(others))
    expected = ttest_rel(np.log(scores), np.log(others))
    assert found.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(LEVEL)
    assert (found.low, found.high) == pytest.approx(
        (math.expm1(interval[0]), math.expm1(interval[1]))
    )
    swapped = paired(list(others), list(scores))
    assert (1 + found.mean) * (1 + swapped.mean) == pytest.approx(1)
    plain = paired(list(scores), list(others), relative=False)
    assert plain.p == pytest.approx(ttest_rel(scores, others).pvalue)
    assert plain.mean == pytest.approx(np.mean(scores - others))


def test_one_pair_has_no_interval_and_equal_scores_no_difference():
    one = paired([1.0], [2.0])
    assert one.mean == pytest.approx(-0.5)
    assert all(map(math.isnan, (one.low, one.high, one.p, one.effect, one.scatter)))
    assert one.seeds_for(0.01) is None
    same = paired([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (same.mean, same.low, same.high) == (0, 0, 0)
    assert math.isnan(same.effect)
    assert math.isnan(same.p)
    two = paired([1.0, 2.0], [1.1, 2.5])
    assert math.isnan(two.effect)  # J needs three pairs
    assert two.p > 0


@pytest.mark.parametrize("relative", [True, False])
def test_equal_differences_have_no_test(relative):
    """Ratios of 0.9, or differences of 0.1, that rounding makes unequal."""
    others = [0.7, 1.1, 1.3, 1.7, 2.3, 3.1, 7.3]
    scores = [0.9 * x if relative else x - 0.1 for x in others]
    found = paired(scores, others, relative)
    assert len({a / b if relative else a - b for a, b in zip(scores, others, strict=True)}) > 1
    assert found.mean == pytest.approx(-0.1)
    assert found.scatter == 0
    assert math.isnan(found.p)
    assert math.isnan(found.effect)
    assert found.seeds_for(0.01) is None


def test_bad_pairs_are_refused():
    with pytest.raises(HQDMError, match="got 1 and 2"):
        paired([1.0], [1.0, 2.0])
    with pytest.raises(HQDMError, match="ratios need positive scores"):
        paired([1.0, 0.0], [1.0, 2.0])


def normal(rng, n):
    return rng.normal(size=(SIMULATIONS, n))


def laplace(rng, n):
    """Differences of two models with the same skewed, exponential scores."""
    return rng.exponential(size=(SIMULATIONS, n)) - rng.exponential(size=(SIMULATIONS, n))


@pytest.mark.parametrize("draw", [normal, slow(laplace)])
@pytest.mark.parametrize("n", [5, 10])
def test_intervals_contain_the_mean_with_their_level(draw, n):
    """93 to 97 %: four standard deviations of the fraction in 2,000 simulations."""
    samples = draw(np.random.default_rng(n), n)
    found = [paired(list(d), [0.0] * n, relative=False) for d in samples]
    covered = np.mean([one.low <= 0 <= one.high for one in found])
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_bootstrap_intervals_of_five_seeds_are_too_narrow(method):
    samples = normal(np.random.default_rng(0), 5)
    found = bootstrap((samples,), np.mean, axis=1, n_resamples=200, method=method, rng=1)
    low, high = found.confidence_interval
    assert np.mean((low <= 0) & (high >= 0)) < 0.9


@pytest.mark.parametrize("kind", thinned(INTERVALS, every=2))
def test_both_kinds_of_interval_keep_their_level_at_eight_seeds(kind):
    """Of log ratios, in the same bounds."""
    samples = np.exp(normal(np.random.default_rng(8), 8))
    found = [paired(list(ratios), [1.0] * 8, kind=kind) for ratios in samples]
    assert 0.93 <= np.mean([one.low <= 0 <= one.high for one in found]) <= 0.97


def test_the_bootstrap_interval_is_that_of_ratios_of_its_resamples():
    """Against sorted ratios; of exponential values it is longer above, that of t is not."""
    values = np.random.default_rng(1).exponential(size=9)
    mean, low, high = interval_of(list(values), "bootstrap")
    assert mean == pytest.approx(values.mean())
    ratios = sorted(
        (drawn.mean() - mean) / drawn.std(ddof=1) * 3
        for drawn in values[np.random.default_rng(0).integers(0, 9, (4999, 9))]
    )
    error = values.std(ddof=1) / 3
    assert (low, high) == pytest.approx((mean - ratios[4873] * error, mean - ratios[125] * error))
    assert high - mean > 1.2 * (mean - low)
    assert interval_of(list(values), "bootstrap") == (mean, low, high)
    assert interval_of(list(values))[2] - mean == pytest.approx(mean - interval_of(list(values))[1])


def test_the_bootstrap_has_no_interval_where_resamples_have_no_scatter():
    """Of 4 values a resample in 64 repeats one; of 6 with five equal ones a third do."""
    assert np.isnan(interval_of([1.0, 2.0, 3.0, 4.0], "bootstrap")[1:]).all()
    assert np.isnan(interval_of([0.0] * 5 + [1.0], "bootstrap")[1:]).all()
    assert np.isfinite(interval_of([-1.0, -0.5, 0.0, 0.5, 1.0], "bootstrap")).all()  # 0 is the mean


@pytest.mark.parametrize("n", thinned([4, 9], every=2))
def test_the_effect_size_has_no_bias(n):
    """Its mean over simulations is the true one, within four standard errors."""
    samples = np.random.default_rng(n).normal(0.7, 1.0, size=(SIMULATIONS, n))
    found = [paired(list(d), [0.0] * n, relative=False).effect for d in samples]
    error = np.std(found) / SIMULATIONS**0.5
    assert np.mean(found) == pytest.approx(0.7, abs=4 * error)
    plain = np.mean(samples.mean(1) / samples.std(1, ddof=1))
    assert plain - 0.7 > 4 * error  # without the correction


def test_holm():
    """The example of four comparisons by hand; nan is no comparison."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    adjusted = holm([0.5, math.nan, 0.02])
    assert adjusted[0] == 0.5
    assert adjusted[2] == 0.04
    assert math.isnan(adjusted[1])
    assert holm([]) == []
    p = np.random.default_rng(0).uniform(size=9)
    assert (np.array(holm(list(p))) >= false_discovery_control(p) - 1e-12).all()  # a weaker demand


def test_no_effect_is_found_where_there_is_none():
    """Six models against one, without differences: in 5 % of the studies at most one is found.

    The bound has four standard deviations of the fraction. Without Holm's method it would be more
    than 15 %.
    """
    rng, n, models, level = np.random.default_rng(3), 6, 6, 1 - LEVEL
    base = rng.normal(size=(SIMULATIONS, 1, n))
    differences = rng.normal(size=(SIMULATIONS, models, n)) - base
    p = ttest_1samp(differences, 0, axis=2).pvalue
    errors = np.mean([min(holm(list(family))) < level for family in p])
    assert errors < level + 4 * math.sqrt(level * (1 - level) / SIMULATIONS)
    assert np.mean(p.min(1) < level) > 0.15


def test_the_number_of_seeds_has_the_power():
    """The test finds a difference in `POWER` of the simulations, with one seed less it does not."""
    n = seeds_needed(1.0, 1.2)
    assert power(1.0, 1.2, n - 1) < POWER <= power(1.0, 1.2, n)
    samples = np.random.default_rng(4).normal(1.0, 1.2, size=(20 * SIMULATIONS, n))
    found = np.mean(ttest_1samp(samples, 0, axis=1).pvalue < 1 - LEVEL)
    assert found == pytest.approx(power(1.0, 1.2, n), abs=0.01)  # five standard deviations
    assert power(0.0, 1.0, 3) == pytest.approx(1 - LEVEL)  # both tails
    assert seeds_needed(1e-6, 1.0) is None
    assert MAX_SEEDS == 10_000


@pytest.mark.parametrize("shift", [0, 0.3, -2, 10, 30, 1e3])
@pytest.mark.parametrize("level", [1e-6, 0.05 / 6, 0.05, 0.9])
def test_the_power_of_three_pairs_has_a_closed_form(shift, level):
    """With two degrees of freedom P(V < v) = 1 - exp(-v / 2), whose normal mean is known."""
    c = t.isf(level / 2, 2)
    exact = 1 - math.exp(-(shift**2) / (c**2 + 2)) * c / math.sqrt(c**2 + 2)
    assert power(shift / 3**0.5, 1.0, 3, level) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(("n", "effect"), [(2, 3.0), (2, 20.0), (5, 4.5 / 2), (5, 1.0), (50, 0.4)])
def test_the_power_is_the_fraction_of_simulations(n, effect):
    """Within five standard deviations of the fraction."""
    samples = np.random.default_rng(n).normal(effect, 1.0, size=(20 * SIMULATIONS, n))
    found = np.mean(ttest_1samp(samples, 0, axis=1).pvalue < 1 - LEVEL)
    assert found == pytest.approx(power(effect, 1.0, n), abs=0.0125)


@pytest.mark.parametrize("level", [0.05, 0.05 / 50])
@pytest.mark.parametrize("n", [2, 5, 50, 1000, MAX_SEEDS])
def test_the_power_rises_to_one_with_the_effect(n, level):
    """Also where functions of the noncentral t distribution are nan, as at n = 5 for 4.5."""
    effects = [0, 1e-12, *np.geomspace(1e-3, 1e3, 61), 4.5, 1e10, 1e200]
    found = [power(effect, 1.0, n, level) for effect in sorted(effects)]
    assert np.all(np.diff(found) >= -1e-12)
    assert found[0] == pytest.approx(level, rel=1e-5)
    assert found[-1] == pytest.approx(1)
    assert power(1e300, 1e-300, n) == pytest.approx(1)
    assert power(-0.5, 1.0, n) == pytest.approx(power(0.5, 1.0, n), rel=1e-12)


@pytest.mark.filterwarnings("error")
def test_the_least_number_of_seeds_is_two():
    assert seeds_needed(1e9, 1e-9) == 2
    assert seeds_needed(0.0, 1.0) is None


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((1.0, 0.0, 5), "scatter needs a positive number, got 0"),
        ((1.0, math.inf, 5), "scatter needs a finite number, got inf"),
        ((math.nan, 1.0, 5), "difference needs a finite number, got nan"),
        ((1.0, 1.0, 1), "n needs a whole number from 2, got 1"),
        ((1.0, 1.0, 5, 0.0), "level needs a number between 0 and 1, got 0.0"),
        ((1.0, 1.0, 5, math.nan), "level needs a number between 0 and 1, got nan"),
    ],
)
def test_without_a_test_there_is_no_power(numbers, said):
    with pytest.raises(HQDMError, match=f"^{said}$"):
        power(*numbers)


def test_seeds_for_a_difference_follow_from_the_scatter_of_the_pairs():
    scores = [1.00, 1.02, 0.98, 1.01, 0.99]
    found = paired(scores, [1.0] * 5)
    likely, low, high = found.seeds_for(0.01)
    assert likely == seeds_needed(math.log(1.01), found.scatter)
    assert low < likely < high
    assert found.seeds_for(0.05).likely < likely
    assert found.seeds_for(1e-5) == (None, None, None)
    assert paired(scores[:4], [1.0] * 4).seeds_for(0.01) is None
    assert paired(scores, [1.0] * 5, relative=False).seeds_for(0.01) is None  # no per cent


def test_more_seeds_are_needed_at_the_level_of_holm_s_method():
    """34 seeds have the power for one comparison; at the level of the least p of six, 53 have."""
    scatter, level = 0.0201, (1 - LEVEL) / 6
    assert seeds_needed(0.01, scatter) == 34
    n = seeds_needed(0.01, scatter, level)
    assert n == 53
    samples = np.random.default_rng(4).normal(0.01, scatter, size=(20 * SIMULATIONS, n))
    p = ttest_1samp(samples, 0, axis=1).pvalue
    assert np.mean(p < level) == pytest.approx(power(0.01, scatter, n, level), abs=0.01)
    assert power(0.01, scatter, n - 1, level) < POWER <= power(0.01, scatter, n, level)
    found = paired([1.00, 1.02, 0.98, 1.01, 0.99], [1.0] * 5)
    assert found.seeds_for(0.01, level).likely == seeds_needed(math.log(1.01), found.scatter, level)


@pytest.mark.slow
def test_the_range_of_seeds_contains_the_number_of_the_true_scatter():
    """In 95 % of simulations, within four standard deviations of the fraction; each end misses."""
    samples = np.random.default_rng(6).normal(0, 0.2, size=(200, 8))
    true = seeds_needed(math.log(1.05), 0.2)
    found = [paired(list(np.exp(d)), [1.0] * 8).seeds_for(0.05) for d in samples]
    above, below = (np.mean([getattr(one, x) > true for one in found]) for x in ("low", "high"))
    assert below - above == pytest.approx(LEVEL, abs=0.06)
    assert above > 0
    assert below < 1
