"""Power laws against their own values, cases against measured evolutions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from hqdm.carleman.costs.scaling import Case, fit_scaling, measured, power_law
from hqdm.carleman.lchs.solver import LCHS
from hqdm.carleman.qlss.solver import QLSS
from hqdm.utils.errors import HQDMError

CASE = Case(
    dim=2,
    order=3,
    degree=2,
    segments=4,
    n_generators=8,
    blocks=50,
    kappa=30,
    inverse_probability=0.1,
    final_probability=0.5,
    hermitian_norm=0.4,
    skew_norm=0.2,
    shift=0.1,
    gain=0.9,
    share=0.8,
)


def evolution(count, n=4, rotates=False):
    """The same generator many times over; one that rotates neither grows nor decays."""
    rng = np.random.default_rng(0)
    generator = 0.2 * rng.normal(size=(n, n)) - 0.1 * np.eye(n)
    if rotates:
        generator = generator - generator.T
    return [sparse.csr_array(generator)] * count, np.ones(n)


def case_of(count, rotates=False):
    generators, y0 = evolution(count, rotates=rotates)
    qlss, lchs = QLSS().solve(generators, y0), LCHS(tolerance=1e-3).solve(generators, y0)
    case = measured(2, 1, 1, qlss.account, lchs.account, size=len(y0), share=0.5)
    return case, lchs.y, qlss.account, lchs.account


@settings(deadline=None, max_examples=30)
@given(factor=st.floats(1e-3, 1e3), exponent=st.floats(-3, 3))
def test_power_laws_are_recovered(factor, exponent):
    dims = [2, 3, 5, 9]
    law = power_law(dims, [factor * d**exponent for d in dims])
    assert (law.exponent, law.spread) == pytest.approx((exponent, 0), abs=1e-9)
    assert law(1e6) == pytest.approx(factor * 1e6**exponent, rel=1e-7)


def test_the_spread_is_the_largest_deviation():
    # +-0.1 about a constant, in an order that no slope follows
    law = power_law([1, 2, 2, 4], np.exp([0.1, -0.1, -0.1, 0.1]))
    assert (law.exponent, law.spread) == pytest.approx((0, 0.1))


def test_a_quantity_with_a_zero_keeps_its_largest_value():
    law = power_law([2, 4, 8], [0.0, 0.3, 0.1])
    assert law(2) == law(1e6) == 0.3


def test_a_case_agrees_with_the_accounts():
    case, y, qlss, _ = case_of(3)
    generators, y0 = evolution(3)
    symmetric = -(generators[0] + generators[0].T).toarray() / 2
    skew = (generators[0] - generators[0].T).toarray() / 2
    lowest, *_, highest = np.linalg.eigvalsh(symmetric)
    assert case.shift == pytest.approx(3 * max(0, -lowest))
    assert case.shift > 0
    assert case.hermitian_norm == pytest.approx(3 * (highest - lowest))
    assert case.skew_norm == pytest.approx(3 * np.linalg.norm(skew, 2))
    assert case.gain == pytest.approx(np.linalg.norm(y) / np.linalg.norm(y0))
    assert case.blocks == qlss.steps * (qlss.order + 1) + 1 + qlss.padding
    assert case.kappa == qlss.inversion.kappa
    probability = case.inverse_probability * case.final_probability
    assert probability == pytest.approx(qlss.inversion.success_probability)
    assert (case.n_generators, case.share, case.segments) == (3, 0.5, 1)


def test_a_stretched_evolution_resembles_a_longer_one():
    short, long = case_of(8)[0], case_of(16)[0]
    for name in ("n_generators", "hermitian_norm", "skew_norm", "shift"):
        assert getattr(short.stretched(2), name) == pytest.approx(getattr(long, name), rel=1e-6)
    stretched, long = case_of(8, rotates=True)[0].stretched(2), case_of(16, rotates=True)[0]
    # but for the order of the Taylor series and for the ends of the history
    for name in ("blocks", "kappa", "inverse_probability"):
        assert getattr(stretched, name) == pytest.approx(getattr(long, name), rel=0.1)
    assert replace(short, gain=0.5).stretched(2).gain == 0.25


def test_the_case_at_a_dimension_follows_the_laws():
    cases = [
        replace(CASE, dim=d, kappa=10.0 * d, hermitian_norm=d**1.5, gain=1 / d, share=0.1 * d)
        for d in (2, 4, 8)
    ]
    at = fit_scaling(cases).at(1000)
    assert (at.dim, at.order, at.degree, at.segments) == (1000, 3, 2, 4)
    assert at.kappa == pytest.approx(1e4)
    assert at.hermitian_norm == pytest.approx(1000**1.5)
    assert at.gain == pytest.approx(1e-3)
    assert at.share == 1  # a probability
    assert at.blocks == pytest.approx(50)


def test_bad_measurements_are_refused():
    with pytest.raises(HQDMError, match=r"two dimensions or more, got \[3\]"):
        power_law([3, 3], [1.0, 2.0])
    with pytest.raises(HQDMError, match="finite measurements"):
        power_law([2, 3], [1.0, float("nan")])
    with pytest.raises(HQDMError, match="one order, degree and number of segments"):
        fit_scaling([CASE, replace(CASE, dim=3, order=4)])
    generators, y0 = evolution(1)
    solved = QLSS(mode="solve").solve(generators, y0).account
    lchs = LCHS(tolerance=0.1).solve(generators, y0).account
    with pytest.raises(HQDMError, match="need a quantum inverse"):
        measured(2, 1, 1, solved, lchs, size=4, share=1.0)
