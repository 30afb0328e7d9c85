"""A circuit as a program: gates with constant matrices, and one phase a gate.

The PennyLane quantum function is traced once. Every gate becomes

    M(phase) = A + cos(phase) B + sin(phase) C,    phase = angle or angle / 2,

with constant complex A, B, C. That covers constant gates (B = C = 0) and the usual gates of one
angle, controlled ones included; all others are decomposed. Where the phases are affine in inputs
and weights, which is the rule, they are read off by indexing; otherwise the function is traced
again in each call, vectorised over the batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pennylane as qml
import torch
from pennylane.operation import Operator
from pennylane.ops.functions import bind_new_parameters
from torch import Tensor
from torch.func import vmap

from hqdm.circuits import AmplitudeEmbedding, Circuit
from hqdm.errors import HQDMError
from hqdm.simulators.caching import made_once

MAX_GATE_WIRES = 4  # gates on more wires are decomposed where PennyLane knows how
NO_EFFECT = ("Identity", "GlobalPhase", "Barrier", "Snapshot", "WireCut")
FREQUENCIES = (0.5, 1.0)  # of the gates of one angle; RX is the first kind, PhaseShift the second
PROBE_SCALES = (1e-2, 1.0, 1.0, 10.0, 1e3)  # of the random points, in radians
ROUNDING = 1e-12  # smaller float64 coefficients of order one are rounding errors
HINT = "use simulator='pennylane:default.qubit' for it"


@dataclass(frozen=True, eq=False)
class Gate:
    """One gate, M(phase) = A + cos(phase) B + sin(phase) C.

    Attributes:
        name: PennyLane's name of the gate.
        wires: The wires, the first one most significant.
        matrices: A, B and C, `(3, 2**k, 2**k)` complex128 for k wires.
        frequency: Phase divided by angle.
        controls: The wires on which the gate is block diagonal for every phase.
    """

    name: str
    wires: tuple[int, ...]
    matrices: Tensor
    frequency: float
    controls: frozenset[int]


@dataclass(frozen=True, eq=False)
class AffinePhases:
    """Phases that are affine in weights and inputs, each from a few entries.

    phase_g = constant_g + sum_k weight_value_gk w[weight_index_gk] + the same over inputs.

    Attributes:
        constant: `(n_gates,)`.
        weight_index: Indices into the flattened weights, `(n_gates, k)`.
        weight_value: Their coefficients, `(n_gates, k)`; zero where a gate needs fewer.
        input_index: Indices into the inputs for the gates that depend on them, likewise.
        input_value: Their coefficients.
    """

    constant: Tensor
    weight_index: Tensor
    weight_value: Tensor
    input_index: Tensor
    input_value: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> "AffinePhases":
        """A copy on the device, with coefficients of the dtype."""
        return AffinePhases(
            self.constant.to(device, dtype),
            self.weight_index.to(device),
            self.weight_value.to(device, dtype),
            self.input_index.to(device),
            self.input_value.to(device, dtype),
        )

    def of_weights(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """Phases without the share of the inputs.

        Args:
            inputs: Not used here; `(n_circuits, B, n_inputs)`.
            weights: `(n_circuits, *weights_shape)`.

        Returns:
            `(n_circuits, n_gates)`.
        """
        flat = weights.flatten(1)
        return self.constant + (flat[:, self.weight_index] * self.weight_value).sum(-1)

    def of_inputs(
        self, inputs: Tensor, weights: Tensor, of_weights: Tensor, input_gates: Tensor
    ) -> Tensor:
        """Phases of the gates that depend on the inputs, `(n_circuits, B, n_input_gates)`."""
        share = (inputs[..., self.input_index] * self.input_value).sum(-1)
        return of_weights[:, None, input_gates] + share


@dataclass(frozen=True, eq=False)
class TracedPhases:
    """Phases of any other form, by tracing the quantum function in every call.

    Attributes:
        circuit: The circuit to trace.
        frequencies: Phase divided by angle, one a gate.
    """

    circuit: Circuit
    frequencies: tuple[float, ...]

    def to(self, device: torch.device, dtype: torch.dtype) -> "TracedPhases":
        """Itself: there are no tensors to move."""
        return self

    def of_weights(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """Phases at the first sample, `(n_circuits, n_gates)`.

        They are exact for the gates that do not depend on the inputs; the others are not read.
        """
        return vmap(self.of_sample)(inputs[:, 0].detach(), weights)

    def of_inputs(
        self, inputs: Tensor, weights: Tensor, of_weights: Tensor, input_gates: Tensor
    ) -> Tensor:
        """Phases of the gates that depend on the inputs, `(n_circuits, B, n_input_gates)`."""
        phases = vmap(vmap(self.of_sample, in_dims=(0, None)))(inputs, weights)
        return phases[..., input_gates]

    def of_sample(self, x: Tensor, weights: Tensor) -> Tensor:
        """Phases of all gates for one sample and one circuit, `(n_gates,)`; constants get zero."""
        angles = [
            _angle(operation, x) for operation in _native_operations(self.circuit, x, weights)
        ]
        return torch.stack(angles) * x.new_tensor(self.frequencies)


@dataclass(frozen=True, eq=False)
class Program:
    """What a circuit does, without PennyLane objects.

    Attributes:
        n_wires: Number of qubits.
        embedding: What writes the initial state; None to start from |0...0>.
        gates: The gates in order.
        input_gates: Indices of the gates whose phase depends on the inputs.
        phases: How the phases come from inputs and weights.
    """

    n_wires: int
    embedding: AmplitudeEmbedding | None
    gates: tuple[Gate, ...]
    input_gates: tuple[int, ...]
    phases: AffinePhases | TracedPhases

    @cached_property
    def components(self) -> list[tuple[int, ...]]:
        """The sets of wires that no gate connects with each other: independent circuits."""
        if self.embedding is not None:
            return [tuple(range(self.n_wires))]
        components = [{wire} for wire in range(self.n_wires)]
        for gate in self.gates:
            joined = [c for c in components if c.intersection(gate.wires)]
            components = [c for c in components if c not in joined] + [set().union(*joined)]
        return sorted(tuple(sorted(component)) for component in components)


@made_once
def trace(circuit: Circuit) -> Program:
    """The program of a circuit.

    Args:
        circuit: The circuit; its gates are queued a few times.

    Raises:
        HQDMError: If a gate has no matrix (such as a mid-circuit measurement) or acts on wires
            that the circuit does not have, if the choice of gates depends on values, or if there
            are no gates.
    """
    inputs, weights = _probes(circuit)
    # First without vectorising, so that mistakes in a user's function show as themselves.
    operations = _native_operations(circuit, inputs[-1], weights[-1])
    gates = tuple(_gate(operation) for operation in operations)
    if not gates:
        raise HQDMError("the circuit queues no gates")
    traced = TracedPhases(circuit, tuple(gate.frequency for gate in gates))
    phases = _vectorised(traced, inputs, weights)
    affine, depends = _fit_affine(inputs, weights, phases)
    if affine is None:
        depends = _depends_on_inputs(traced, inputs, weights)
    embedding = circuit.embedding
    return Program(
        circuit.n_wires,
        embedding if isinstance(embedding, AmplitudeEmbedding) else None,
        gates,
        tuple(depends.nonzero().flatten().tolist()),
        affine or traced,
    )


def _probes(circuit: Circuit) -> tuple[Tensor, Tensor]:
    """Inputs and weights at which to look at the phases: zero, each unit vector, random points."""
    n_inputs, n_weights = circuit.n_inputs, torch.Size(circuit.weights_shape).numel()
    n = n_inputs + n_weights
    generator = torch.Generator().manual_seed(0)
    random = [scale * torch.randn(1, n, generator=generator).double() for scale in PROBE_SCALES]
    # Both signs, as many a function is constant on one side.
    random += [-point for point in random]
    points = torch.cat([torch.zeros(1, n).double(), torch.eye(n).double(), *random])
    inputs, weights = points.split([n_inputs, n_weights], 1)
    return inputs, weights.reshape(-1, *circuit.weights_shape)


def _vectorised(traced: TracedPhases, inputs: Tensor, weights: Tensor) -> Tensor:
    """Phases at many points, `(n_points, n_gates)`.

    Raises:
        HQDMError: If the function looks at the values of its arguments, which vectorising forbids.
    """
    try:
        return vmap(traced.of_sample, chunk_size=512)(inputs, weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise HQDMError(
            "the statevector simulator cannot vectorise this circuit: its gates may not depend on "
            f"values, and its angles need torch functions ({reason}); {HINT}"
        ) from error


def _fit_affine(
    inputs: Tensor, weights: Tensor, phases: Tensor
) -> tuple[AffinePhases | None, Tensor]:
    """The affine function through zero and the unit vectors, if the random points agree with it.

    Returns:
        The function or None, and a mask of the gates that depend on the inputs.
    """
    points = torch.cat([inputs, weights.flatten(1)], 1)
    n_inputs, n = inputs.shape[1], points.shape[1]
    constant = phases[0]
    slope = (phases[1 : n + 1] - constant).T
    slope = torch.where(slope.abs() < ROUNDING, 0, slope)
    depends = (slope[:, :n_inputs] != 0).any(1)
    predicted = constant + points[n + 1 :] @ slope.T
    if not torch.allclose(predicted, phases[n + 1 :], rtol=1e-10, atol=1e-10):
        return None, depends
    weight_terms = _sparse_rows(slope[:, n_inputs:])
    input_terms = _sparse_rows(slope[depends, :n_inputs])
    return AffinePhases(constant, *weight_terms, *input_terms), depends


def _depends_on_inputs(traced: TracedPhases, inputs: Tensor, weights: Tensor) -> Tensor:
    """Mask of the gates whose phase differs between inputs, at any of the random weights."""
    n = 2 * len(PROBE_SCALES)
    pairs = inputs[-n:].repeat(n, 1), weights[-n:].repeat_interleave(n, 0)
    phases = _vectorised(traced, *pairs).unflatten(0, (n, n))
    return (phases != phases[:, :1]).flatten(0, 1).any(0)


def _sparse_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Column indices and values of the non-zero entries of each row, padded to the longest."""
    longest = int((matrix != 0).sum(1).max()) if matrix.numel() else 0
    index = matrix.abs().topk(longest, dim=1).indices
    return index, matrix.gather(1, index)


