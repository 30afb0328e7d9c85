"""The bound of RE-QGDM against random unitaries, SciPy's optimisers and a recursion."""

from itertools import pairwise

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import thinned
from random_states import random_density, random_kets
from scipy.optimize import minimize
from scipy.stats import unitary_group

from hqdm.states.channels import AmplitudeDamping, Depolarising
from hqdm.states.density import density
from hqdm.states.distances import fidelity
from hqdm.states.majorisation import consecutive_sums, nearest_spectrum, path_bound
from hqdm.utils.errors import HQDMError

seeds = st.integers(0, 2**31)


def spectrum(n, seed, spread=2.0):
    """Eigenvalues of a random state, descending, of very different or of similar sizes."""
    weights = np.random.default_rng(seed).normal(size=2**n)
    return torch.from_numpy(spread * weights).softmax(0).sort(descending=True).values


def with_auxiliary(rho, m):
    """|0><0| (x) rho, the auxiliary qubits first."""
    joint = torch.zeros(2**m, *rho.shape[:1], 2**m, *rho.shape[1:], dtype=torch.complex128)
    joint[0, :, 0] = rho
    return joint.reshape(2**m * len(rho), -1)


def step(rho, unitary, m):
    """One step of the backward model with the unitary `(2^m d, 2^m d)`."""
    joint = unitary @ with_auxiliary(rho, m) @ unitary.mH
    qubits = len(joint).bit_length() - 1
    return qml.math.reduce_dm(joint, range(m, qubits))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(0, 2), seeds)
