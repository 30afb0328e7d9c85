"""Distances against scipy, PennyLane, double sums and the linear program of transport."""

import sys

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_states import random_density, random_kets
from scipy.linalg import fractional_matrix_power, sqrtm
from scipy.optimize import linprog

from hqdm.states.density import density, maximally_mixed
from hqdm.states.distances import (
    average,
    average_fidelity,
    fidelity,
    hilbert_schmidt,
    kernel,
    matrix_power,
    mixed_fidelity,
    mmd,
    overlap,
    overlap_kernel,
    superfidelity,
    superfidelity_kernel,
    trace_distance,
    wasserstein,
)
from hqdm.utils.errors import HQDMError

# Some thousand operations on numbers below 1 in float64.
CLOSE = {"rtol": 0, "atol": 1e-12}
# The root of a rounded zero, 1e-8, for each of up to 8 eigenvalues, in a square.
PURE = {"rtol": 0, "atol": 2e-7}
seeds = st.integers(0, 2**31)
qubits = st.integers(1, 3)
some = settings(max_examples=15, deadline=None)


@some
@given(qubits, seeds)
def test_fidelity_is_uhlmanns(n, seed):
    r, s = random_density(2, n, seed)
    root = sqrtm(r.numpy())
    expected = np.trace(sqrtm(root @ s.numpy() @ root)).real ** 2
    # The roots of scipy lose digits on eigenvalues near zero.
    assert float(fidelity(r, s)) == pytest.approx(expected, abs=1e-9)
    assert float(fidelity(r, r)) == pytest.approx(1, abs=1e-12)


@some
@given(qubits, seeds, st.integers(1, 10))
def test_fidelities_of_averages_are_those_of_the_density_matrices(n, seed, n_kets):
    """Of fewer kets than dimensions, and of more; the root of a rounded zero has 1e-8."""
    a, b = random_kets(n_kets, n, seed), random_kets(4, n, seed + 1)
    rho, sigma = average(density(a)), average(density(b))
    for states, others in ((a, b), (density(a), density(b))):
        torch.testing.assert_close(average_fidelity(states, others), fidelity(rho, sigma), **PURE)
        expected = fidelity(maximally_mixed(n), rho)
        torch.testing.assert_close(mixed_fidelity(states), expected, **PURE)


def test_fidelities_of_averages_of_many_qubits_need_no_density_matrix():
    """The average state of 14 qubits would take 4 GiB."""
    a, b = random_kets(3, 14, 0), random_kets(2, 14, 1)
    assert 0 < average_fidelity(a, b) < 1
    assert average_fidelity(a, a) == pytest.approx(1, abs=1e-12)
    assert mixed_fidelity(a[:1]) == pytest.approx(2**-14, rel=1e-12)
    with pytest.raises(HQDMError, match="1 density matrices of 14 qubits"):
        average(a)
    for other in (random_kets(2, 13, 1), a[:0]):
        with pytest.raises(HQDMError, match="states of one dimension, got shapes"):
            average_fidelity(a, other)


@some
@given(qubits, seeds)
def test_fidelity_of_kets_is_the_overlap(n, seed):
    a, b = random_kets(2, n, seed)
    rho = random_density(1, n, seed)[0]
    expected = abs(np.vdot(a.numpy(), b.numpy())) ** 2
    assert float(overlap(a, b)) == pytest.approx(expected, abs=1e-14)
    torch.testing.assert_close(fidelity(density(a), density(b)), overlap(a, b), **PURE)
    sandwich = torch.einsum("i,ij,j->", a.conj(), rho, a).real
    torch.testing.assert_close(fidelity(density(a), rho), sandwich, **PURE)