def _native_operations(circuit: Circuit, x: Tensor, weights: Tensor) -> list[Operator]:
    """The operations for one sample, decomposed into those that a `Gate` can hold."""
    with qml.queuing.AnnotatedQueue() as queue:
        circuit.queue(x, weights)
    operations = qml.tape.QuantumScript.from_queue(queue).operations
    if isinstance(circuit.embedding, AmplitudeEmbedding):
        operations = operations[1:]  # the state preparation: see Program.embedding
    native = [part for operation in operations for part in _decompose(operation)]
    for operation in native:
        if not set(operation.wires) <= set(range(circuit.n_wires)):
            raise HQDMError(
                f"{operation.name} acts on wires {operation.wires.tolist()}, but the circuit has "
                f"wires 0..{circuit.n_wires - 1}"
            )
    return native


def _decompose(operation: Operator) -> Iterator[Operator]:
    if operation.name in NO_EFFECT:
        return
    if _is_native(operation):
        yield operation
    elif operation.has_decomposition and not isinstance(operation, qml.ops.Conditional):
        for part in operation.decomposition():
            yield from _decompose(part)
    else:
        raise HQDMError(f"the statevector simulator cannot run {operation.name}: {HINT}")


def _is_native(operation: Operator) -> bool:
    too_wide = len(operation.wires) > MAX_GATE_WIRES and operation.has_decomposition
    if too_wide or not operation.has_matrix or isinstance(operation, qml.ops.Conditional):
        return False
    return not _has_tensors(operation) or _sinusoid(operation) is not None


