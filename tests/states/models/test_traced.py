"""QGDM's step against PennyLane's density matrices, and its Kraus operators."""

import math

import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hqdm import HQDMError
from hqdm.states.density import density, haar_kets, maximally_mixed
from hqdm.states.models import traced as traced_module
from hqdm.states.models.traced import MAX_VECTORISED, TracedCircuit, channel_matrices, traced
from hqdm.utils.seeds import generator


def mixed(n, n_qubits, seed):
    """Random density matrices of full rank."""
    kets = haar_kets(4 * n, n_qubits, generator(seed))
    return density(kets).unflatten(0, (n, 4)).mean(1)


def of_pennylane(model, rho, t):
    """One step on PennyLane's `default.mixed`."""
    m, n = model.n_auxiliary, model.n_qubits
    wires = range(m + n)

    @qml.qnode(qml.device("default.mixed", wires=m + n))
    def step():
        qml.QubitDensityMatrix(rho.numpy(), wires=range(m, m + n))
        for wire in range(model.n_time):
            qml.RY(2 * math.pi * t / (model.n_steps + 1), wires=wire)
        if model.embedding is not None:
            model.embedding.circuit.ansatz.apply(model.embedding.theta[0].detach().numpy())
        model.circuit.circuit.ansatz.apply(model.circuit.theta[0].detach().numpy())
        return qml.density_matrix(wires=list(wires)[m:])

    return torch.as_tensor(step(), dtype=torch.complex128)


@given(
    n_qubits=st.integers(1, 2),
    n_time=st.integers(1, 2),
    n_fresh=st.integers(0, 1),
    time_layers=st.integers(0, 2),
    t=st.integers(1, 7),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=15, deadline=None)
def test_a_step_is_that_of_pennylane(n_qubits, n_time, n_fresh, time_layers, t, seed):
    torch.manual_seed(seed)
    model = TracedCircuit(
        n_qubits, 7, n_time, n_fresh, 2, time_layers=time_layers, angle_std=1.0
    ).double()
    (rho,) = mixed(1, n_qubits, seed)
    (after,) = model.step(rho[None], t, generator(0))
    torch.testing.assert_close(after, of_pennylane(model, rho, t), atol=1e-10, rtol=0)


@given(
    n_qubits=st.integers(1, 3),
    z=st.integers(1, 4),
    n=st.integers(1, 3),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=20, deadline=None)
def test_the_matrix_of_a_channel_is_its_kraus_sum(n_qubits, z, n, seed):
    draws, d = generator(seed), 2**n_qubits
    kraus = torch.randn(2, z, d, d, dtype=torch.complex128, generator=draws)  # of any map
    rho = mixed(n, n_qubits, seed)
    for matrix, operators in zip(channel_matrices(kraus), kraus, strict=True):
        expected = sum(k @ rho @ k.mH for k in operators)
        found = (matrix @ rho.flatten(1).mT).mT.view_as(rho)
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(traced(rho, operators), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("n_qubits", [1, 2, 3])
def test_matrices_of_channels_change_neither_states_nor_gradients(n_qubits, monkeypatch):
    torch.manual_seed(0)
    model = TracedCircuit(n_qubits, 5, 1, 1, 2, angle_std=1.0).double()
    start = mixed(2, n_qubits, 3)
    found = []
    for most in (MAX_VECTORISED, 0):
        monkeypatch.setattr(traced_module, "MAX_VECTORISED", most)
        assert model.maps([1])[0].ndim == (2 if most else 3)
        (*_, (_, last)) = model.chain(start, generator(0))
        (gradient,) = torch.autograd.grad(last[:, 0, 0].real.sum(), [model.circuit.theta[0]])
        found.append((last.detach(), gradient))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


def test_kraus_operators_are_complete():
    model = TracedCircuit(2, 5, 1, 1, 3, time_layers=1, angle_std=1.0).double()
    kraus = model.kraus(range(1, 6))
    complete = torch.einsum("tzij,tzik->tjk", kraus.conj(), kraus)
    expected = torch.eye(4, dtype=torch.complex128).expand(5, -1, -1)
    torch.testing.assert_close(complete, expected, atol=1e-12, rtol=0)


def test_the_chain_is_the_steps_in_turn():
    model = TracedCircuit(1, 4, n_layers=2, angle_std=1.0).double()
    states = start = mixed(3, 1, 5)
    found = dict(model.chain(start, generator(0)))
    assert list(found) == [3, 2, 1, 0]
    for t in (4, 3, 2, 1):
        states = model.step(states, t, generator(0))
        torch.testing.assert_close(found[t - 1], states)
    assert [t for t, _ in model.chain(start, generator(0), until=2)] == [3, 2]


@pytest.mark.parametrize(
    ("sizes", "angles"),
    [((1, 1, 0, 4), 28), ((1, 1, 1, 6), 72), ((2, 2, 0, 6), 108), ((2, 1, 2, 8), 200)],
)
def test_numbers_of_angles_of_the_prototypes(sizes, angles):
    n_qubits, n_time, n_fresh, n_layers = sizes
    model = TracedCircuit(n_qubits, 30, n_time, n_fresh, n_layers)
    assert sum(p.numel() for p in model.parameters()) == angles


def test_every_angle_has_a_gradient():
    torch.manual_seed(1)
    model = TracedCircuit(1, 3, 1, 1, 2, time_layers=1, angle_std=1.0).double()
    (*_, (_, last)) = model.chain(maximally_mixed(1)[None], generator(0))
    last[0, 0, 0].real.backward()
    # Without gates after them, rotations about ZZ of the auxiliary qubits alone change nothing.
    moved = model.circuit.theta[0].grad.abs() > 1e-12
    assert moved[0].all()
    assert (model.embedding.theta[0].grad.abs() > 1e-12).any()


def test_states_of_other_shapes_are_refused():
    model = TracedCircuit(1, 3)
    with pytest.raises(HQDMError, match="of dimension 2"):
        model.step(maximally_mixed(2)[None], 1, generator(0))
    with pytest.raises(HQDMError, match="got kets"):
        model.step(haar_kets(3, 1, generator(0)), 1, generator(0))
    with pytest.raises(HQDMError, match="t needs|t: |t "):
        model.step(maximally_mixed(1)[None], 4, generator(0))


def test_kraus_operators_beyond_the_memory_limit_are_refused():
    with pytest.raises(HQDMError, match="density matrices of 6 qubits"):
        TracedCircuit(6, 1000, n_time=3, n_fresh=3)
