"""Columns of unitaries against PennyLane's matrices."""

import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hqdm import HQDMError
from hqdm.states.models.backward import MAX_WIRES, Circuits


@given(
    ansatz=st.sampled_from(["RotationZZ", "RotationCZ", "StronglyEntangling"]),
    n_wires=st.integers(2, 4),
    n_layers=st.integers(1, 3),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=12, deadline=None)
def test_columns_are_those_of_the_matrix(ansatz, n_wires, n_layers, seed):
    torch.manual_seed(seed)
    circuits = Circuits(ansatz, n_wires, n_layers, 2, 1.0, {}).double()
    basis = torch.randperm(2**n_wires)[:3]
    columns = circuits.columns([1, 0], basis)
    for row, i in enumerate((1, 0)):
        weights = circuits.theta[i].detach()
        expected = qml.matrix(circuits.circuit.ansatz.apply, wire_order=range(n_wires))(weights)
        expected = torch.as_tensor(expected, dtype=torch.complex128)[:, basis].T
        torch.testing.assert_close(columns[row], expected, atol=1e-12, rtol=0)


def test_only_the_chosen_circuits_have_gradients():
    circuits = Circuits("RotationCZ", 2, 1, 3, 1.0, {})
    circuits.columns([1], torch.arange(2)).real.sum().backward()
    assert [angles.grad is not None for angles in circuits.theta] == [False, True, False]


def test_angles_are_drawn_with_their_standard_deviation():
    circuits = Circuits("RotationCZ", 4, 50, 10, 0.3, {})
    drawn = torch.cat([angles.flatten() for angles in circuits.theta])
    # 4,000 normal numbers: the deviation of their deviation is 0.3 / sqrt(8,000) = 0.0034
    assert abs(drawn.std().item() - 0.3) < 5 * 0.0034
    assert abs(drawn.mean().item()) < 5 * 0.3 / 4000**0.5


def test_too_many_qubits_are_refused():
    with pytest.raises(HQDMError, match="the number of data and auxiliary qubits"):
        Circuits("RotationCZ", MAX_WIRES + 1, 1, 1, 1.0, {})
    with pytest.raises(HQDMError, match="ansatz 'Circle'"):
        Circuits("Circle", 2, 1, 1, 1.0, {})
