"""Observables against `qml.Hermitian` on default.qubit: values and all gradients."""

import math
from functools import reduce

import pennylane as qml
import pytest
import torch

from hqdm.circuits import AmplitudeEmbedding, AngleEmbedding, Circuit, HQConv, StronglyEntangling
from hqdm.simulators import resolve_simulator
from hqdm.simulators.observables import (
    check_locality,
    coefficients_of_z,
    expectations,
    words,
)
from hqdm.utils.errors import HQDMError

PAULIS = {"I": qml.Identity, "X": qml.X, "Y": qml.Y, "Z": qml.Z}


def reference(circuit, inputs, weights, coefficients):
    """Circuit by circuit and sample by sample."""
    n, locality = circuit.n_wires, round(math.log(coefficients.shape[-1], 4))
    letters = {name: torch.from_numpy(pauli(0).matrix()) + 0j for name, pauli in PAULIS.items()}
    matrices = torch.stack(
        [reduce(torch.kron, [letters[letter] for letter in word]) for word in words(locality)]
    )

    @qml.qnode(qml.device("default.qubit", wires=n))
    def node(x, w, hermitians):
        circuit.queue(x, w)
        return [
            qml.expval(qml.Hermitian(h, wires=[(wire + j) % n for j in range(locality)]))
            for wire, h in zip(circuit.measured_wires, hermitians, strict=True)
        ]

    out = []
    for xs, w, c in zip(inputs, weights, coefficients, strict=True):
        hermitians = torch.einsum("oc,cab->oab", c.to(matrices.dtype), matrices)
        out.append(torch.stack([torch.stack(node(x, w, hermitians)) for x in xs]))
    return torch.stack(out)


@pytest.mark.parametrize("simulator", ["compiled", "statevector"])
@pytest.mark.parametrize(("locality", "wires"), [(1, None), (2, None), (3, (3, 0)), (4, (2,))])
def test_observables_are_those_of_pennylane(locality, wires, simulator):
    """On all wires or some, cyclically; float64, a few hundred roundings of 1e-16."""
    torch.manual_seed(0)
    circuit = Circuit(AngleEmbedding(4, shift=0.3), HQConv(4, 2), wires=wires, repeats=2)
    shapes = (2, 3, 4), (2, *circuit.weights_shape), (2, circuit.n_outputs, 4**locality)
    tensors = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    found = expectations(resolve_simulator(simulator), circuit, *tensors)
    expected = reference(circuit, *tensors)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    factors = torch.randn_like(expected)
    gradients = [torch.autograd.grad((out * factors).sum(), tensors) for out in (found, expected)]
    for own, other in zip(*gradients, strict=True):
        assert other.abs().max() > 0.1
        torch.testing.assert_close(own, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("locality", [1, 2])
def test_they_are_z_at_first(locality):
    torch.manual_seed(0)
    circuit = Circuit(AngleEmbedding(3), StronglyEntangling(3, 2), wires=(2, 0))
    simulator = resolve_simulator("statevector")
    inputs, weights = torch.randn(2, 5, 3), torch.randn(2, *circuit.weights_shape)
    coefficients = coefficients_of_z(circuit, locality).repeat(2, 1, 1)
    found = expectations(simulator, circuit, inputs, weights, coefficients)
    torch.testing.assert_close(found, simulator(circuit, inputs, weights), rtol=0, atol=1e-5)


def test_what_does_not_fit_is_refused(monkeypatch):
    circuit = Circuit(AngleEmbedding(3), StronglyEntangling(3, 1))
    for locality in (0, 4, True):
        with pytest.raises(HQDMError, match="observable needs a whole number"):
            check_locality(circuit, locality)
    with pytest.raises(HQDMError, match="take the place of expectations of Z"):
        check_locality(Circuit(AmplitudeEmbedding(2), StronglyEntangling(2), "probs"), 1)
    monkeypatch.setattr("hqdm.simulators.observables.MAX_STATE_BYTES", 2 * 5 * 16 * 4 - 1)
    coefficients = coefficients_of_z(circuit, 2).repeat(2, 1, 1)
    tensors = torch.zeros(2, 5, 3), torch.zeros(2, *circuit.weights_shape)
    with pytest.raises(HQDMError, match="the states of 5 samples of 2 x 3 qubits"):
        expectations(resolve_simulator("statevector"), circuit, *tensors, coefficients)