def _has_tensors(operation: Operator) -> bool:
    return any(isinstance(parameter, Tensor) for parameter in operation.parameters)


def _angle(operation: Operator, x: Tensor) -> Tensor:
    """The angle of a native operation in the dtype of `x`, zero if it is constant."""
    return operation.parameters[0].to(x) if _has_tensors(operation) else x.new_zeros(())


def _gate(operation: Operator) -> Gate:
    wires = tuple(operation.wires)
    sinusoid = _sinusoid(operation) if _has_tensors(operation) else None
    if sinusoid is None:
        constant = _matrix(operation)
        sinusoid = np.stack([constant, 0 * constant, 0 * constant]), 1.0
    matrices, frequency = sinusoid
    return Gate(
        operation.name, wires, torch.from_numpy(matrices), frequency, _controls(matrices, wires)
    )


def _sinusoid(operation: Operator) -> tuple[np.ndarray, float] | None:
    """A, B, C and the frequency of a gate of one angle, or None if it has no such form."""
    if len(operation.parameters) != 1 or operation.parameters[0].ndim:
        return None

    def matrix(phase: float) -> np.ndarray:
        return _matrix(bind_new_parameters(operation, [phase / frequency]))

    for frequency in FREQUENCIES:
        at_zero, at_pi = matrix(0.0), matrix(np.pi)
        constant, cosine = (at_zero + at_pi) / 2, (at_zero - at_pi) / 2
        sine = matrix(np.pi / 2) - constant
        if all(
            np.allclose(matrix(t), constant + np.cos(t) * cosine + np.sin(t) * sine, 0, ROUNDING)
            for t in (0.7, -2.3)
        ):
            return np.stack([_clean(m) for m in (constant, cosine, sine)]), frequency
    return None


def _matrix(operation: Operator) -> np.ndarray:
    matrix = qml.matrix(operation, wire_order=operation.wires)
    return np.ascontiguousarray(matrix, dtype=np.complex128)


def _clean(matrix: np.ndarray) -> np.ndarray:
    """Real and imaginary parts without rounding errors in place of zeros."""
    parts = matrix.view(np.float64)
    return np.where(np.abs(parts) < ROUNDING, 0, parts).view(np.complex128)


def _controls(matrices: np.ndarray, wires: tuple[int, ...]) -> frozenset[int]:
    """The wires on which all matrices are block diagonal."""
    k = len(wires)
    tensor = matrices.reshape(3, *(2,) * 2 * k)
    controls = set()
    for i, wire in enumerate(wires):
        by_bit = np.moveaxis(tensor, (1 + i, 1 + k + i), (0, 1))
        if not by_bit[0, 1].any():  # in a unitary, the other off-diagonal block is zero with it
            controls.add(wire)
    return frozenset(controls)
