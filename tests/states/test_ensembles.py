"""Ensembles against closed forms, PennyLane's Hamiltonians and scipy's matrix exponential."""

import math

import numpy as np
import pennylane as qml
import pytest
import torch
from random_states import random_density, random_kets
from scipy.linalg import expm

from hqdm import HQDMError
from hqdm.states.density import check_density, check_kets
from hqdm.states.distances import overlap
from hqdm.states.ensembles import (
    ENSEMBLES,
    LAYERS,
    build_ensemble,
    from_qfunc,
    from_tensor,
    ising_hamiltonian,
)
from hqdm.utils.seeds import generator

NAMES = sorted(set(ENSEMBLES) - {"tensor"})
FIXED = ("gibbs", "random_pure", "low_rank_mixed")


@pytest.mark.parametrize("name", NAMES)
def test_states_are_states_and_follow_from_the_seed(name):
    ensemble = build_ensemble(name)
    states = ensemble.sample(7, generator(3))
    assert states.dtype == torch.complex128
    assert states.shape == (7, *(1 if ensemble.pure else 2) * (2**ensemble.n_qubits,))
    (check_kets if ensemble.pure else check_density)(states)
    assert torch.equal(states, ensemble.sample(7, generator(3)))
    assert torch.equal(states, ensemble.sample(7, generator(4))) == (name in FIXED)


def test_another_seed_gives_another_fixed_state():
    for name in ("random_pure", "low_rank_mixed"):
        a, b = (build_ensemble(name, seed=seed).sample(1, generator(0)) for seed in (1, 2))
        assert (a - b).abs().max() > 1e-3


@pytest.mark.parametrize(("n_qubits", "scale", "published"), [(1, 0.08, 0.988), (2, 0.06, 0.979)])
def test_fidelity_of_a_cluster_to_its_centre(n_qubits, scale, published):
    kets = build_ensemble("cluster", n_qubits=n_qubits, scale=scale).sample(40_000, generator(0))
    # F = 1 / (1 + s^2 q), with q chi-squared of k degrees of freedom: mean k, variance 2 k.
    k = 2 * (2**n_qubits - 1)
    q = torch.linspace(1e-9, 80, 400_001).double()
    weights = torch.distributions.Chi2(torch.tensor(float(k)).double()).log_prob(q).exp()
    mean = torch.trapezoid(weights / (1 + scale**2 * q), q)
    error = scale**2 * math.sqrt(2 * k / 40_000)
    assert abs(overlap(kets, torch.eye(2**n_qubits)[0]).mean() - mean) < 5 * error
    assert abs(mean - published) < 1e-3  # of the data of QuDDPM, rounded to three digits


def test_the_circle_is_real_and_even():
    kets = build_ensemble("circle").sample(20_000, generator(0))
    assert kets.imag.abs().max() == 0
    average = (kets[:, :, None] * kets[:, None].conj()).mean(0).real
    # Entries are means of numbers of variance 1 / 8.
    assert (average - torch.eye(2) / 2).abs().max() < 5 * math.sqrt(1 / 8 / 20_000)


def test_correlated_noise_is_that_of_its_two_generators():
    kets = build_ensemble("correlated_noise").sample(20_000, generator(0))
    centre = np.sqrt([0.1, 0.55, 0, 0.35]) * np.exp(1j * np.array([0.8, 1.7, 0, 2.4]))
    x, z = np.array([[0, 1], [1, 0]]), np.diag([1, -1])
    angles = np.linspace(-math.pi / 3, math.pi / 3, 401)
    distances = []
    for pauli in (x, z):
        curve = [expm(-1j * a * np.kron(pauli, pauli)) @ centre for a in angles]
        nearest = (torch.from_numpy(np.array(curve)) @ kets[:50].mH).abs().amax(0)
        distances.append(1 - nearest)
    # The nearest of the 401 rotations is within half a spacing, 2.6e-3 in angle.
    assert torch.minimum(*distances).max() < 1e-5
    # <10| has XX only: 0.8 0.55 E sin^2 a, with E cos 2a = sin(2 pi / 3) / (2 pi / 3).
    population = kets[:, 2].abs().square()
    mean = 0.8 * 0.55 * (1 - math.sin(2 * math.pi / 3) / (2 * math.pi / 3)) / 2
    assert abs(population.mean() - mean) < 5 * population.std() / math.sqrt(20_000)


