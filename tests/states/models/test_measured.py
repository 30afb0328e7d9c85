"""QuDDPM's and MSQuDDPM's measured step against PennyLane and against the traced channel."""

import pennylane as qml
import pytest
import torch

from hqdm import HQDMError
from hqdm.states.density import density, haar_kets
from hqdm.states.models.measured import MeasuredCircuit, collapsed, outcomes
from hqdm.states.models.traced import traced
from hqdm.utils.seeds import generator


def matrix_of(model, t):
    """The unitary of a step, by PennyLane."""
    circuits, n = model.circuits, model.n_qubits + model.n_ancillas
    queue = circuits.circuit.ansatz.apply
    found = qml.matrix(queue, wire_order=range(n))(circuits.theta[t - 1].detach())
    return torch.as_tensor(found, dtype=torch.complex128)


@pytest.fixture
def model():
    torch.manual_seed(3)
    return MeasuredCircuit(2, 3, n_ancillas=2, n_layers=2).double()


@pytest.mark.parametrize("t", [1, 2, 3])
def test_states_after_measurements_are_projected(model, t):
    kets = haar_kets(40, 2, generator(1))
    after = model.step(kets, t, generator(2))
    unitary = matrix_of(model, t)
    for before, found in zip(kets, after, strict=True):
        whole = unitary[:, :4] @ before  # ancillas in |00>
        branches = whole.reshape(4, 4)
        branches = branches / branches.norm(dim=1, keepdim=True)
        assert (branches - found).abs().max(1).values.min() < 1e-10


@pytest.mark.parametrize("haar", [False, True])
def test_kets_one_by_one_follow_the_columns(monkeypatch, haar):
    """Values and gradients, with the same outcomes."""

    def run(is_direct):
        monkeypatch.setattr(MeasuredCircuit, "is_direct", lambda self, states: is_direct)
        torch.manual_seed(3)
        model = MeasuredCircuit(2, 3, n_ancillas=2, n_layers=2, haar=haar).double()
        kets = haar_kets(7, 2, generator(1)).requires_grad_()
        (*_, (_, after)) = model.chain(kets, generator(2))
        slope = haar_kets(7, 2, generator(5))
        (after * slope).real.sum().backward()
        return after, kets.grad, *(theta.grad for theta in model.parameters())

    for one_by_one, by_columns in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(one_by_one, by_columns, atol=1e-10, rtol=0)


def test_many_qubits_are_simulated_as_trajectories(monkeypatch):
    """The Kraus operators of 13 qubits and two outcomes would take 1 GiB."""
    monkeypatch.setattr(MeasuredCircuit, "kraus", lambda *_: pytest.fail("operators are computed"))
    model = MeasuredCircuit(13, 2, n_layers=1)
    kets = haar_kets(2, 13, generator(0), torch.complex64)
    after = model.step(kets, 2, generator(1))
    assert after.shape == kets.shape
    norms = torch.linalg.vector_norm(after, dim=1)
    torch.testing.assert_close(norms, torch.ones(2), atol=1e-5, rtol=0)
    assert not torch.allclose(after, kets, atol=1e-2)


@pytest.mark.parametrize(
    ("n_qubits", "n_kets", "haar", "direct"),
    [
        *[(8, 127, False, True), (8, 128, False, False), (8, 128, True, True)],
        *[(2, 2, False, False), (10, 600, False, False), (13, 4096, False, True)],
    ],
)
def test_kets_are_simulated_one_by_one_where_that_takes_less(n_qubits, n_kets, haar, direct):
    model = MeasuredCircuit(n_qubits, 1, n_ancillas=2, n_layers=1, haar=haar)
    assert model.is_direct(torch.empty(n_kets, 2**n_qubits)) == direct
    assert not model.is_direct(torch.empty(1, 2**n_qubits, 1).expand(-1, -1, 2**n_qubits))


def test_operators_beyond_the_memory_limit_are_refused():
    with pytest.raises(HQDMError, match="10 density matrices of 12 qubits would take"):
        MeasuredCircuit(12, 5, n_layers=1).kraus(range(1, 6))


def test_density_matrices_follow_the_kets(model):
    kets = haar_kets(40, 2, generator(1))
    pure, mixed = (model.step(states, 2, generator(7)) for states in (kets, density(kets)))
    torch.testing.assert_close(density(pure), mixed, atol=1e-10, rtol=0)


