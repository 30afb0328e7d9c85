"""Simulations of tapes: precision, initial states, postselection, replaced parameters."""

import numpy as np
import pennylane as qml
import pytest
import torch

from hqdm.device.arrays import precision
from hqdm.device.tapes import Remaining, Simulation
from hqdm.simulators import AutoSimulator
from hqdm.utils.errors import HQDMError


def simulation(operations, measurements, shots=None, tensors=None):
    tape = qml.tape.QuantumScript(operations, measurements, shots=shots)
    return Simulation(tape, AutoSimulator(), tensors=tensors)


SINGLE, DOUBLE = torch.ones(2), torch.ones(2).double()


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([0.3, 1], torch.float64),
        ([0.3, SINGLE], torch.float32),
        ([np.float64(0.3), np.ones(2), SINGLE], torch.float32),
        ([SINGLE, DOUBLE], torch.float64),
        ([torch.arange(2)], torch.float64),
        ([SINGLE.to(torch.complex64)], torch.float32),
        ([SINGLE.half()], torch.float32),
        ([np.float32(0.3), 0.2], torch.float32),
        ([np.ones(2, np.float32), np.ones(2)], torch.float64),
        ([], torch.float64),
    ],
)
def test_precision(numbers, expected):
    assert precision(numbers) == expected


def test_postselection_in_closed_form():
    """RY(t), outcome 1, RY(u): the amplitudes are those of RY(u) |1>."""
    t, u = torch.tensor(0.7, requires_grad=True), torch.tensor(0.4, requires_grad=True)
    operations = [qml.RY(t, 0), qml.Projector([1], wires=0), qml.RY(u, 0)]
    (state,) = simulation(operations, [qml.state()]).results()
    torch.testing.assert_close(state.real, torch.stack([-torch.sin(u / 2), torch.cos(u / 2)]))
    gradients = torch.autograd.grad(state.real[0], [t, u])
    torch.testing.assert_close(
        gradients, (torch.zeros(()), -torch.cos(u / 2) / 2), atol=1e-6, rtol=0
    )


def test_shots_that_remain_after_postselection():
    operations = [qml.RY(0.7, 0), qml.Projector([1], wires=0)]
    n = 20_000
    counts = simulation(operations, [qml.counts(wires=[0])], n).samples(
        np.random.default_rng(0), None
    )
    probability = np.sin(0.35) ** 2
    assert list(counts) == ["1"]
    # Five standard deviations of a binomial distribution.
    assert abs(counts["1"] - n * probability) < 5 * np.sqrt(n * probability * (1 - probability))
    filled = simulation(operations, [qml.counts(wires=[0])], n).samples(
        np.random.default_rng(0), "fill-shots"
    )
    assert filled["1"] == n


def test_shots_that_remain_after_two_postselections():
    """RY(t) on two wires; the outcomes 1 and 0 have the probability sin^2 cos^2 of the halves."""
    t, u, n = 0.9, 1.7, 20_000
    operations = [
        *(qml.RY(t, 0), qml.Projector([1], wires=0)),
        *(qml.RY(u, 1), qml.Projector([0], wires=1)),
    ]
    sampled = simulation(operations, [qml.sample(wires=[0, 1])], n).samples(
        np.random.default_rng(0), None
    )
    probability = np.sin(t / 2) ** 2 * np.cos(u / 2) ** 2
    # Five standard deviations of a binomial distribution.
    assert abs(len(sampled) - n * probability) < 5 * np.sqrt(n * probability * (1 - probability))
    assert (sampled == [1, 0]).all()
    assert np.issubdtype(sampled.dtype, np.integer)


def test_rare_outcomes_are_not_impossible():
    """An outcome of probability 1e-12 has a state; one of rounding errors has none."""
    rare = [qml.RY(2e-6, 0), qml.Projector([1], wires=0)]
    expected = torch.tensor(-1.0, dtype=torch.float64)
    torch.testing.assert_close(simulation(rare, [qml.expval(qml.Z(0))]).results()[0], expected)
    rounded = [qml.RY(0.3, 0), qml.RY(-0.1, 0), qml.RY(-0.2, 0), qml.Projector([1], wires=0)]
    assert simulation(rounded, [qml.expval(qml.Z(0))]).results()[0].isnan()


def test_impossible_outcomes():
    operations = [qml.Projector([1], wires=0)]
    assert simulation(operations, [qml.expval(qml.Z(0))]).results()[0].isnan()
    shots = simulation(operations, [qml.counts(wires=[0])], 10)
    with pytest.raises(HQDMError, match="probability 0"):
        shots.samples(np.random.default_rng(0), "fill-shots")
    none = simulation(operations, [qml.expval(qml.Z(0))], 10)
    assert np.isnan(none.samples(np.random.default_rng(0), None))


def test_remaining_shots_may_be_none():
    shots = Remaining([3, 0])
    assert shots.total_shots == 3
    assert list(shots) == [3, 0]
    assert shots.has_partitioned_shots


@pytest.mark.parametrize("places", [[0], [1], [0, 1, 2]])
def test_replaced_parameters(places):
    """Of angles, of a state that is prepared and of an observable."""
    numbers = [np.array([0.6, 0.8]), 0.3, 0.5]
    new = [
        torch.tensor([0.8, 0.6]).double(),
        torch.tensor(0.9).double(),
        torch.tensor(1.5).double(),
    ]

    def tape_of(values):
        return (
            [qml.StatePrep(values[0], wires=0), qml.RX(values[1], 0)],
            [qml.expval(values[2] * qml.Y(0))],
        )

    used = [new[i] if i in places else number for i, number in enumerate(numbers)]
    expected = simulation(*tape_of(used)).results()[0]
    found = simulation(*tape_of(numbers), tensors={i: new[i] for i in places}).results()[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)