@some
@given(qubits, seeds)
def test_superfidelity_bounds_fidelity_and_meets_it_for_one_qubit(n, seed):
    r, s = random_density(20, n, seed), random_density(20, n, seed + 1)
    upper, exact = superfidelity(r, s), fidelity(r, s)
    assert (upper >= exact - 1e-12).all()
    if n == 1:
        torch.testing.assert_close(upper, exact, **CLOSE)
    else:
        assert (upper > exact + 1e-4).any()


@some
@given(qubits, seeds)
def test_hilbert_schmidt_and_trace_distance_are_norms(n, seed):
    r, s = random_density(2, n, seed)
    norms = [float(torch.linalg.matrix_norm(r - s, ord=order)) for order in ("fro", "nuc")]
    assert float(hilbert_schmidt(r, s)) == pytest.approx(norms[0] ** 2, abs=1e-13)
    assert float(trace_distance(r, s)) == pytest.approx(norms[1] / 2, abs=1e-13)
    pennylane = float(qml.math.trace_distance(r, s))
    assert float(trace_distance(r, s)) == pytest.approx(pennylane, abs=1e-13)


@some
@given(qubits, st.sampled_from([0.5, -0.5, 1.0]), seeds)
def test_matrix_power_is_scipys(n, exponent, seed):
    rho = random_density(1, n, seed)[0]
    expected = torch.from_numpy(fractional_matrix_power(rho.numpy(), exponent))
    # Relative to the least eigenvalue, whose negative root is the largest entry.
    scale = float(torch.linalg.eigvalsh(rho).min() ** min(exponent, 0)) * 1e3
    torch.testing.assert_close(matrix_power(rho, exponent), expected, rtol=0, atol=1e-12 * scale)


def test_negative_power_is_of_the_support():
    projector = density(random_kets(1, 2))[0]
    torch.testing.assert_close(matrix_power(projector, -0.5), projector, **CLOSE)


@some
@given(qubits, seeds)
def test_kernels_are_the_elementwise_functions_of_all_pairs(n, seed):
    kets, others = random_kets(3, n, seed), random_kets(4, n, seed + 1)
    expected = overlap(kets[:, None], others)
    torch.testing.assert_close(overlap_kernel(kets, others), expected, **CLOSE)
    rho, sigma = random_density(3, n, seed), random_density(4, n, seed + 1)
    expected = superfidelity(rho[:, None].expand(3, 4, -1, -1), sigma.expand(3, -1, -1, -1))
    torch.testing.assert_close(superfidelity_kernel(rho, sigma), expected, **CLOSE)


def ensembles(kind, n, seed):
    make = random_kets if kind == "kets" else random_density
    return make(5, n, seed), make(7, n, seed + 1)


kinds = st.sampled_from(["kets", "density"])


@some
@given(kinds, qubits, seeds)
def test_mmd_is_the_double_sum_of_the_kernel(kind, n, seed):
    a, b = ensembles(kind, n, seed)
    ab, aa, bb = (1 - kernel(x, y).mean() for x, y in ((a, b), (a, a), (b, b)))
    torch.testing.assert_close(mmd(a, b), 2 * ab - aa - bb, **CLOSE)
    assert float(mmd(a, a)) == 0


def test_mmd_of_kets_sees_the_average_alone_and_wasserstein_more():
    z = torch.eye(2, dtype=torch.complex128)
    x = torch.tensor([[1, 1], [1, -1]], dtype=torch.complex128) / 2**0.5
    assert float(mmd(z, x)) < 1e-15
    assert float(wasserstein(z, x)) == pytest.approx(0.5, abs=1e-12)


@some
@given(kinds, qubits, seeds)
def test_average_is_of_the_density_matrices(kind, n, seed):
    a, _ = ensembles(kind, n, seed)
    expected = (density(a) if kind == "kets" else a).mean(0)
    torch.testing.assert_close(average(a), expected, **CLOSE)