def pennylanes_chain(n, g):
    ops = [qml.Z(i) @ qml.Z(i + 1) for i in range(n - 1)] + [qml.X(i) for i in range(n)]
    hamiltonian = qml.Hamiltonian([-1.0] * (n - 1) + [-g] * n, ops)
    return torch.as_tensor(qml.matrix(hamiltonian, wire_order=range(n))).to(torch.complex128)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_hamiltonians_are_pennylanes(n):
    found = ising_hamiltonian(n, torch.tensor([0.3, 1.7], dtype=torch.float64))
    expected = torch.stack([pennylanes_chain(n, g) for g in (0.3, 1.7)])
    torch.testing.assert_close(found.to(expected), expected, atol=1e-14, rtol=0)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("g", [0.05, 0.7, 2.0])
def test_ising_states_are_ground_states_of_even_parity(n, g):
    (ket,) = build_ensemble("ising", n_qubits=n, low=g, high=g).sample(1, generator(0))
    matrix = pennylanes_chain(n, g)
    energy = torch.linalg.eigvalsh(matrix)[0]
    torch.testing.assert_close(matrix @ ket, energy * ket, atol=1e-13, rtol=0)
    torch.testing.assert_close(ket.flip(0), ket, atol=1e-15, rtol=0)
    assert ket.real.min() > 0


def test_fields_fill_their_interval():
    kets = build_ensemble("ising", n_qubits=2, low=0.2, high=2.0).sample(400, generator(0))
    # Two spins: the even sector {|00> + |11>, |01> + |10>} has tan(2 theta) = 2 g, theta the angle.
    theta = torch.atan2(kets[:, 1].real, kets[:, 0].real)
    g = (2 * theta).tan() / 2
    assert 0.2 < g.min() < 0.25
    assert 1.95 < g.max() < 2.0


@pytest.mark.parametrize("n", [1, 3])
def test_gibbs_states_are_scipys_exponential(n):
    (rho,) = build_ensemble("gibbs", n_qubits=n, low=0.6, high=0.6, beta=1.3).sample(
        1, generator(0)
    )
    unnormalised = expm(-1.3 * pennylanes_chain(n, 0.6).numpy())
    expected = torch.from_numpy(unnormalised / np.trace(unnormalised))
    torch.testing.assert_close(rho, expected, atol=1e-13, rtol=0)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_random_kets_are_those_of_their_circuit(n):
    draws = generator(5)
    (found,) = build_ensemble("random_pure", n_qubits=n, seed=5).sample(1, generator(0))

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


def test_quantum_functions_prepare_states():
    def bell(x):
        qml.RY(x[0], wires=0)
        qml.CNOT(wires=(0, 1))
        qml.RZ(x[1], wires=1)

    ensemble = from_qfunc(bell, n_qubits=2, n_inputs=2, low=0.5, high=1.5)
    found = ensemble.sample(5, generator(1))
    angles = 0.5 + torch.rand(1, 5, 2, generator=generator(1), dtype=torch.float64)[0]
    half, phase = angles[:, 0] / 2, torch.exp(0.5j * angles[:, 1])
    zero = torch.zeros(5)
    expected = torch.stack([half.cos() / phase, zero, zero, half.sin() * phase], -1)
    torch.testing.assert_close(found, expected, atol=1e-14, rtol=0)
    assert ensemble.pure


@pytest.mark.parametrize("make", [random_kets, random_density])
@pytest.mark.parametrize("suffix", [".npy", ".pt"])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_states_of_a_file_are_drawn_evenly(make, suffix, dtype, tmp_path):
    states = make(3, 2, seed=1).to(dtype)
    file = tmp_path / f"states{suffix}"
    if suffix == ".pt":
        torch.save(states, file)
    else:
        np.save(file, states.numpy())
    ensemble = build_ensemble("tensor", n_qubits=2, file=str(file))
    assert ensemble.pure == (make is random_kets)
    drawn = ensemble.sample(3000, generator(0))
    (check_kets if ensemble.pure else check_density)(drawn)
    gaps = (drawn[:, None] - states).flatten(2).abs().amax(-1)  # (3000, 3)
    nearest, which = gaps.min(1)
    assert nearest.max() < 4 * torch.finfo(dtype).eps
    counts = which.bincount(minlength=3)
    assert (counts - 1000).abs().max() < 5 * math.sqrt(3000 * 2 / 9)


def test_real_tensors_are_states():
    kets = from_tensor(torch.eye(4)).sample(2, generator(0))
    assert kets.dtype == torch.complex128
    assert torch.equal(kets.abs().sum(1), torch.ones(2).double())


