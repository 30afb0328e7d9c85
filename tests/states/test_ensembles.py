"""Ensembles against closed forms and PennyLane's Hamiltonians."""

import math

import pennylane as qml
import pytest
import torch

from hqdm import HQDMError
from hqdm.states.density import check_density, check_kets
from hqdm.states.ensembles import ENSEMBLES, LAYERS, build_ensemble, circuit_ket
from hqdm.utils.seeds import generator


@pytest.mark.parametrize("name", sorted(ENSEMBLES))
def test_states_are_states_and_follow_from_the_seed(name):
    n_qubits = 2 if name == "ising" else 1
    ensemble = build_ensemble(name, n_qubits=n_qubits)
    states = ensemble.sample(7, generator(3))
    assert states.dtype == torch.complex128
    assert states.shape == (7, *(1 if ensemble.pure else 2) * (2**n_qubits,))
    (check_kets if ensemble.pure else check_density)(states)
    assert torch.equal(states, ensemble.sample(7, generator(3)))
    fixed = name in ("random_pure", "low_rank_mixed")
    assert torch.equal(states, ensemble.sample(7, generator(4))) == fixed


def test_fidelity_of_a_cluster_to_its_centre():
    states = build_ensemble("cluster", n_qubits=2, scale=0.06).sample(40_000, generator(0))
    # 1 / (1 + s^2 q), q chi-squared with 6 degrees of freedom: mean 6, variance 12
    s2 = 0.06**2
    q = torch.distributions.Chi2(torch.tensor(6.0).double())
    x = torch.linspace(1e-9, 60, 200_001).double()
    mean = torch.trapezoid(q.log_prob(x).exp() / (1 + s2 * x), x)
    error = s2 * math.sqrt(12 / 40_000)
    assert abs(states[:, 0].abs().square().mean() - mean) < 5 * error


def test_the_circle_is_real_and_even():
    states = build_ensemble("circle").sample(20_000, generator(0))
    assert states.imag.abs().max() == 0
    average = (states[:, :, None] * states[:, None].conj()).mean(0).real
    # entries are means of numbers of variance 1 / 8
    assert (average - torch.eye(2) / 2).abs().max() < 5 * math.sqrt(1 / 8 / 20_000)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_ising_states_are_ground_states(n):
    states = build_ensemble("ising", n_qubits=n, low=0.7, high=0.7000001).sample(1, generator(0))
    ops = [qml.Z(i) @ qml.Z(i + 1) for i in range(n - 1)] + [qml.X(i) for i in range(n)]
    hamiltonian = qml.Hamiltonian([-1.0] * (n - 1) + [-0.7] * n, ops)
    matrix = torch.as_tensor(qml.matrix(hamiltonian, wire_order=range(n)), dtype=torch.complex128)
    lowest = torch.linalg.eigvalsh(matrix)[0]
    energy = (states[0].conj() @ matrix @ states[0]).real
    torch.testing.assert_close(energy, lowest, atol=1e-6, rtol=0)  # the width of the interval of g


@pytest.mark.parametrize("n", [1, 2, 3])
def test_random_kets_are_those_of_their_circuit(n):
    draws = generator(5)
    found = circuit_ket(n, generator(5))

    @qml.qnode(qml.device("default.qubit", wires=n))
    def state():
        for _ in range(LAYERS):
            angles = math.pi * torch.rand(n, 2, generator=draws, dtype=torch.float64).numpy()
            for wire, (x, y) in enumerate(angles):
                qml.RX(x, wires=wire)
                qml.RY(y, wires=wire)
            for wire in range(n - 1):
                qml.CZ(wires=(wire, wire + 1))
        return qml.state()

    torch.testing.assert_close(found, torch.as_tensor(state()), atol=1e-12, rtol=0)


def test_low_rank_mixtures_have_rank_two():
    (rho,) = build_ensemble("low_rank_mixed", n_qubits=3, seed=4).sample(1, generator(0))
    spectrum = torch.linalg.eigvalsh(rho)
    assert spectrum[:6].abs().max() < 1e-12
    assert spectrum[6] > 1e-3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sphere", {}, "ensemble 'sphere'"),
        ("circle", {"n_qubits": 2}, "of one qubit"),
        ("cluster", {"scale": 0.0}, "scale"),
        ("cluster", {"width": 1.0}, "'width'"),
        ("ising", {"n_qubits": 9}, "n_qubits"),
        ("ising", {"n_qubits": 2, "low": 0.5, "high": 0.4}, "0 < low < high"),
        ("haar", {"n_qubits": 0}, "n_qubits"),
    ],
)
def test_options_that_cannot_be_used_are_refused(name, options, message):
    with pytest.raises(HQDMError, match=message):
        build_ensemble(name, **options)


def test_states_beyond_the_memory_limit_are_refused():
    with pytest.raises(HQDMError, match="density matrices of"):
        build_ensemble("cluster", n_qubits=30).sample(1000, generator(0))
