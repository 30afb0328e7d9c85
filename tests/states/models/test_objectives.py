"""Objectives of state diffusion against the sums of their definitions."""

import pytest
import torch

from hqdm import HQDMError
from hqdm.states.channels import Depolarising, Scrambling
from hqdm.states.density import haar_kets
from hqdm.states.distances import mmd, superfidelity
from hqdm.states.ensembles import build_ensemble
from hqdm.states.models.measured import MeasuredCircuit
from hqdm.states.models.objectives import (
    Final,
    Layerwise,
    Own,
    Position,
    Teacher,
    build_state_objective,
    state_objective_config,
)
from hqdm.states.models.traced import TracedCircuit
from hqdm.utils.seeds import generator

START = Position(0, 0)


@pytest.fixture
def traced():
    torch.manual_seed(1)
    return TracedCircuit(1, 4, 1, 1, 2, angle_std=0.7).double()


def identity(model):
    """The model with all angles zero: RX(0), RY(0), RZZ(0)."""
    for angles in model.parameters():
        angles.data.zero_()
    return model


def test_losses_of_one_state_are_their_sums(traced):
    channel, draws = Depolarising(n_steps=4), generator(0)
    data = build_ensemble("random_pure").sample(1, draws)
    target = data[:, :, None] * data[:, None].conj()
    exact = [channel.at(target, t) for t in range(5)]

    def error(a, b):
        return 1 - superfidelity(a, b)

    steps = [error(traced.step(exact[t], t, draws), exact[t - 1]) for t in (1, 2, 3, 4)]
    chain = dict(traced.chain(exact[4], draws))
    own = [error(chain[t], exact[t]) for t in range(4)]
    for objective, expected in (
        (Teacher(), torch.stack(steps).mean()),
        (Own(), torch.stack(own).mean()),
        (Final(), error(chain[0], exact[0]).squeeze()),
    ):
        loss = objective.loss(traced, channel, data, draws, START)
        torch.testing.assert_close(loss, expected.reshape(()), atol=1e-12, rtol=0)


def test_the_identity_is_a_shortcut_of_teacher_forcing_only():
    """The identity map has a small loss of one step and generates 1 / d: F = 1 / 2 for a ket."""
    model, channel = identity(TracedCircuit(1, 30, 1, 0, 4).double()), Depolarising(n_steps=30)
    data = build_ensemble("random_pure").sample(1, generator(0))
    teacher = Teacher().loss(model, channel, data, generator(0), START)
    final = Final().loss(model, channel, data, generator(0), START)
    assert teacher < 1e-3
    # 1 - tr rho^2 of a ket is clamped at 1e-9, which adds sqrt(1e-9 / 2) = 2.2e-5 to F
    torch.testing.assert_close(final, torch.tensor(0.5).double(), atol=3e-5, rtol=0)


def test_data_are_averaged(traced):
    channel, kets = Depolarising(n_steps=4), haar_kets(6, 1, generator(2))
    mean = (kets[:, :, None] * kets[:, None].conj()).mean(0)[None]
    losses = [Own().loss(traced, channel, data, generator(0), START) for data in (kets, mean)]
    torch.testing.assert_close(*losses, atol=1e-12, rtol=0)


def test_layerwise_trains_one_step_after_the_other():
    torch.manual_seed(0)
    channel, objective = Scrambling(n_steps=3, h=[[1.0, 2.0, 3]]), Layerwise(batches=2, inputs=8)
    model = MeasuredCircuit(1, 3)
    data = build_ensemble("cluster").sample(8, generator(0)).to(torch.complex64)
    trained = []
    for batch in range(8):
        model.zero_grad()
        objective.loss(model, channel, data, generator(batch), Position(batch, 0)).backward()
        (which,) = [t for t, p in enumerate(model.circuits.theta, 1) if p.grad is not None]
        trained.append(which)
    assert trained == [3, 3, 2, 2, 1, 1, 1, 1]
    assert objective.n_batches(3) == 6


def test_layerwise_compares_its_step_with_the_ensemble_before():
    torch.manual_seed(0)
    channel, objective = Scrambling(n_steps=2, h=[[1.0, 2.0, 2]]), Layerwise(batches=5, inputs=20)
    model = MeasuredCircuit(1, 2).double()
    data = build_ensemble("cluster").sample(20, generator(0))
    loss = objective.loss(model, channel, data, generator(7), Position(9, 4))  # step 1
    draws = generator(7)
    inputs = model._inputs_of_step[2]
    with torch.no_grad():
        own = generator(4, 1, 5)
        prior = channel.prior(20, 1, own)
        torch.testing.assert_close(inputs, model.step(prior, 2, own))
    rows = torch.randperm(20, generator=draws)
    expected = mmd(model.step(inputs[rows], 1, draws), data)
    torch.testing.assert_close(loss, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("t", [1, 2])
def test_inputs_of_a_step_follow_the_angles_of_finished_steps_only(t):
    torch.manual_seed(0)
    channel, objective = Scrambling(n_steps=3, h=[[1.0, 2.0, 3]]), Layerwise(batches=1, inputs=20)
    model = MeasuredCircuit(1, 3).double()
    data, place = build_ensemble("cluster").sample(20, generator(0)), Position(3 - t, 0)

    def inputs():
        objective.loss(model, channel, data, generator(0), place)
        return model._inputs_of_step[2]

    first = inputs()
    model.circuits.theta[t - 1].data.add_(1.0)  # of the step in training
    assert inputs() is first
    model.circuits.theta[t].data.add_(1.0)  # of a finished one
    assert not torch.allclose(inputs(), first)


def test_configurations_make_the_same_objective():
    for objective in (Final(distance="hilbert_schmidt"), Layerwise(batches=3)):
        assert build_state_objective(state_objective_config(objective)) == objective


def test_options_that_cannot_be_used_are_refused():
    with pytest.raises(HQDMError, match="distance of the objective 'final' 'mmd'"):
        Final(distance="mmd")
    with pytest.raises(HQDMError, match="batches"):
        Layerwise(batches=0)
    model, data = MeasuredCircuit(1, 2), haar_kets(9, 1, generator(0))
    channel = Scrambling(n_steps=2, h=[[1.0, 2.0, 2]])
    with pytest.raises(HQDMError, match="fewer than the 9 states"):
        Layerwise(inputs=8).loss(model, channel, data, generator(0), START)