def test_no_unitary_exceeds_the_sums_or_the_fidelity(n, m, seed):
    rho, target = random_density(2, n, seed)
    unitary = torch.from_numpy(unitary_group.rvs(2 ** (n + m), random_state=seed))
    found = step(rho, unitary, m)
    sums = consecutive_sums(torch.linalg.eigvalsh(rho), m)
    eigenvalues = torch.linalg.eigvalsh(found).flip(0)
    assert (eigenvalues.cumsum(0) - sums.cumsum(0)).max() < 1e-12
    r = torch.linalg.eigvalsh(target).flip(0)
    assert fidelity(found, target) < (nearest_spectrum(r, sums) * r).sqrt().sum() ** 2 + 1e-7


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 1), (3, 1), (3, 2), (2, 2), (1, 3)])
def test_a_permutation_of_the_basis_attains_the_sums(n, m):
    values = spectrum(n, seed=n + m)
    joint = torch.cat([values, values.new_zeros((2**m - 1) * 2**n)])
    # Data qubits first: 2^m consecutive basis states have the same state of the data.
    rho = qml.math.reduce_dm(torch.diag(joint).to(torch.complex128), range(n))
    torch.testing.assert_close(
        torch.diag(rho).real, consecutive_sums(values, m), atol=1e-15, rtol=0
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(0, 1), seeds)
def test_the_nearest_spectrum_is_that_of_a_convex_optimiser(n, m, seed):
    r, sums = spectrum(n, seed, spread=3.0), consecutive_sums(spectrum(n, seed + 1, 0.5), m)
    found = nearest_spectrum(r, sums)
    assert (found[:-1] - found[1:]).min() > -1e-14
    assert (found.cumsum(0) - sums.cumsum(0)).max() < 1e-14
    assert abs(found.sum() - 1) < 1e-14
    limits, root = sums.cumsum(0)[:-1].numpy(), r.sqrt().numpy()
    best = minimize(
        lambda s: -np.sqrt(s.clip(1e-15)) @ root,
        np.full(2**n, 2.0**-n),
        bounds=[(1e-12, 1)] * 2**n,
        constraints=[
            {"type": "eq", "fun": lambda s: s.sum() - 1},
            {"type": "ineq", "fun": lambda s: limits - s.cumsum()[:-1]},
        ],
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert abs((found.sqrt() @ r.sqrt()) + best.fun) < 1e-6


def test_a_spectrum_that_is_permitted_is_its_own_nearest():
    r = torch.tensor([0.5, 0.3, 0.2, 0.0], dtype=torch.float64)
    sums = torch.tensor([0.6, 0.4, 0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(nearest_spectrum(r, sums), r, atol=1e-15, rtol=0)


@pytest.mark.parametrize(
    ("n", "kets", "bound"), [(1, 1, 1.0), (1, 2, 1.0), (2, 1, 0.7), (2, 2, None)]
)
def test_an_optimised_unitary_attains_the_bound(n, kets, bound):
    values = torch.tensor([[0.7, 0.3], [0.4, 0.3, 0.2, 0.1]][n - 1], dtype=torch.float64)
    rho = torch.diag(values).to(torch.complex128)
    weights = torch.tensor([1.0, 0.0] if kets == 1 else [0.9, 0.1], dtype=torch.float64)
    target = torch.zeros_like(rho)
    target[[0, 1], [0, 1]] = weights.to(torch.complex128)
    dim = 2 ** (n + 1)

    def loss(angles):
        x = torch.tensor(angles, requires_grad=True)
        generator = torch.view_as_complex(x.reshape(dim, dim, 2))
        found = step(rho, torch.matrix_exp(generator - generator.mH), 1)
        # The fidelity with a diagonal target is largest at a diagonal state, where it is this one.
        populations = found.diagonal().real[:2].clamp(min=1e-12)
        value = 1 - (populations.sqrt() @ weights.sqrt()) ** 2
        value.backward()
        return value.item(), x.grad.numpy()

    start = np.random.default_rng(3).normal(size=2 * dim * dim)
    best = 1 - minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-8}).fun
    r = target.diagonal().real
    limit = float((nearest_spectrum(r, consecutive_sums(values, 1)) * r).sqrt().sum() ** 2)
    assert bound is None or abs(limit - bound) < 1e-14
    assert limit - 1e-6 < best < limit + 1e-9


def followed(n, m, n_steps):
    """The last fidelity to a pure state by recursion: its eigenvalue p, the others are equal."""
    signal, d = Depolarising(n_steps).signal, 2**n
    p = 1 / d
    for abar in reversed(signal[:-1]):
        p = min(abar + (1 - abar) / d, p + (2 ** min(m, n) - 1) * (1 - p) / (d - 1))
    return p


# To three digits as an independent prototype found them.
@pytest.mark.parametrize(
    ("n_steps", "m", "expected"),
    thinned(
        [
            (30, 1, {1: 1.0, 2: 0.993, 3: 0.951, 4: 0.821, 8: 0.114}),
            (30, 2, {1: 1.0, 2: 1.0, 3: 0.995, 4: 0.973, 8: 0.293}),
            (100, 1, {2: 0.999, 3: 0.995, 4: 0.974, 8: 0.317}),
        ],
        every=3,
    ),
)
def test_bound_of_a_pure_target(n_steps, m, expected):
    for n, number in expected.items():
        rho = density(random_kets(1, n, seed=n))[0]
        found = path_bound(Depolarising(n_steps), rho, m)
        # The eigenvalues of 100 steps in 256 dimensions add their rounding.
        assert abs(found[0] - followed(n, m, n_steps)) < 1e-10
        assert abs(found[0] - number) < 5.1e-4
        assert abs(found[-1] - 1) < 1e-12


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3), st.sampled_from([Depolarising, AmplitudeDamping]), st.booleans(), seeds)
def test_as_many_auxiliary_qubits_as_qubits_follow_the_path(n, channel, pure, seed):
    rho = density(random_kets(1, n, seed))[0] if pure else random_density(1, n, seed)[0]
    bounds = torch.stack([path_bound(channel(12), rho, m) for m in range(n + 1)])
    assert bounds.max() < 1 + 1e-12
    torch.testing.assert_close(bounds[-1], torch.ones(13).double(), atol=1e-12, rtol=0)
    if channel is Depolarising:  # I / d stays as it is without auxiliary qubits
        expected = fidelity(rho, torch.eye(2**n).to(rho) / 2**n)
        assert abs(bounds[0, 0] - expected) < 1e-7
        assert all(more[0] > less[0] - 1e-12 for less, more in pairwise(bounds))


def test_a_negative_number_is_refused():
    with pytest.raises(HQDMError, match="n_auxiliary needs a whole number from 0, got -1"):
        path_bound(Depolarising(3), random_density(1, 1)[0], -1)
