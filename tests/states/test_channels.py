"""Channels against PennyLane's default.mixed and default.qubit, and steps against closed forms."""

import math
from dataclasses import dataclass
from itertools import combinations

import pennylane as qml
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from random_states import random_density, random_kets

from hqdm.states.channels import (
    AmplitudeDamping,
    DampingChannel,
    Depolarising,
    Scrambling,
    build_channel,
    channel_config,
)
from hqdm.states.density import check_density, check_kets, density, maximally_mixed
from hqdm.states.distances import trace_distance
from hqdm.utils.errors import HQDMError

# Some thousand operations on numbers below 1 in float64.
CLOSE = {"rtol": 0, "atol": 1e-12}
schedules = st.sampled_from(["cosine", "cosine2", "linear"])
damping = st.one_of(
    st.builds(Depolarising, n_steps=st.integers(1, 12), schedule=schedules, local=st.booleans()),
    st.builds(AmplitudeDamping, n_steps=st.integers(1, 12), schedule=schedules),
)
seeds = st.integers(0, 2**31)
qubits = st.integers(1, 3)
some = settings(max_examples=15, deadline=None)


def on_default_mixed(rho, *channels):
    """The state of default.mixed after channels."""
    n = rho.shape[-1].bit_length() - 1

    @qml.qnode(qml.device("default.mixed", wires=n))
    def circuit():
        qml.QubitDensityMatrix(rho, wires=range(n))
        for channel in channels:
            qml.apply(channel)
        return qml.density_matrix(range(n))

    return torch.as_tensor(circuit())


def pennylanes(channel, t, n):
    """PennyLane's own channels for step t, without our Kraus operators."""
    a = channel.kept(t)
    if isinstance(channel, AmplitudeDamping):
        return [qml.AmplitudeDamping(1 - a, wires=i) for i in range(n)]
    if channel.local or n == 1:
        return [qml.DepolarizingChannel(3 * (1 - a) / 4, wires=i) for i in range(n)]
    words = qml.pauli.pauli_group(n)
    matrices = [qml.pauli.pauli_word_to_matrix(w, {i: i for i in range(n)}) for w in words]
    weights = [a + (1 - a) / 4**n, *[(1 - a) / 4**n] * (4**n - 1)]
    kraus = [math.sqrt(w) * m for w, m in zip(weights, matrices, strict=True)]
    return [qml.QubitChannel(kraus, wires=range(n))]


@some
@given(damping, qubits, st.data(), seeds)
def test_steps_are_those_of_default_mixed(channel, n, data, seed):
    t = data.draw(st.integers(1, channel.n_steps))
    rho = random_density(1, n, seed)
    stepped = channel.step(rho, t)[0]
    ours = qml.QubitChannel(list(channel.kraus(t, n).numpy()), wires=range(n))
    theirs = on_default_mixed(rho[0], *pennylanes(channel, t, n))
    # PennyLane adds 1e-14 under the root of a of amplitude damping; 1 - a itself is rounded.
    atol = 1e-12 + 2e-14 / math.sqrt(channel.kept(t) + 1e-14)
    torch.testing.assert_close(theirs, stepped, rtol=0, atol=atol)
    torch.testing.assert_close(on_default_mixed(rho[0], ours), stepped, **CLOSE)


@some
@given(damping, qubits, seeds)
def test_composed_steps_are_the_closed_form(channel, n, seed):
    rho = states = random_density(2, n, seed)
    path = channel.path(rho[0])
    torch.testing.assert_close(channel.at(rho, 0), rho, **CLOSE)
    for t in range(1, channel.n_steps + 1):
        states = channel.step(states, t)
        torch.testing.assert_close(states, channel.at(rho, t), **CLOSE)
        torch.testing.assert_close(states[0], path[t], **CLOSE)
    check_density(states)
    # The root of a signal of rounding size, 4e-33, is left in the coherences of amplitude damping.
    torch.testing.assert_close(states, channel.prior(2, n), rtol=0, atol=1e-15**0.5)


@some
@given(damping, qubits, st.data(), seeds)
def test_adjoint_steps_have_the_expectations_of_steps(channel, n, data, seed):
    t = data.draw(st.integers(1, channel.n_steps))
    rho, a = random_density(2, n, seed), random_density(2, n, seed + 1)
    before = torch.einsum("bij,bji->b", channel.adjoint_step(a, t), rho)
    after = torch.einsum("bij,bji->b", a, channel.step(rho, t))
    torch.testing.assert_close(before, after, **CLOSE)