def test_the_mean_over_outcomes_is_the_traced_channel(model):
    kets = haar_kets(1, 2, generator(1)).expand(20_000, -1)
    with torch.no_grad():
        after = density(model.step(kets, 1, generator(5))).mean(0)
        expected = traced(density(kets[:1]), model.kraus([1])[0, 0])[0]
    # Entries are means of 20,000 numbers in the unit disc: standard errors of 0.007 at most.
    assert (after - expected).abs().max() < 5 * 0.0071


def test_a_haar_ancilla_enters_as_the_first_qubit():
    torch.manual_seed(2)
    model = MeasuredCircuit(1, 2, n_ancillas=2, n_layers=2, haar=True).double()
    with torch.no_grad():
        kraus, unitary = model.kraus([2])[0], matrix_of(model, 2)
    for first in (0, 1):  # ancillas |first, 0>, data last
        expected = unitary[:, 4 * first : 4 * first + 2].reshape(4, 2, 2)
        torch.testing.assert_close(kraus[first], expected, atol=1e-12, rtol=0)


def test_haar_ancillas_make_samples_of_equal_states_differ():
    torch.manual_seed(2)
    start = torch.eye(2, dtype=torch.complex128).expand(50, -1, -1) / 2
    for haar, distinct in ((True, 50), (False, 2)):
        model = MeasuredCircuit(1, 1, haar=haar).double()
        after = model.step(start, 1, generator(3)).detach()
        rounded = {tuple(row) for row in after.flatten(1).abs().mul(1e8).round().tolist()}
        assert len(rounded) <= distinct
        assert haar == (len(rounded) == 50)


@pytest.mark.parametrize(("n_ancillas", "unital"), [(1, True), (2, False)])
def test_a_haar_ancilla_alone_keeps_the_average_of_samples(n_ancillas, unital):
    """Over the ancilla and the outcomes 1/d goes to sum_az K K^dagger / (2 d), which is 1/d."""
    torch.manual_seed(2)
    model = MeasuredCircuit(1, 1, n_ancillas=n_ancillas, haar=True).double()
    kraus = model.kraus([1])[0].detach().flatten(0, 1)
    average = (kraus @ kraus.mH).sum(0) / 4
    assert torch.allclose(average, torch.eye(2).to(average) / 2, atol=1e-12) == unital


def test_outcomes_have_their_probabilities():
    weights = torch.tensor([[1.0, 2.0, 0.0, 5.0]]).double().expand(40_000, -1)
    counts = outcomes(weights, generator(0)).bincount(minlength=4) / 40_000
    # standard errors of at most sqrt(1 / 4 / 40,000) = 0.0025
    torch.testing.assert_close(
        counts.double(), torch.tensor([0.125, 0.25, 0, 0.625]).double(), atol=5 * 0.0025, rtol=0
    )
    assert counts[2] == 0


@pytest.mark.parametrize("as_density", [False, True])
def test_derivatives_of_states_after_the_same_outcomes(as_density):
    def run(theta):
        angle = theta.cos() + 0j, theta.sin() + 0j
        one = torch.stack([torch.stack(angle), torch.stack((-angle[1], angle[0]))])
        kraus = torch.stack([0.6 * one, 0.8 * one @ one])
        kets = haar_kets(5, 1, generator(4))
        states = density(kets) if as_density else kets
        after = collapsed(states, kraus, generator(9))
        return torch.view_as_real(after)

    theta = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, theta, atol=1e-6)


@pytest.mark.parametrize(
    ("task", "angles"),
    [
        ((1, 20, 1, 4), 320),
        ((2, 20, 1, 6), 720),
        ((1, 40, 2, 6), 1440),
        ((2, 20, 2, 6), 960),
        ((4, 30, 2, 12), 4320),
    ],
)
def test_numbers_of_angles_of_the_paper(task, angles):
    n_qubits, n_steps, n_ancillas, n_layers = task
    model = MeasuredCircuit(n_qubits, n_steps, n_ancillas, n_layers)
    assert sum(p.numel() for p in model.parameters()) == angles


def test_steps_and_dimensions_that_do_not_exist_are_refused(model):
    kets = haar_kets(2, 2, generator(0))
    with pytest.raises(HQDMError, match="t "):
        model.step(kets, 4, generator(0))
    with pytest.raises(HQDMError, match="dimension 4"):
        model.step(haar_kets(2, 1, generator(0)), 1, generator(0))
