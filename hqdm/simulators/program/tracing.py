"""A circuit as a program: gates with constant matrices, and one phase per gate.

The PennyLane quantum function is traced once. Every gate becomes

    M(phase) = A + cos(phase) B + sin(phase) C,    phase = angle or angle / 2,

with constant complex A, B, C. This covers constant gates (B = C = 0) and the usual gates of one
angle, including controlled ones; all others are decomposed. If the phases are affine in inputs and
weights, as they usually are, they are computed by indexing; otherwise the function is traced again
in each call, vectorised over the batch.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import compress
from typing import Any, TypeVar, cast

import numpy as np
import pennylane as qml
import torch
from pennylane.operation import Operator
from torch import Tensor
from torch.func import vmap

from hqdm.circuits import AmplitudeEmbedding, Circuit, QuantumFunction
from hqdm.circuits.identity import lasting
from hqdm.circuits.operations import NOT_UNITARY, matrix_of
from hqdm.simulators.program.caching import cached
from hqdm.simulators.program.decomposition import (
    HINT,
    ROUNDING,
    has_tensors,
    kind_of,
    native,
    sinusoid,
)
from hqdm.simulators.program.disk_cache import Arrays, arrays_key, remembered, stamp
from hqdm.utils.errors import HQDMError

PROBE_SCALES = (1e-2, 1.0, 1.0, 10.0, 1e3)  # of the random points, in radians
PROBE_NUMBERS = 2**24  # phases in memory at once
PROBE_PHASES = (0.0, 0.7, 2.0)
WORTH_KEEPING = 200  # gates of a program on disk; smaller ones take less than 0.1 s
STAMP = stamp(__name__)

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Gate:
    """One gate, M(phase) = A + cos(phase) B + sin(phase) C.

    Attributes:
        name: PennyLane's name of the gate.
        wires: The wires, the first one most significant.
        matrices: A, B and C, `(3, 2**k, 2**k)` complex128 for k wires.
        frequency: Phase divided by angle.
        controls: The wires on which the gate is block diagonal for every phase.
        known: What has been derived from the matrices, shared by all gates of one kind.
    """

    name: str
    wires: tuple[int, ...]
    matrices: Tensor
    frequency: float
    controls: frozenset[int]
    known: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def derived(self, key: Hashable, function: Callable[[], T]) -> T:
        """A result that depends on the matrices and a key only, computed once."""
        if key not in self.known:
            self.known[key] = function()
        return cast(T, self.known[key])

    def is_unitary(self, tolerance: float) -> bool:
        """True if M^dag M is the identity for every phase, up to an error per entry."""
        return self.derived(("unitary", tolerance), lambda: self._is_unitary(tolerance))

    def _is_unitary(self, tolerance: float) -> bool:
        constant, cosine, sine = self.matrices
        identity = torch.eye(len(constant), dtype=constant.dtype)
        matrices = (constant + np.cos(p) * cosine + np.sin(p) * sine for p in PROBE_PHASES)
        return all(torch.allclose(m.mH @ m, identity, 0, tolerance) for m in matrices)


@dataclass(frozen=True, eq=False)
class AffinePhases:
    """Phases that are affine in weights and inputs, with few terms each.

    phase_g = constant_g + sum_k weight_value_gk w[weight_index_gk] + the same over inputs.

    Attributes:
        constant: `(n_gates,)`.
        weight_index: Indices into the flattened weights, `(n_gates, k)`.
        weight_value: Coefficients of the weights, `(n_gates, k)`, padded with zeros.
        input_index: Indices into the inputs, `(n_input_gates, k)`, of the gates that use them.
        input_value: Coefficients of the inputs, padded with zeros.
    """

    constant: Tensor
    weight_index: Tensor
    weight_value: Tensor
    input_index: Tensor
    input_value: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> "AffinePhases":
        """A copy on a device, with coefficients of a dtype."""
        return AffinePhases(
            self.constant.to(device, dtype),
            self.weight_index.to(device),
            self.weight_value.to(device, dtype),
            self.input_index.to(device),
            self.input_value.to(device, dtype),
        )

    def of_weights(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """Phases without the terms in the inputs.

        Args:
            inputs: Unused, `(n_circuits, B, n_inputs)`.
            weights: `(n_circuits, *weights_shape)`.

        Returns:
            `(n_circuits, n_gates)`.
        """
        flat = weights.reshape(len(weights), math.prod(weights.shape[1:]))
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
        frequencies: Phase divided by angle, one per gate.
    """

    circuit: Circuit
    frequencies: tuple[float, ...]

    def to(self, device: torch.device, dtype: torch.dtype) -> "TracedPhases":
        """The object itself, which has no tensors to move."""
        return self

    def of_weights(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """Phases at the first sample, `(n_circuits, n_gates)`.

        They are exact for the gates that do not depend on the inputs; the others are unused.
        """
        return vmap(self.of_sample)(inputs[:, 0].detach(), weights)

    def of_inputs(
        self, inputs: Tensor, weights: Tensor, of_weights: Tensor, input_gates: Tensor
    ) -> Tensor:
        """Phases of the gates that depend on the inputs, `(n_circuits, B, n_input_gates)`."""
        phases = vmap(vmap(self.of_sample, in_dims=(0, None)))(inputs, weights)
        return phases[..., input_gates]

    def of_sample(self, x: Tensor, weights: Tensor) -> Tensor:
        """Phases of all gates for one sample and circuit, `(n_gates,)`; 0 for constant gates."""
        angles = [
            _angle(operation, x) for operation in _native_operations(self.circuit, x, weights)
        ]
        return torch.stack(angles) * x.new_tensor(self.frequencies)


@dataclass(frozen=True, eq=False)
class Program:
    """A circuit without PennyLane objects.

    Attributes:
        n_wires: Number of qubits.
        embedding: What gives the initial state from the inputs; None for |0...0>.
        gates: The gates in order.
        input_gates: Indices of the gates whose phase depends on the inputs.
        phases: The phases as a function of inputs and weights.
    """

    n_wires: int
    embedding: AmplitudeEmbedding | QuantumFunction | None
    gates: tuple[Gate, ...]
    input_gates: tuple[int, ...]
    phases: AffinePhases | TracedPhases

    @cached_property
    def components(self) -> list[tuple[int, ...]]:
        """The connected components of the wires, which are independent circuits."""
        if self.embedding is not None:
            return [tuple(range(self.n_wires))]
        components = [{wire} for wire in range(self.n_wires)]
        for gate in self.gates:
            joined = [c for c in components if c.intersection(gate.wires)]
            components = [c for c in components if c not in joined] + [set().union(*joined)]
        return sorted(tuple(sorted(component)) for component in components)


@cached
def trace(circuit: Circuit) -> Program:
    """Trace a circuit, once; deep ones of the ansaetze of this package once on a machine.

    The code of these is part of the stamp. That of a user's function, and of what it calls, cannot
    be known, so that its program is not kept from one process to the next.

    Args:
        circuit: The circuit; its gates are queued twice, and more often if their phases are not
            affine in inputs and weights, with one of both per gate.

    Raises:
        HQDMError: If a gate is not unitary, has no matrix (such as a mid-circuit measurement), or
            acts on wires that the circuit does not have, if the choice of gates depends on values,
            or if there are no gates.
    """
    lasts = lasting(circuit.identity)
    return remembered(
        lasts and arrays_key(f"{STAMP} {lasts}", {}),
        lambda: _trace(circuit),
        _pack,
        lambda arrays: _unpack(circuit, arrays),
    )


def _trace(circuit: Circuit) -> Program:
    """See `trace`."""
    points = _random_points(circuit.n_inputs + torch.Size(circuit.weights_shape).numel())
    inputs, weights = _split(circuit, points)
    gates = _gates(circuit, inputs, weights)
    for gate in gates:
        if not gate.is_unitary(NOT_UNITARY):
            raise HQDMError(f"{gate.name} is not unitary, expected gates: {HINT}")
    if not gates:
        raise HQDMError("the circuit queues no gates")
    traced = TracedPhases(circuit, tuple(gate.frequency for gate in gates))
    affine, depends = _fit_affine(traced, circuit, points)
    if affine is None:
        depends = _depends_on_inputs(traced, inputs, weights)
    return _program(circuit, gates, depends.nonzero().flatten().tolist(), affine or traced)


def _program(
    circuit: Circuit,
    gates: Sequence[Gate],
    input_gates: Sequence[int],
    phases: AffinePhases | TracedPhases,
) -> Program:
    """The program of a circuit."""
    prepared = circuit.embedding if _prepares(circuit) else None
    return Program(
        circuit.n_wires,
        cast(AmplitudeEmbedding | QuantumFunction | None, prepared),
        tuple(gates),
        tuple(input_gates),
        phases,
    )


def _prepares(circuit: Circuit) -> bool:
    """True if the first operation of a circuit prepares a state from the inputs."""
    embedding = circuit.embedding
    if isinstance(embedding, QuantumFunction):
        return embedding.prepares
    return isinstance(embedding, AmplitudeEmbedding)


def pack_gates(gates: Sequence[Gate]) -> dict[str, np.ndarray]:
    """Gates as arrays, with the matrices of each kind once."""
    kinds = {id(gate.known): gate for gate in gates}
    numbers = {kind: i for i, kind in enumerate(kinds)}
    return {
        "kinds": np.array([numbers[id(gate.known)] for gate in gates]),
        "n_wires": np.array([len(gate.wires) for gate in gates]),
        "wires": np.array([wire for gate in gates for wire in gate.wires]),
        "is_control": np.array([wire in gate.controls for gate in gates for wire in gate.wires]),
        "names": np.array([gate.name for gate in kinds.values()]),
        "frequencies": np.array([gate.frequency for gate in kinds.values()]),
        "kind_wires": np.array([len(gate.wires) for gate in kinds.values()]),
        "matrices": torch.cat([gate.matrices.flatten() for gate in kinds.values()]).numpy(),
    }


def _unpack_gates(arrays: Arrays) -> list[Gate]:
    """The inverse of `pack_gates`."""
    sizes = [2**n for n in arrays["kind_wires"].tolist()]
    matrices = torch.from_numpy(arrays["matrices"]).split([3 * size**2 for size in sizes])
    of_kind = zip(arrays["names"].tolist(), arrays["frequencies"].tolist(), sizes, strict=True)
    kinds = [
        Gate(name, (), matrix.view(3, size, size), frequency, frozenset())
        for (name, frequency, size), matrix in zip(of_kind, matrices, strict=True)
    ]
    wires, is_control = arrays["wires"].tolist(), arrays["is_control"].tolist()
    gates, start = [], 0
    for kind, n_wires in zip(arrays["kinds"].tolist(), arrays["n_wires"].tolist(), strict=True):
        own = slice(start, start := start + n_wires)
        controls = frozenset(compress(wires[own], is_control[own]))
        gates.append(replace(kinds[kind], wires=tuple(wires[own]), controls=controls))
    return gates


def _pack(program: Program) -> dict[str, np.ndarray] | None:
    """A program as arrays; None if it is small or traced in every call."""
    if len(program.gates) < WORTH_KEEPING or isinstance(program.phases, TracedPhases):
        return None
    phases = {name: tensor.numpy() for name, tensor in vars(program.phases).items()}
    input_gates = np.array(program.input_gates, np.int64)
    return {**pack_gates(program.gates), **phases, "input_gates": input_gates}


def _unpack(circuit: Circuit, arrays: Arrays) -> Program:
    """The program of a circuit from what `_pack` returns."""
    phases = {field.name: torch.from_numpy(arrays[field.name]) for field in fields(AffinePhases)}
    input_gates = arrays["input_gates"].tolist()
    return _program(circuit, _unpack_gates(arrays), input_gates, AffinePhases(**phases))


def _gates(circuit: Circuit, inputs: Tensor, weights: Tensor) -> tuple[Gate, ...]:
    """The gates of a circuit, which are the same at all points."""
    kinds: dict[Hashable, Gate] = {}
    # Not vectorised, so that errors in a user-defined function are raised unchanged.
    operations = _native_operations(circuit, inputs[-1], weights[-1])
    return tuple(_gate(operation, kinds) for operation in operations)


def _random_points(n: int) -> Tensor:
    """Points at which the phases are evaluated as functions of n numbers, `(n_points, n)`."""
    generator = torch.Generator().manual_seed(0)
    points = [scale * torch.randn(1, n, generator=generator).double() for scale in PROBE_SCALES]
    # Both signs, since functions such as relu are constant on one side.
    return torch.cat([*points, *(-point for point in points)])


def _split(circuit: Circuit, points: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and weights at points, `(n_points, n_inputs)` and `(n_points, *weights_shape)`."""
    n_weights = torch.Size(circuit.weights_shape).numel()
    inputs, weights = points.split([circuit.n_inputs, n_weights], 1)
    return inputs, weights.reshape(len(points), *circuit.weights_shape)


def _vectorised(traced: TracedPhases, inputs: Tensor, weights: Tensor) -> Tensor:
    """Phases at many points, `(n_points, n_gates)`.

    Raises:
        HQDMError: If the function depends on the values of its arguments in a way that cannot be
            vectorised.
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
    traced: TracedPhases, circuit: Circuit, points: Tensor
) -> tuple[AffinePhases | None, Tensor]:
    """The affine function of few terms per gate that has the right values at `points`.

    Returns:
        The function, or None if there is none, and a mask of the gates that depend on the inputs.
    """
    n_inputs, n = circuit.n_inputs, points.shape[1]
    places = torch.arange(1, n + 1).double()
    of_inputs = torch.arange(n) < n_inputs
    probes = [torch.zeros(n).double()]
    for part in (of_inputs, ~of_inputs):
        probes += [part.double(), part * places]
    at_probes, phases = _vectorised(
        traced, *_split(circuit, torch.cat([torch.stack(probes), points]))
    ).split([len(probes), len(points)])
    constant = at_probes[0]
    terms = [_single_terms(at_probes[i : i + 2] - constant, n) for i in (1, 3)]
    gates, entries, slopes = (torch.cat(part) for part in zip(*terms, strict=True))
    found = gates, entries, slopes
    if not _agrees(constant, found, points, phases):
        found = _slopes(traced, circuit, constant, n)
        if not _agrees(constant, found, points, phases):
            return None, torch.zeros(len(constant), dtype=torch.bool)
    return _affine(constant, found, n_inputs)


Terms = tuple[Tensor, Tensor, Tensor]
"""Nonzero derivatives: indices of gates and of arguments, and values."""


def _single_terms(differences: Tensor, n: int) -> Terms:
    """The terms of functions a_g p_k, one k per gate, from their values at two points.

    Args:
        differences: Values at p = (1, 1, ...) and at p = (1, 2, ...), `(2, n_gates)`.
        n: Number of arguments.
    """
    (gates,) = (differences[0].abs() >= ROUNDING).nonzero(as_tuple=True)
    slopes = differences[0, gates]
    entries = (differences[1, gates] / slopes).nan_to_num().round().clamp(1, n).long() - 1
    return gates, entries, slopes


def _agrees(constant: Tensor, terms: Terms, points: Tensor, phases: Tensor) -> bool:
    """True if an affine function has the right values at points."""
    gates, entries, values = terms
    predicted = constant.expand(len(points), -1).clone()
    predicted.index_add_(1, gates, values * points[:, entries])
    return torch.allclose(predicted, phases, rtol=1e-10, atol=1e-10)


def _affine(constant: Tensor, terms: Terms, n_inputs: int) -> tuple[AffinePhases, Tensor]:
    """The affine function of given terms, and a mask of the gates that depend on the inputs."""
    gates, entries, values = terms
    of_inputs = entries < n_inputs
    depends = torch.zeros(len(constant), dtype=torch.bool)
    depends[gates[of_inputs]] = True
    of_weights = ~of_inputs
    weight_terms = _padded_rows(
        gates[of_weights], entries[of_weights] - n_inputs, values[of_weights], len(constant)
    )
    input_gates = depends.cumsum(0) - 1  # positions among the gates that depend on the inputs
    input_terms = _padded_rows(
        input_gates[gates[of_inputs]],
        entries[of_inputs],
        values[of_inputs],
        int(depends.sum()),
    )
    return AffinePhases(constant, *weight_terms, *input_terms), depends


def _slopes(traced: TracedPhases, circuit: Circuit, constant: Tensor, n: int) -> Terms:
    """The nonzero derivatives of an affine function, from its values at all unit vectors.

    Unit vectors are processed in chunks, since the table of all of them is large for deep circuits.
    """
    found = []
    for rows in torch.arange(n).split(max(1, PROBE_NUMBERS // len(constant))):
        units = torch.zeros(len(rows), n).double()
        units[torch.arange(len(rows)), rows] = 1
        slopes = _vectorised(traced, *_split(circuit, units)) - constant
        entries, gates = (slopes.abs() >= ROUNDING).nonzero(as_tuple=True)
        found.append((gates, rows[entries], slopes[entries, gates]))
    gates, entries, values = (torch.cat(part) for part in zip(*found, strict=True))
    return gates, entries, values


def _depends_on_inputs(traced: TracedPhases, inputs: Tensor, weights: Tensor) -> Tensor:
    """Mask of the gates whose phase differs between inputs at any of the random weights."""
    n = len(inputs)
    pairs = inputs.repeat(n, 1), weights.repeat_interleave(n, 0)
    phases = _vectorised(traced, *pairs).unflatten(0, (n, n))
    return (phases != phases[:, :1]).flatten(0, 1).any(0)


def _padded_rows(
    rows: Tensor, columns: Tensor, values: Tensor, n_rows: int
) -> tuple[Tensor, Tensor]:
    """Columns and values of the entries in each row of a sparse matrix, padded to equal length."""
    order = rows.argsort(stable=True)
    counts = rows.bincount(minlength=n_rows)
    first = counts.cumsum(0) - counts
    places = torch.arange(len(rows)) - first[rows[order]]
    index = torch.zeros(n_rows, int(counts.max()) if n_rows else 0, dtype=torch.long)
    value = torch.zeros(index.shape).double()
    index[rows[order], places] = columns[order]
    value[rows[order], places] = values[order]
    return index, value


def _native_operations(circuit: Circuit, x: Tensor, weights: Tensor) -> list[Operator]:
    """The operations for one sample, decomposed into operations that a `Gate` can represent."""
    with qml.queuing.AnnotatedQueue() as queue:
        circuit.queue(x, weights)
    operations = qml.tape.QuantumScript.from_queue(queue).operations
    if _prepares(circuit):
        operations = operations[1:]  # see Program.embedding
    with_phases = circuit.measure == "state"
    gates = [part for operation in operations for part in native(operation, with_phases)]
    wires = frozenset(range(circuit.n_wires))
    for operation in gates:
        if not wires.issuperset(operation.wires):
            raise HQDMError(
                f"{operation.name} acts on wires {operation.wires.tolist()}, but the circuit has "
                f"wires 0..{circuit.n_wires - 1}"
            )
    return gates


def _angle(operation: Operator, x: Tensor) -> Tensor:
    """The angle of a native operation in the dtype of `x`, zero if it is constant."""
    return operation.parameters[0].to(x) if has_tensors(operation) else x.new_zeros(())


def _gate(operation: Operator, kinds: dict[Hashable, Gate]) -> Gate:
    """A gate; those of one kind share their matrices.

    Args:
        operation: A native operation.
        kinds: One gate of each kind so far.
    """
    wires = tuple(operation.wires)
    dependent = has_tensors(operation)
    kind = kind_of(operation) if dependent or not operation.parameters else None
    if kind is not None and kind in kinds:
        other = kinds[kind]
        controls = frozenset(
            w for w, o in zip(wires, other.wires, strict=True) if o in other.controls
        )
        return replace(other, wires=wires, controls=controls)
    form = sinusoid(operation) if dependent else None
    if form is None:
        constant = matrix_of(operation)
        form = np.stack([constant, 0 * constant, 0 * constant]), 1.0
    matrices, frequency = form
    gate = Gate(
        operation.name, wires, torch.from_numpy(matrices), frequency, _controls(matrices, wires)
    )
    if kind is not None:
        kinds[kind] = gate
    return gate


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
