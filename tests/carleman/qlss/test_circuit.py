"""The QSVT circuit against the singular value decomposition."""

import numpy as np
import pennylane as qml
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import chebyshev

from hqdm.carleman.qlss.circuit import GATES, QSVTCircuit, circuit_qubits, dilation


def transformed(matrix, b, coefficients):
    """V P(S) W^T b."""
    W, S, Vt = np.linalg.svd(matrix)
    series = np.stack([np.zeros_like(coefficients), coefficients], axis=1).ravel()
    return Vt.T @ (chebyshev.chebval(S, series) * (W.T @ b))


def random_case(seed, n, norm=1.0):
    rng = np.random.default_rng(seed)
    matrix, b = rng.normal(size=(n, n)), rng.normal(size=n)
    return matrix * (norm / np.linalg.norm(matrix, 2)), b / np.linalg.norm(b)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 6), st.floats(0.1, 1))
def test_amplitudes_are_those_of_the_transformed_singular_values(seed, n, norm):
    matrix, b = random_case(seed, n, norm)
    coefficients = np.array([0.4, -0.3, 0.15, 0.1])
    circuit = QSVTCircuit(matrix, b, coefficients)
    np.testing.assert_allclose(
        circuit.amplitudes(), transformed(matrix, b, coefficients), atol=1e-11
    )


def test_the_outcome_has_its_probability_and_the_rest_is_real_too():
    matrix, b = random_case(0, 4)
    coefficients = np.array([0.5, 0.2, -0.2])
    circuit = QSVTCircuit(matrix, b, coefficients)

    @qml.qnode(qml.device("default.qubit", wires=circuit.n_qubits))
    def probabilities():
        circuit.qfunc()
        return qml.probs(wires=[0, 1])

    expected = np.linalg.norm(transformed(matrix, b, coefficients)) ** 2
    assert probabilities()[0] == pytest.approx(expected, abs=1e-11)


def test_the_block_encoding_is_applied_as_often_as_the_degree():
    matrix, b = random_case(1, 2)
    circuit = QSVTCircuit(matrix, b, np.array([0.3, 0.2, 0.1]))
    tape = qml.tape.make_qscript(circuit.qfunc)()
    (decomposed,), _ = qml.transforms.decompose(tape, gate_set=GATES)
    names = [operation.name for operation in decomposed.operations]
    assert sum("QubitUnitary" in name for name in names) == 5
    assert names.count("IsingZZ") == 6


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 5))
def test_dilation_is_orthogonal_and_holds_the_matrix(seed, n):
    matrix, _ = random_case(seed, n)
    made = dilation(matrix)
    np.testing.assert_allclose(made @ made.T, np.eye(2 * n), atol=1e-12)
    np.testing.assert_allclose(made[:n, :n], matrix, atol=1e-13)
    np.testing.assert_allclose(made[n:, n:], -matrix.T, atol=1e-13)


def test_qubits_are_the_system_rounded_up_and_two():
    assert [circuit_qubits(n) for n in (1, 2, 3, 4, 5, 256)] == [3, 3, 4, 4, 5, 10]
