"""Linear maps from a circuit's outputs to expectations and probabilities."""

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hqdm.circuits.readout import (
    BASIS_CHANGE,
    Expectation,
    Probabilities,
    Returned,
    UnsupportedQNode,
    marginal,
    read_returned,
    readout,
    signs,
)
from hqdm.utils.errors import HQDMError


def read(*processes, container=list, wires=()):
    return read_returned(container(processes), processes, wires)


@pytest.mark.parametrize("letter", "XYZ")
def test_a_change_of_basis_turns_a_pauli_matrix_into_z(letter):
    with qml.queuing.AnnotatedQueue() as queue:
        BASIS_CHANGE[letter](0)
    gate = qml.matrix(queue.queue[0]) if queue.queue else qml.matrix(qml.I(0))
    rotated = gate.conj().T @ qml.matrix(qml.Z(0)) @ gate
    np.testing.assert_allclose(rotated, qml.matrix(getattr(qml, letter)(0)), atol=1e-15)


def test_signs_are_the_diagonal_of_a_product_of_z():
    expected = qml.matrix(qml.Z(0) @ qml.Z(2), wire_order=[0, 1, 2]).diagonal().real
    assert (signs(3, [2, 0]) == expected).all()


@given(places=st.lists(st.sampled_from(range(4)), min_size=1, unique=True))
def test_marginals(places):
    p = torch.rand(5, 16, dtype=torch.float64)
    letters = "".join("abcd"[place] for place in places)
    expected = torch.einsum(f"zabcd->z{letters}", p.reshape(5, 2, 2, 2, 2)).flatten(1)
    torch.testing.assert_close(marginal(p, tuple(places)), expected, rtol=0, atol=1e-14)
    assert marginal(p[:0], tuple(places)).shape == (0, 2 ** len(places))


def test_single_letters_need_expectations_of_z_only():
    observables = [qml.Z("b"), qml.X("a") * 2 - qml.Z("b") + 3 * qml.I("c"), qml.I("a")]
    returned = read(*map(qml.expval, observables))
    assert returned.bases == {"b": "Z", "a": "X"}
    output_map = readout(returned)
    assert output_map.measure == "expval_z"
    z = torch.tensor([[0.25, -0.5], [1.0, 0.75]])  # of b and a, for two samples
    expected = torch.stack([z[:, 0], 2 * z[:, 1] - z[:, 0] + 3, torch.ones(2)], -1)
    torch.testing.assert_close(output_map(z, (2,)), expected)


def test_products_and_probabilities_need_joint_probabilities():
    returned = read(qml.probs(wires=[2]), qml.expval(2 * qml.Z(0) @ qml.Z(2) + qml.I(0)))
    assert returned.bases == {2: "Z", 0: "Z"}
    output_map = readout(returned)
    assert output_map.measure == "probs"
    p = torch.tensor([[0.1, 0.2, 0.3, 0.4]])  # of (wire 2, wire 0)
    torch.testing.assert_close(output_map(p, (1,)), torch.tensor([[0.3, 0.7, 1 + 2 * 0.0]]))


@pytest.mark.parametrize(
    ("container", "n", "shape"),
    [
        ("one", 1, (2, 3)),
        ("list", 1, (2, 3, 1)),
        ("list", 2, (2, 3, 2)),
        ("tuple", 1, (2, 3, 1)),
        ("tuple", 2, (2, 2, 3, 1)),
    ],
)
def test_shapes_of_expectations(container, n, shape):
    values = torch.randn(6, n)
    measured = tuple(Expectation(((1.0, ((wire, "Z"),)),)) for wire in range(n))
    out = readout(Returned(container, measured))(values, (2, 3))
    assert out.shape == shape
    expected = values.reshape(2, 3, n)
    if shape[0] == n == 2 and container == "tuple":
        expected = expected.movedim(-1, 0)
    assert torch.equal(out, expected.reshape(shape))


def test_what_a_function_returns():
    one = qml.probs(wires=["b", 3])
    assert read_returned(one, [one], ()) == Returned("one", (Probabilities(("b", 3)),))
    every = qml.probs()
    assert read_returned([every], [every], (1, 0)).measurements == (Probabilities((1, 0)),)
    word = qml.expval(qml.Y(1) @ qml.X(0) @ qml.Y(1))  # Y Y = 1
    assert read(word, container=tuple) == Returned("tuple", (Expectation(((1.0, ((0, "X"),)),)),))


UNSUPPORTED = {
    "sample(wires=[0])": lambda: qml.sample(wires=0),
    "state(wires=[])": lambda: qml.state(),
    "var(Z(0))": lambda: qml.var(qml.Z(0)),
    "probs(X(0))": lambda: qml.probs(op=qml.X(0)),
    "Projector(": lambda: qml.expval(qml.Projector([1], wires=0)),
    "H(0)": lambda: qml.expval(qml.Hadamard(0)),
    "Hermitian": lambda: qml.expval(qml.Hermitian([[1.0, 0.0], [0.0, 2.0]], wires=0)),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported_measurements(name):
    with pytest.raises(UnsupportedQNode) as error:
        read(UNSUPPORTED[name]())
    assert str(error.value).startswith(f"the QNode measures {name}")
    assert "expected qml.expval of products or sums of Pauli matrices, or qml.probs(wires=...)" in (
        str(error.value)
    )


@pytest.mark.parametrize(
    ("processes", "message"),
    [
        (lambda: [qml.probs()], r"qml\.probs\(\), expected qml\.probs\(wires=\.\.\.\)"),
        (
            lambda: [qml.expval(qml.X(0) @ qml.Y(0))],
            r"X\(0\) @ Y\(0\) with the coefficient 1j, expected a real number",
        ),
        (
            lambda: [qml.expval(torch.ones((), requires_grad=True) * qml.Z(0))],
            "with coefficients that require a gradient, expected numbers",
        ),
    ],
)
def test_unsupported_details(processes, message):
    with pytest.raises(UnsupportedQNode, match=message):
        read(*processes())


@pytest.mark.parametrize(
    "processes",
    [
        (qml.expval(qml.X("a")), qml.expval(qml.Z("a"))),
        (qml.expval(qml.X("a") @ qml.X("b")), qml.probs(wires=["c", "a"])),
        (qml.expval(qml.X("a") + qml.Y("a")),),
    ],
)
def test_a_wire_has_one_basis(processes):
    with pytest.raises(UnsupportedQNode, match="measures wire 'a' in the bases X and [YZ], expect"):
        _ = read(*processes).bases


def test_mistakes_in_what_a_function_returns():
    z, p = qml.expval(qml.Z(0)), qml.probs(wires=1)
    for returned, queued in ((None, [z]), ({"z": z}, [z]), ([z], [z, p]), ([p, z], [z, p])):
        with pytest.raises(HQDMError, match="return one measurement, or a list or tuple of all"):
            read_returned(returned, queued, ())
    for returned in ((z, p), []):
        with pytest.raises(HQDMError, match="return a list of measurements"):
            read_returned(returned, list(returned), ())
