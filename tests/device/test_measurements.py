"""The choice between what the kernels measure and the state."""

import numpy as np
import pennylane as qml
import pytest
import torch

from hqdm.device.measurements import Direct, FromState, plan

DIRECT = {
    "z": [qml.expval(qml.Z(0)), qml.expval(qml.Z(2))],
    "one basis": [qml.expval(qml.X(0) @ qml.Y(1)), qml.expval(qml.X(0)), qml.expval(qml.Z(2))],
    "sum": [qml.expval(0.3 * qml.X(0) - 0.2 * qml.Z(1) @ qml.X(0) + 2 * qml.Identity(1))],
    "probs": [qml.probs(wires=[2, 0]), qml.expval(qml.Z(1))],
}
FROM_STATE = {
    "two bases": [qml.expval(qml.X(0)), qml.expval(qml.Z(0))],
    "probs and X": [qml.probs(wires=[0]), qml.expval(qml.X(0))],
    "variance": [qml.var(qml.Z(0))],
    "hermitian": [qml.expval(qml.Hermitian(np.eye(2), wires=0))],
    "eigenvalues": [
        qml.measurements.ExpectationMP(wires=qml.wires.Wires([0]), eigvals=np.array([2.0, 3.0]))
    ],
    "identity": [qml.expval(qml.Identity(0))],
    "state": [qml.state()],
}


@pytest.mark.parametrize("measured", DIRECT.values(), ids=DIRECT)
def test_one_basis_needs_no_state(measured):
    assert isinstance(plan(measured, True), Direct)
    assert isinstance(plan(measured, False), FromState)


@pytest.mark.parametrize("measured", FROM_STATE.values(), ids=FROM_STATE)
def test_other_measurements_need_one(measured):
    assert isinstance(plan(measured, True), FromState)


def test_plans_are_kept_by_all_numbers_of_observables():
    one = plan([qml.expval(qml.Hermitian(np.diag([1, 2]), wires=0))], True)
    assert plan([qml.expval(qml.Hermitian(np.diag([1, 2]), wires=0))], True) is one
    assert plan([qml.expval(qml.Hermitian(np.diag([1, 3]), wires=0))], True) is not one
    assert plan([qml.expval(qml.Hermitian(np.diag([1, 2]), wires=1))], True) is not one
    assert plan([qml.var(qml.Hermitian(np.diag([1, 2]), wires=0))], True) is not one
    word = plan([qml.expval(0.5 * qml.X(0))], True)
    assert plan([qml.expval(0.5 * qml.X(0))], True) is word
    assert plan([qml.expval(0.7 * qml.X(0))], True) is not word
    assert plan([qml.expval(0.5 * qml.X(1))], True) is not word


def test_trainable_coefficients_are_not_kept():
    coefficient = torch.tensor(0.5, requires_grad=True)
    measured = [qml.expval(coefficient * qml.X(0))]
    found = plan(measured, True)
    assert isinstance(found, FromState)
    assert plan(measured, True) is not found
    states = torch.tensor([[0.6, 0.8]], dtype=torch.complex128)
    (value,) = found(measured, states, False)
    torch.testing.assert_close(torch.autograd.grad(value, coefficient)[0], torch.tensor(0.96))


def test_many_wires_in_one_basis_need_no_large_map():
    """30 wires have 2**30 joint outcomes."""
    neighbours = [qml.expval(qml.Z(i) @ qml.Z(i + 1)) for i in range(29)]
    assert isinstance(plan(neighbours, True), FromState)
    assert isinstance(plan([qml.expval(qml.Z(i)) for i in range(30)], True), Direct)