@some
@given(kinds, qubits, seeds)
def test_exact_wasserstein_solves_the_linear_program(kind, n, seed):
    a, b = ensembles(kind, n, seed)
    cost = (1 - kernel(a, b)).numpy()
    rows, columns = np.kron(np.eye(5), np.ones(7)), np.kron(np.ones(5), np.eye(7))
    weights = np.r_[np.full(5, 1 / 5), np.full(7, 1 / 7)]
    program = linprog(cost.ravel(), A_eq=np.r_[rows, columns], b_eq=weights)
    assert float(wasserstein(a, b)) == pytest.approx(program.fun, abs=1e-9)
    # The kernel of a state with itself is above 1 by the clamp of a root.
    assert float(wasserstein(a, a)) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("kind", ["kets", "density"])
def test_sinkhorn_tends_to_the_exact_distance_from_above(kind):
    a, b = ensembles(kind, 2, seed=3)
    exact = wasserstein(a, b)
    gaps = [float(wasserstein(a, b, "sinkhorn", reg) - exact) for reg in (0.1, 0.03, 0.01)]
    assert gaps == sorted(gaps, reverse=True)
    for gap, reg in zip(gaps, (0.1, 0.03, 0.01), strict=True):
        assert -1e-6 < gap <= reg * np.log(7)


def turned(states, angle):
    """States after RY(angle) on the first qubit."""
    c, s = (angle / 2).cos(), (angle / 2).sin()
    gate = torch.stack([torch.stack([c, -s]), torch.stack([s, c])]).to(torch.complex128)
    gate = torch.kron(gate, torch.eye(states.shape[-1] // 2, dtype=torch.complex128))
    return states @ gate.mT if states.ndim == 2 else gate @ states @ gate.mH


DISTANCES = {
    "mmd": mmd,
    "exact": wasserstein,
    "sinkhorn": lambda a, b: wasserstein(a, b, "sinkhorn", reg=0.1),
}


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("kind", ["kets", "density"])
def test_gradients_are_finite_differences(name, kind):
    a, b = ensembles(kind, 2, seed=5)

    def distance(angle):
        return DISTANCES[name](turned(a, angle), b)

    angle = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(distance(angle), angle)
    with torch.no_grad():
        numeric = (distance(angle + 1e-4) - distance(angle - 1e-4)) / 2e-4
    # The quotient is wrong by h^2 = 1e-8 and by the tolerance of the plan over h.
    torch.testing.assert_close(slope, numeric, rtol=0, atol=1e-6)
    assert abs(float(slope)) > 1e-3


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("name", ["superfidelity", "hilbert_schmidt", *DISTANCES])
@pytest.mark.parametrize("n", [1, 2])
def test_gradients_are_finite_at_mixed_and_pure_states(name, n, dtype):
    pure = density(random_kets(2, n)).to(dtype)
    mixed = maximally_mixed(n, dtype).expand(2, -1, -1)
    loss = {"superfidelity": superfidelity, "hilbert_schmidt": hilbert_schmidt} | DISTANCES
    for start in (pure, mixed):
        for target in (pure, mixed):
            states = start.clone().requires_grad_()
            loss[name](states, target).sum().backward()
            assert torch.view_as_real(states.grad).isfinite().all()


def test_ensembles_of_other_kinds_are_refused():
    kets, rho = random_kets(3, 2), random_density(3, 2)
    for other in (rho, random_kets(3, 1), random_kets(1, 2)[0]):
        for distance in (mmd, wasserstein):
            with pytest.raises(HQDMError, match="one kind|expected kets"):
                distance(kets, other)


def test_wasserstein_refuses_options_and_names_its_extra(monkeypatch):
    kets = random_kets(3, 1)
    with pytest.raises(HQDMError, match="did you mean 'sinkhorn'"):
        wasserstein(kets, kets, "sinkhorm")
    with pytest.raises(HQDMError, match="reg needs a positive"):
        wasserstein(kets, kets, "sinkhorn", 0)
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(HQDMError, match=r"pip install 'hqdm\[states\]'"):
        wasserstein(kets, kets)
