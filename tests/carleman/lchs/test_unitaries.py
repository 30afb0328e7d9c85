"""The unitaries of LCHS against matrix exponentials."""

import numpy as np
import pytest
from scipy import sparse
from scipy.linalg import expm

from hqdm.carleman.lchs import unitaries as lchs_unitaries
from hqdm.carleman.lchs.quadrature import Quadrature
from hqdm.carleman.lchs.unitaries import DENSE, cartesian, emulate


def random_generator(n, seed=0, damping=1.0):
    rng = np.random.default_rng(seed)
    return sparse.csr_array(rng.normal(size=(n, n)) / np.sqrt(n) - damping * np.eye(n))


@pytest.mark.parametrize("n", [5, DENSE + 6])
@pytest.mark.parametrize("damping", [3.0, -1.0])
def test_the_parts_make_the_generator_and_the_shift_is_the_smallest(n, damping):
    generator = random_generator(n, damping=damping)
    part = cartesian(generator)
    whole = part.shift * np.eye(n) - part.hermitian.toarray() + part.skew.toarray()
    np.testing.assert_allclose(whole, generator.toarray(), atol=1e-14)
    hermitian = np.linalg.eigvalsh(part.hermitian.toarray())
    skew = np.linalg.eigvalsh(1j * part.skew.toarray())
    assert (part.shift > 0) == (damping < 0)
    if part.shift:
        assert hermitian[0] == pytest.approx(0, abs=1e-10)
    assert hermitian[0] > -1e-10
    assert part.hermitian_norm == pytest.approx(hermitian[-1], rel=1e-10)
    assert part.skew_norm == pytest.approx(skew[-1], rel=1e-10)


@pytest.mark.parametrize("n", [5, DENSE + 6])
def test_every_node_is_a_product_of_exponentials_in_order(n):
    parts = [cartesian(random_generator(n, seed)) for seed in range(3)]
    start = np.random.default_rng(9).normal(size=n)
    for k in (0.0, 0.4, 60.0):
        rule = Quadrature(np.array([k]), np.array([0.3 - 0.8j]), 0.0, 0.0)
        state = start.astype(complex)
        for part in parts:
            state = expm(-1j * k * part.hermitian.toarray() + part.skew.toarray()) @ state
        expected = 2 * ((0.3 - 0.8j) * state).real
        # both sides lose about |k L| of sixteen digits
        np.testing.assert_allclose(emulate(parts, rule, start), expected, atol=1e-11)


def test_both_simulations_agree_on_many_nodes(monkeypatch):
    parts = [cartesian(random_generator(7, seed)) for seed in range(2)]
    rng = np.random.default_rng(2)
    count = lchs_unitaries.CHUNK + 5
    rule = Quadrature(np.linspace(0.1, 90, count), rng.normal(size=count) + 0j, 0.0, 0.0)
    dense = emulate(parts, rule, np.ones(7))
    monkeypatch.setattr(lchs_unitaries, "DENSE", 6)
    # hundreds of terms of order one, each good to |k L| of sixteen digits
    np.testing.assert_allclose(emulate(parts, rule, np.ones(7)), dense, atol=1e-10)


def test_few_and_zero_eigenvalues_are_found():
    # an isotropic Gaussian flow lifts to this: multiples of one rate, and zero
    rates = np.repeat(np.arange(5.0), DENSE)
    decaying = cartesian(sparse.diags_array(-rates, format="csr"))
    assert (decaying.shift, decaying.hermitian_norm) == pytest.approx((0, 4), abs=1e-10)
    growing = cartesian(sparse.diags_array(rates, format="csr"))
    assert (growing.shift, growing.hermitian_norm) == pytest.approx((4, 4), abs=1e-10)


def test_a_generator_of_zeros_does_nothing():
    still = cartesian(sparse.csr_array((DENSE + 1, DENSE + 1)))
    rule = Quadrature(np.array([0.5]), np.array([0.5 + 0j]), 0.0, 0.0)
    start = np.arange(DENSE + 1.0)
    np.testing.assert_allclose(emulate([still], rule, start), start, rtol=1e-14)
    assert (still.shift, still.hermitian_norm, still.skew_norm) == (0, 0, 0)