@some
@given(damping)
def test_signal_falls_from_one_to_zero(channel):
    assert channel.signal[0] == 1
    assert len(channel.signal) == channel.n_steps + 1
    assert all(a > b for a, b in zip(channel.signal, channel.signal[1:], strict=False))
    assert 0 <= channel.signal[-1] < 1e-30


def test_schedules_at_half_time():
    g = [math.cos(math.pi / 2 * (t / 2 + 0.008) / 1.008) ** 2 for t in range(3)]
    assert Depolarising(2).signal[1] == pytest.approx(g[1] / g[0], abs=1e-15)
    assert Depolarising(2, "cosine2").signal[1] == pytest.approx(1 - (1 - g[1] / g[0]) ** 2)
    assert Depolarising(2, "linear").signal[1] == 0.5


def test_depolarising_shortens_the_bloch_vector_of_each_reduced_state():
    rho = random_density(1, 2, seed=4)
    for local in (False, True):
        channel = Depolarising(5, local=local)
        mixed = channel.at(rho, 2)[0]
        a = channel.signal[2]
        expected = a * qml.math.reduce_dm(rho[0], [1]) + (1 - a) * maximally_mixed(1)
        torch.testing.assert_close(qml.math.reduce_dm(mixed, [1]), expected, **CLOSE)
    product = torch.einsum("ij,ji->", mixed, torch.tensor(qml.matrix(qml.X(0) @ qml.Z(1)))).real
    before = torch.einsum("ij,ji->", rho[0], torch.tensor(qml.matrix(qml.X(0) @ qml.Z(1)))).real
    torch.testing.assert_close(product, a**2 * before, **CLOSE)


def test_channels_keep_the_dtype_and_gradients():
    rho = random_density(2, 2).to(torch.complex64).requires_grad_()
    for channel in (Depolarising(), Depolarising(local=True), AmplitudeDamping()):
        assert channel.at(rho, 3).dtype == torch.complex64
        assert channel.prior(2, 2, dtype=torch.complex64).dtype == torch.complex64
        (grad,) = torch.autograd.grad(channel.at(rho, 3).abs().sum(), rho)
        assert torch.view_as_real(grad).isfinite().all()


@some
@given(st.integers(1, 4), seeds)
def test_layers_are_those_of_default_qubit(n, seed):
    channel = Scrambling(2, h=[[0.5, 4.0, 2]])
    kets = random_kets(3, n, seed)
    draws = torch.Generator().manual_seed(seed)
    layers = [channel.angles(t, 3, n, draws) for t in (1, 2)]

    @qml.qnode(qml.device("default.qubit", wires=n))
    def circuit(i):
        qml.StatePrep(kets[i].numpy(), wires=range(n))
        for single, pair in layers:
            for wire in range(n):
                first, turn, last = single[i, wire].tolist()
                qml.RZ(first, wire)
                qml.RY(turn, wire)
                qml.RZ(last, wire)
            for wires in combinations(range(n), 2):
                qml.IsingZZ(float(pair[i]), wires)
        return qml.state()

    expected = torch.stack([torch.as_tensor(circuit(i)) for i in range(3)])
    result = channel.at(kets, 2, torch.Generator().manual_seed(seed))
    torch.testing.assert_close(result, expected, **CLOSE)
    torch.testing.assert_close(channel.at(kets, 0), kets, rtol=0, atol=0)


def test_angles_have_the_published_ranges():
    channel = Scrambling(20, h=[[0.5, 4.0, 20]])
    single, pair = channel.angles(20, 20_000, 3, torch.Generator().manual_seed(0))
    assert single.shape == (20_000, 3, 3)
    for values, low, high in (
        (single, -math.pi / 2, math.pi / 2),
        (pair, 0.8 / math.sqrt(3), 1.2 / math.sqrt(3)),
    ):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        # Four standard errors of the mean of a uniform variable.
        bound = 4 * (high - low) / math.sqrt(12 * values.numel())
        assert float(values.mean()) == pytest.approx((low + high) / 2, abs=bound)


