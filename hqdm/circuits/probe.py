"""Checks at random points that a quantum function is a circuit.

The gates of a circuit depend on inputs and weights through their angles only, and the gates of a
sample do not depend on the other samples of its batch. A finite number of points cannot exclude
control flow on values; simulators detect it when they trace the circuit.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from pennylane.operation import Operator, StatePrepBase
from torch import Tensor

from hqdm.circuits.qfunc import QNodeFunction, gates_of_sample
from hqdm.circuits.readout import UnsupportedQNode

N_SAMPLES = 3
N_DRAWS = 2  # of the weights
STEP = 1e-5  # of finite differences

Row = tuple[str, tuple[Hashable, ...], list[np.ndarray]]
"""Name, wires and numbers of a gate."""


class Probe:
    """Calls of a quantum function at a few points.

    Args:
        function: The function.

    Attributes:
        first: The call at the first point.
        prepared: Index of the operation that prepares a state from the inputs, or None.
        rows: The gates at the first point, without that operation.

    Raises:
        HQDMError: If the function raises an error.
        UnsupportedQNode: If gates or measurements differ between points, if the gates of a sample
            depend on other samples, or if a prepared state depends on weights or follows other
            gates on its wires.
    """

    def __init__(self, function: QNodeFunction) -> None:
        self.function = function
        random = np.random.default_rng(0)
        # Features of norm one are valid amplitudes, and within the domain of arcsin.
        inputs = random.standard_normal((N_SAMPLES, function.n_inputs))
        self.inputs = torch.from_numpy(inputs / np.linalg.norm(inputs, axis=1, keepdims=True))
        shape = (N_DRAWS, function.n_weights)
        self.weights = torch.from_numpy(random.uniform(0, 2 * np.pi, shape))
        self.calls = {
            (i, j): function.checked_call(function.alone(self.inputs[i]), self.weights[j])
            for i in range(N_SAMPLES)
            for j in range(N_DRAWS)
        }
        self.first = self.calls[0, 0]
        self._check_operations()
        self.prepared = self._find_prepared()
        self.gates = {
            point: _rows(function.gates(call, self.prepared)) for point, call in self.calls.items()
        }
        self.rows = self.gates[0, 0]
        self._check_gates()
        if function.batched:
            self._check_batch()
        self._check_gradients()

    def _check_operations(self) -> None:
        """Refuse operations or measurements that differ between points."""
        kinds = [
            [(operation.name, operation.wires) for operation in call.operations]
            for call in self.calls.values()
        ]
        if any(other != kinds[0] for other in kinds):
            raise UnsupportedQNode(
                "the gates of the QNode depend on the values of inputs or weights, or are random, "
                "expected the same gates for all values"
            )
        if any(call.returned != self.first.returned for call in self.calls.values()):
            raise UnsupportedQNode(
                "the measurements of the QNode depend on the values of inputs or weights, expected "
                "the same measurements for all values"
            )

    def _find_prepared(self) -> int | None:
        operations = self.first.operations
        places = [
            place
            for place, operation in enumerate(operations)
            if isinstance(operation, StatePrepBase) and self._depends_on_inputs(place)
        ]
        if not places:
            return None
        state = operations[places[0]]
        earlier = {wire for operation in operations[: places[0]] for wire in operation.wires}
        amplitudes = state.parameters[0]
        prepares = f"the QNode prepares a state from its inputs by {state.name}"
        if len(places) > 1:
            raise UnsupportedQNode(f"{prepares} and by a further operation, expected a single one")
        if earlier & set(state.wires):
            raise UnsupportedQNode(
                f"{prepares} after other gates on its wires, expected as the first"
            )
        if not isinstance(amplitudes, Tensor) or not amplitudes.is_floating_point():
            raise UnsupportedQNode(f"{prepares}, expected amplitudes that are real torch tensors")
        if not _equal(self._state(places[0], 0, 0), self._state(places[0], 0, 1)):
            raise UnsupportedQNode(f"{prepares} and from weights, expected from inputs only")
        return places[0]

    def _depends_on_inputs(self, place: int) -> bool:
        states = [self._state(place, i, 0) for i in range(N_SAMPLES)]
        return not all(_equal(state, states[0]) for state in states)

    def _state(self, place: int, i: int, j: int) -> np.ndarray:
        return _array(self.calls[i, j].operations[place].parameters[0])

    def _check_gates(self) -> None:
        """Refuse gates that differ between points by more than their angles."""
        for (_, j), rows in self.gates.items():
            if [row[:2] for row in rows] != [row[:2] for row in self.rows]:
                raise UnsupportedQNode(
                    "the gates of the QNode depend on the values of inputs or weights, expected "
                    "the same gates for all values"
                )
            if self.prepared is not None and j == 0 and not _same(rows, self.rows):
                raise UnsupportedQNode(
                    "the QNode prepares a state from its inputs and has other gates that depend on "
                    "them, expected a dependence through the state only"
                )
            for row, first in zip(rows, self.rows, strict=True):
                is_angle = all(numbers.ndim == 0 for numbers in row[2])
                if not is_angle and not _same([row], [first]):
                    raise UnsupportedQNode(
                        f"the QNode has {row[0]} with an array that depends on inputs or weights, "
                        "expected gates with angles"
                    )

    def _check_gradients(self) -> None:
        """Refuse angles whose dependence on inputs and weights torch does not differentiate.

        The directional derivative of a random linear combination of all angles is compared between
        torch and central differences, whose error is of order h^2, and rounding of order 1e-16 / h.
        """
        random = np.random.default_rng(1)
        point = [t.clone().requires_grad_() for t in (self.inputs[0], self.weights[0])]
        directions = [torch.from_numpy(random.standard_normal(t.shape)) for t in point]
        if self.prepared is not None:  # the gates do not depend on the inputs, whose norm is one
            directions[0].zero_()
        angles = self._angles(*point)
        factors = torch.from_numpy(random.standard_normal(len(angles)))
        derivative = torch.zeros(())
        if angles.requires_grad:
            gradients = torch.autograd.grad(angles @ factors, point, materialize_grads=True)
            for gradient, direction in zip(gradients, directions, strict=True):
                derivative = derivative + gradient @ direction
        above, below = (
            self._angles(*((t + h * d).detach() for t, d in zip(point, directions, strict=True)))
            for h in (STEP, -STEP)
        )
        difference = (above - below) @ factors / (2 * STEP)
        scale = 1 + difference.abs() + (above @ factors).abs()
        if (derivative - difference).abs() > 1e-6 * scale:
            raise UnsupportedQNode(
                "the angles of the QNode depend on inputs or weights in a way that torch does not "
                "differentiate, expected torch functions without detach"
            )

    def _angles(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """A zero, then all angles."""
        call = self.function.checked_call(self.function.alone(inputs), weights)
        numbers = [p for gate in self.function.gates(call, self.prepared) for p in gate.parameters]
        angles = [torch.as_tensor(p).to(weights) for p in numbers if np.ndim(p) == 0]
        return torch.stack([weights.new_zeros(()), *angles])

    def _check_batch(self) -> None:
        """Refuse samples whose gates or state in a batch differ from those of a single sample."""
        batch = self.function.checked_call(self.inputs, self.weights[0])
        for i in range(N_SAMPLES):
            gates = gates_of_sample(batch.operations, i, N_SAMPLES, self.prepared)
            same = _same(_rows(gates), self.gates[i, 0])
            if same and self.prepared is not None:
                states = _array(batch.operations[self.prepared].parameters[0])
                same = _equal(states[i : i + 1], self._state(self.prepared, i, 0))
            if not same:
                raise UnsupportedQNode(
                    "the gates of a sample depend on the other samples of its batch, or are "
                    "random, expected independent samples: index features as inputs[..., i]"
                )


def _rows(gates: Any) -> list[Row]:
    return [_row(gate) for gate in gates]


def _row(gate: Operator) -> Row:
    for parameter in gate.parameters:
        if isinstance(parameter, Tensor) and parameter.requires_grad:
            raise UnsupportedQNode(
                f"the QNode takes an angle of {gate.name} from a tensor that requires a gradient, "
                "expected an argument: name it in weight_shapes"
            )
    return gate.name, tuple(gate.wires), [_array(parameter) for parameter in gate.parameters]


def _array(parameter: Any) -> np.ndarray:
    return np.asarray(parameter.detach() if isinstance(parameter, Tensor) else parameter)


def _same(ours: Sequence[Row], theirs: Sequence[Row]) -> bool:
    """True if all gates have the same names, wires and numbers."""
    return [row[:2] for row in ours] == [row[:2] for row in theirs] and all(
        _equal(a, b)
        for our, their in zip(ours, theirs, strict=True)
        for a, b in zip(our[2], their[2], strict=True)
    )


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=1e-9, equal_nan=True)
