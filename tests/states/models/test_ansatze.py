"""The ansaetze of the papers against products of matrices that are written out here."""

import pennylane as qml
import pytest
import torch

from hqdm import HQDMError
from hqdm.states.models.ansatze import RotationCZ, RotationZZ

I2, X, Y, Z = (
    torch.tensor(m, dtype=torch.complex128)
    for m in ([[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]])
)


def on(operators, n):
    """The tensor product of operators on some qubits, qubit 0 the most significant."""
    product = torch.ones(1, 1, dtype=torch.complex128)
    for wire in range(n):
        product = torch.kron(product, operators.get(wire, I2))
    return product


def exp(generator, angle):
    return torch.linalg.matrix_exp(-0.5j * angle * generator)


def matrix(ansatz, weights):
    def queue():
        ansatz.apply(weights)

    found = qml.matrix(queue, wire_order=range(ansatz.n_wires))()
    return torch.as_tensor(found, dtype=torch.complex128)


@pytest.mark.parametrize(
    ("connections", "pairs"),
    [
        ("all", [(0, 1), (0, 2), (1, 2)]),
        ("chain", [(0, 1), (1, 2)]),
        ("star", [(0, 1), (0, 2)]),
    ],
)
def test_rotation_zz_is_its_product(connections, pairs):
    ansatz = RotationZZ(3, 2, connections)
    assert ansatz.weights_shape == (2, 9 + len(pairs))
    weights = torch.rand(2, 9 + len(pairs), dtype=torch.float64) * 6
    expected = on({}, 3)
    for layer in weights:
        for wire in range(3):
            first, second, third = layer[3 * wire : 3 * wire + 3]
            for axis, angle in ((X, first), (Y, second), (X, third)):
                expected = on({wire: exp(axis, angle)}, 3) @ expected
        for (a, b), angle in zip(pairs, layer[9:], strict=True):
            expected = exp(on({a: Z, b: Z}, 3), angle) @ expected
    torch.testing.assert_close(matrix(ansatz, weights), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_rotation_cz_is_its_product(n):
    ansatz = RotationCZ(n, 2)
    weights = torch.rand(2, n, 2, dtype=torch.float64) * 6
    expected = on({}, n)
    for layer in weights:
        for wire in range(n):
            for axis, angle in zip((X, Y), layer[wire], strict=True):
                expected = on({wire: exp(axis, angle)}, n) @ expected
        for a in [*range(0, n - 1, 2), *range(1, n - 1, 2)]:
            minus = on({a: (I2 - Z) / 2, a + 1: (I2 - Z) / 2}, n)
            expected = (on({}, n) - 2 * minus) @ expected
    torch.testing.assert_close(matrix(ansatz, weights), expected, atol=1e-12, rtol=0)


def test_unknown_connections_are_refused():
    with pytest.raises(HQDMError, match="connections of RotationZZ 'ring'"):
        RotationZZ(3, 1, "ring")