def test_strengths_are_those_of_the_published_tasks():
    noise = Scrambling(20, h=[[0.05, 1.0, 12], [1.2, 4.0, 8]])
    assert noise.strengths[[0, 11, 12, 19]].tolist() == [0.05, 1, 1.2, 4]
    circle = Scrambling(40, h={"factor": 1e-3, "exponent": 2})
    expected = torch.tensor([1e-3 * t**2 for t in range(1, 41)], dtype=torch.float64)
    torch.testing.assert_close(circle.strengths, expected, **CLOSE)


@pytest.mark.parametrize("n", [1, 2])
def test_scrambling_leads_to_the_haar_average(n):
    ket = torch.zeros(4000, 2**n, dtype=torch.complex128)
    ket[:, 0] = 1
    channel = Scrambling(20, h=[[1.0, 4.0, 20]])
    result = channel.at(ket, 20, torch.Generator().manual_seed(1))
    check_kets(result)
    for states in (result, channel.prior(4000, n, torch.Generator().manual_seed(2))):
        # Entries of the average have a standard error below 1 / sqrt(4000).
        distance = trace_distance(density(states).mean(0), maximally_mixed(n))
        assert float(distance) < 4 * 2**n / math.sqrt(4000)
    assert float(trace_distance(density(channel.at(ket, 1)).mean(0), maximally_mixed(n))) > 0.3


def test_every_ket_has_its_own_circuit_and_seeds_repeat():
    kets = random_kets(1, 2).expand(2, -1)
    a, b = (Scrambling().at(kets, 3, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(a, b)
    assert float((a[0] - a[1]).abs().max()) > 0.01


CONFIGS = [
    Depolarising(7, "linear", local=True),
    AmplitudeDamping(5, "cosine2", s=0.001),
    Scrambling(20, [[0.05, 1.0, 12], [1.2, 4.0, 8]]),
    Scrambling(40, {"factor": 1e-3, "exponent": 2.0}),
]


@pytest.mark.parametrize("channel", CONFIGS)
def test_a_configuration_rebuilds_the_channel(channel):
    config = yaml.safe_load(yaml.safe_dump(channel_config(channel)))
    assert build_channel(**config) == channel


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "depolarizing"}, "did you mean 'depolarising'"),
        ({"name": "depolarising", "steps": 3}, "steps"),
        ({"name": "depolarising", "n_steps": 3.5}, "channel.n_steps: expected a whole number"),
        ({"name": "depolarising", "n_steps": 0}, "n_steps needs a whole number from 1"),
        ({"name": "depolarising", "s": 1.0}, "offset s"),
        ({"name": "depolarising", "schedule": "cos"}, "schedule"),
        ({"name": "scrambling", "n_steps": 3}, "h has 20 steps"),
        ({"name": "scrambling", "h": [[1.0, 2.0]]}, r"start, stop, steps"),
        ({"name": "scrambling", "h": {"factor": 1.0}}, "keys factor, exponent"),
        ({"name": "scrambling", "h": {"factor": -1.0, "exponent": 2}}, "factor needs a positive"),
        ({"name": "scrambling", "h": [[math.nan, 2.0, 20]]}, "finite"),
    ],
)
def test_bad_configurations_are_one_line(config, message):
    with pytest.raises(HQDMError, match=message):
        build_channel(**config)


@pytest.mark.parametrize("channel", [Depolarising(3), Scrambling()])
def test_steps_out_of_range_are_refused(channel):
    states = channel.prior(1, 1)
    for t in (-1, channel.n_steps + 1):
        with pytest.raises(HQDMError, match="t needs a whole number"):
            channel.at(states, t)
    with pytest.raises(HQDMError, match="from 1, got 0"):
        channel.step(states, 0)


def test_kraus_operators_beyond_memory_are_refused():
    for channel in (Depolarising(), Depolarising(local=True)):
        with pytest.raises(HQDMError, match="8 qubits would take"):
            channel.kraus(1, 8)


@pytest.mark.parametrize("local", [False, True])
def test_paths_beyond_memory_are_refused(local):
    rho = torch.eye(2**10, dtype=torch.complex128) / 2**10
    with pytest.raises(HQDMError, match=r"^101 density matrices of 10 qubits would take"):
        Depolarising(n_steps=100, local=local).path(rho)


def test_a_class_without_a_name_is_not_saved():
    @dataclass(frozen=True)
    class Unnamed(DampingChannel):
        prior = Depolarising.prior
        _kraus = Depolarising._kraus

    with pytest.raises(HQDMError, match="hqdm.register_channel"):
        channel_config(Unnamed())