def test_rounded_matrices_become_hermitian_and_of_trace_one():
    rho = torch.tensor([[[0.5, 0.1 + 1e-5j], [0.1, 0.5001]]], dtype=torch.complex64)
    (found,) = from_tensor(rho).sample(1, generator(0))
    assert torch.equal(found, found.mH)
    assert abs(found.trace() - 1) < 1e-15
    assert (found - rho[0]).abs().max() < 1e-4  # the errors above


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (0.5 * torch.eye(2), "kets .* need norm 1, got a squared norm off by 7.5e-01"),
        (torch.eye(2)[None], "density matrices .* need trace 1"),
        (torch.tensor([[[1.0, 1.0], [0.0, 0.0]]]), "Hermitian"),
        (torch.tensor([[[1.5, 0.0], [0.0, -0.5]]]), "eigenvalues of at least 0, got -5.0e-01"),
        (torch.eye(3), "dimension 2, 4, 8, ..., got 3"),
        (torch.full((1, 2), math.nan), "finite numbers, got NaN or infinity"),
        (torch.full((1, 2, 2), math.inf), "finite numbers, got NaN or infinity"),
        (torch.ones(2), r"got shape \(2,\)"),
        (torch.ones(0, 2), "not empty"),
    ],
)
def test_tensors_that_are_no_states_are_refused(states, message, tmp_path):
    with pytest.raises(HQDMError, match=message):
        from_tensor(states)
    file = tmp_path / "states.npy"
    np.save(file, states.numpy())
    with pytest.raises(HQDMError, match=f"^{file}: .*{message}"):
        build_ensemble("tensor", file=str(file))


def test_files_that_are_no_tensors_are_refused(tmp_path):
    def refused(name, message, **options):
        with pytest.raises(HQDMError, match=message) as error:
            build_ensemble("tensor", file=str(tmp_path / name), **options)
        assert "\n" not in str(error.value)

    with pytest.raises(HQDMError, match=r"needs data.options.file: a file .npy or .pt with kets"):
        build_ensemble("tensor")
    refused("missing.npy", "there is no file .*missing.npy: data.options.file")
    (tmp_path / "states.csv").write_text("1,0")
    refused("states.csv", "needs a file .npy or .pt")
    for name in ("damaged.npy", "damaged.pt"):
        (tmp_path / name).write_bytes(b"\x93NUMPY no states")
        refused(name, "holds no tensor that can be read")
    (tmp_path / "text.pt").write_text("junk")  # which torch reads as a pickle with a short number
    refused("text.pt", "holds no tensor that can be read")
    np.save(tmp_path / "objects.npy", np.array([{}, 1]), allow_pickle=True)
    refused("objects.npy", "holds no tensor that can be read")
    np.save(tmp_path / "texts.npy", np.array(["a"]))
    refused("texts.npy", "holds no tensor that can be read")
    torch.save([torch.eye(2)], tmp_path / "list.pt")
    refused("list.pt", "needs one tensor, got list")
    torch.save(torch.eye(4), tmp_path / "two.pt")
    refused("two.pt", "has states of n_qubits=2, got 3", n_qubits=3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sphere", {}, "ensemble 'sphere'"),
        ("circle", {"n_qubits": 2}, "circle needs n_qubits=1, got 2"),
        ("correlated_noise", {"n_qubits": 1}, "correlated_noise needs n_qubits=2, got 1"),
        ("cluster", {"scale": 0.0}, "scale"),
        ("cluster", {"width": 1.0}, "'width'"),
        ("ising", {"n_qubits": 9}, "n_qubits needs a whole number up to 8"),
        ("gibbs", {"n_qubits": 9}, "n_qubits needs a whole number up to 8"),
        ("gibbs", {"beta": -1.0}, "beta"),
        ("ising", {"low": 0.5, "high": 0.4}, "0 < low <= high"),
        ("ising", {"low": 0.0}, "0 < low <= high"),
        ("haar", {"n_qubits": 0}, "n_qubits"),
    ],
)
def test_options_that_cannot_be_used_are_refused(name, options, message):
    with pytest.raises(HQDMError, match=message):
        build_ensemble(name, **options)


def test_empty_intervals_of_features_are_refused():
    with pytest.raises(HQDMError, match="low <= high"):
        from_qfunc(lambda x: qml.RX(x[0], wires=0), 1, low=1.0, high=0.0)


def test_states_beyond_the_memory_limit_are_refused():
    with pytest.raises(HQDMError, match=r"1000 kets of 30 qubits .* use fewer qubits or states$"):
        build_ensemble("cluster", n_qubits=30).sample(1000, generator(0))
    with pytest.raises(HQDMError, match="1 density matrices of 14 qubits"):
        build_ensemble("low_rank_mixed", n_qubits=14).sample(1, generator(0))
    with pytest.raises(HQDMError, match="2000 density matrices of 8 qubits"):
        build_ensemble("ising", n_qubits=8).sample(2000, generator(0))
