"""Scores of states against sums of their definitions, and the coverage of the interval."""

import pytest
import torch

from hqdm import HQDMError
from hqdm.states import scores
from hqdm.states.density import density, haar_kets
from hqdm.states.distances import kernel, mmd, wasserstein
from hqdm.states.ensembles import build_ensemble
from hqdm.states.scores import centre_fidelity, observables_of, state_scores, unbiased_mmd
from hqdm.utils.seeds import generator


def mixed(n, seed):
    """Density matrices of one qubit, each of two kets."""
    return density(haar_kets(2 * n, 1, generator(seed))).reshape(n, 2, 2, 2).mean(1)


@pytest.mark.parametrize("make", [lambda n, s: haar_kets(n, 2, generator(s)), mixed])
def test_the_mmd_is_the_mean_over_different_pairs(make):
    a, b = make(5, 0), make(7, 1)

    def within(states):
        k, n = kernel(states, states), len(states)
        return sum(k[i, j] for i in range(n) for j in range(n) if i != j) / (n * (n - 1))

    expected = within(a) + within(b) - 2 * kernel(a, b).mean()
    assert unbiased_mmd(a, b).value == pytest.approx(float(expected), abs=1e-12)


def test_the_mmd_has_no_bias():
    """The mean of 300 estimates from 10 states each, of one ensemble, is 0 within 4 errors."""
    draws, cluster = generator(3), build_ensemble("cluster", scale=0.5)
    found = [unbiased_mmd(cluster.sample(10, draws), cluster.sample(10, draws)) for _ in range(300)]
    values = torch.tensor([each.value for each in found])
    assert values.mean().abs() < 4 * values.std() / 300**0.5


def test_intervals_cover_the_distance_of_two_ensembles():
    """95 % intervals: of 100, 95 are expected to cover, with a deviation of 2.2."""
    draws = generator(4)
    a, b = (build_ensemble("cluster", scale=scale) for scale in (0.5, 0.7))
    truth = float(mmd(a.sample(100_000, draws), b.sample(100_000, draws)))
    covered = 0
    for seed in range(100):
        found = unbiased_mmd(a.sample(40, draws), b.sample(40, draws), seed)
        assert found.low < found.value < found.high
        covered += found.low <= truth <= found.high
    assert covered >= 88


def test_the_interval_lies_around_the_value():
    """Resampled values of ten states each are too large by 2 x 0.15, twice the bias.

    Their distribution is skewed: the middle of the interval is 0.02 above the value on average.
    """
    draws = generator(5)
    found = [unbiased_mmd(haar_kets(10, 2, draws), haar_kets(10, 2, draws)) for _ in range(40)]
    moved = torch.tensor([(each.low + each.high) / 2 - each.value for each in found])
    assert moved.mean().abs() < 0.05


def test_equal_states_have_no_interval():
    same = haar_kets(1, 1, generator(0)).repeat(4, 1)
    assert unbiased_mmd(same, same) == pytest.approx((0, 0, 0), abs=1e-12)


@pytest.mark.parametrize("as_density", [False, True])
def test_the_centre_fidelity_is_the_mean_over_states(as_density):
    kets, centre = haar_kets(9, 2, generator(0)), haar_kets(1, 2, generator(1))[0]
    expected = sum(abs(torch.vdot(centre, ket)) ** 2 for ket in kets) / 9
    found = centre_fidelity(density(kets) if as_density else kets, centre)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_the_data_of_a_cluster_have_the_published_fidelity_to_the_centre():
    cluster = build_ensemble("cluster", scale=0.08)
    found = centre_fidelity(cluster.sample(20_000, generator(0)), cluster.centre)
    assert float(found) == pytest.approx(0.988, abs=1e-3)
    assert build_ensemble("circle").centre is None


def test_observables_that_are_always_one_are_left_out():
    assert [*observables_of(haar_kets(2, 1))] == ["magnetisation z", "magnetisation x"]
    names = [*observables_of(density(haar_kets(2, 2)))]
    assert names == ["magnetisation z", "magnetisation |z|", "magnetisation x", "purity"]


def test_scores_of_states():
    pytest.importorskip("ot")
    states, real = mixed(6, 0), mixed(8, 1)
    found = state_scores(states, real)
    assert found["wasserstein"] == pytest.approx(float(wasserstein(states, real)))
    assert found["centre_fidelity"] is None
    low, high = found["mmd_interval"]
    assert low <= found["mmd"] <= high
    purities = torch.tensor([float((rho @ rho).trace().real) for rho in states]).double()
    expected = {"mean": float(purities.mean()), "sd": float(purities.std())}
    assert found["observables"]["purity"] == pytest.approx(expected)


def test_without_transport_there_is_no_wasserstein_distance(monkeypatch):
    monkeypatch.setattr(scores, "transport_is_installed", lambda: False)
    assert state_scores(mixed(3, 0), mixed(3, 1))["wasserstein"] is None


def test_an_ensemble_has_two_states():
    with pytest.raises(HQDMError, match="2 states or more, got 1 and 3"):
        unbiased_mmd(haar_kets(1, 1), haar_kets(3, 1))
