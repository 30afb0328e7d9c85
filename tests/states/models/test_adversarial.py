"""The discriminator against Helstrom's bound and PennyLane; turns; a generator that arrives."""

import pennylane as qml
import pytest
import torch

from hqdm import HQDMError
from hqdm.states.channels import AmplitudeDamping, Scrambling
from hqdm.states.density import density, haar_kets
from hqdm.states.distances import fidelity, trace_distance
from hqdm.states.ensembles import build_ensemble
from hqdm.states.models.adversarial import Adversarial, Discriminator, probability
from hqdm.states.models.denoiser import StateDenoiser
from hqdm.states.models.measured import MeasuredCircuit
from hqdm.states.models.objectives import Position
from hqdm.states.models.traced import TracedCircuit
from hqdm.utils.seeds import generator


def adam_steps(module, loss, n, lr):
    optimizer = torch.optim.Adam(module.parameters(), lr=lr)
    for i in range(n):
        optimizer.zero_grad()
        loss(i).backward()
        optimizer.step()


@pytest.mark.parametrize("n_ancillas", [0, 2])
def test_the_observable_is_that_of_the_circuit(n_ancillas):
    torch.manual_seed(2)
    model = Discriminator(2, n_ancillas, 3).double()
    circuits, n = model.circuits, n_ancillas + 2

    @qml.qnode(qml.device("default.qubit", wires=n))
    def expected(ket):
        qml.StatePrep(ket, wires=range(n_ancillas, n))
        circuits.circuit.ansatz.apply(circuits.theta[0].detach())
        return qml.expval(qml.Z(0))

    kets = haar_kets(5, 2, generator(1))
    z = torch.stack([torch.as_tensor(expected(ket.numpy())) for ket in kets])
    observable = model.observable()
    for states in (kets, density(kets)):
        found = probability(observable, states)
        torch.testing.assert_close(found, (1 + z.mean()) / 2, atol=1e-10, rtol=0)


def test_the_best_discriminator_reaches_the_trace_distance():
    """Helstrom: sup g = tr |rho - sigma| / 2, reached with one ancilla, never exceeded."""
    torch.manual_seed(0)
    rho = density(haar_kets(3, 1, generator(0)))
    sigma = torch.tensor([[[0.9, 0], [0, 0.1]]], dtype=torch.complex128)
    bound = trace_distance(rho.mean(0), sigma[0])
    model, gaps = Discriminator(1, 1, 3).double(), []

    def loss(step):
        observable = model.observable()
        gap = probability(observable, rho) - probability(observable, sigma)
        gaps.append(gap.item())
        return -gap

    adam_steps(model, loss, 200, 0.05)
    assert max(gaps) <= bound + 1e-12
    # Adam at this rate ends a quadratic maximum with an error far below the square of its step.
    assert gaps[-1] >= bound - 1e-3


def test_the_players_take_turns_with_opposite_losses():
    torch.manual_seed(1)
    objective = Adversarial(discriminator_batches=2, generator_batches=3)
    channel = Scrambling(n_steps=1, h=[[1.0, 1.0, 1]])
    model = StateDenoiser(MeasuredCircuit(1, 1), channel, objective).double()
    data = build_ensemble("cluster").sample(16, generator(0))
    turns, losses = [], []
    for batch in range(10):
        model.zero_grad()
        loss = model.loss(data, generator(7), Position(batch, 0))
        loss.backward()
        moved = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
        (player,) = moved
        turns.append(player)
        losses.append(loss.item())
    assert turns == 2 * (2 * ["discriminator"] + 3 * ["network"])
    assert losses[0] == pytest.approx(-losses[2], abs=1e-12)

    with torch.no_grad():
        kets = channel.prior(16, 1, draws := generator(7))
        generated = model.network.step(kets, 1, draws)
        observable = model.discriminator.observable()
        gap = probability(observable, data) - probability(observable, generated)
    assert losses[2] == pytest.approx(gap.item(), abs=1e-12)


def test_the_generator_reaches_a_ket_from_zeros():
    torch.manual_seed(1)
    data = density(build_ensemble("random_pure").sample(1, generator(0)))
    model = StateDenoiser(TracedCircuit(1, 1, 1, 1, 4), AmplitudeDamping(n_steps=1), Adversarial())
    adam_steps(model, lambda i: model.loss(data, generator(i), Position(i, 0)), 150, 0.02)
    # |0>, where it starts, has F = 0.15 with this ket.
    assert fidelity(model.generate(1, generator(0)), data) > 0.99


@pytest.mark.parametrize(
    ("option", "value"),
    [("n_ancillas", -1), ("n_layers", 0), ("discriminator_batches", 0), ("generator_batches", 0)],
)
def test_options_that_cannot_be_used_are_refused(option, value):
    with pytest.raises(HQDMError, match=option):
        Adversarial(**{option: value})
