"""A batched state-vector simulator in torch.

All circuits of a layer and the whole batch are one tensor, `(n_circuits, 2, ..., 2, B)`. Gates are
fused into blocks: block diagonal on some control wires, dense on at most four target wires. A block
is applied with one batched matrix product,

    psi'[c, t', r, b] = sum_t M[c, t', t] psi[c, t, r, b],

over control bits c, target bits t, the other bits r and the samples b.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache, partial, reduce
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from hqdm.circuits import Circuit
from hqdm.errors import HQDMError
from hqdm.simulators.base import check_shapes, no_outputs
from hqdm.simulators.program import Gate, trace

MAX_TARGETS = 4
MAX_CONTROLS = 4
CPU_STATE_BYTES = 4 * 2**20  # a CPU runs larger states slower: they leave its cache

Wires = tuple[int, ...]


@dataclass(frozen=True)
class Build:
    """What blocks have in common whose matrices are computed together.

    Attributes:
        n_controls: Number of control wires, the first local axes.
        n_targets: Number of target wires, the other local axes.
        gate_axes: The local axes of each gate, in order.
    """

    n_controls: int
    n_targets: int
    gate_axes: tuple[Wires, ...]


@dataclass
class Block:
    """Consecutive gates that are applied together.

    Attributes:
        per_sample: Whether the phase of a gate depends on the inputs.
        gates: Indices and gates, in order.
        controls: Wires on which every gate is block diagonal, in order of appearance.
        targets: The other wires, in order of appearance.
    """

    per_sample: bool
    gates: list[tuple[int, Gate]] = field(default_factory=list)
    controls: Wires = ()
    targets: Wires = ()

    @property
    def wires(self) -> Wires:
        """Controls, then targets: the order of the axes of the block's matrix."""
        return self.controls + self.targets

    @property
    def build(self) -> "Build":
        """How the block's matrix comes from the matrices of its gates."""
        axes = tuple(tuple(self.wires.index(w) for w in gate.wires) for _, gate in self.gates)
        return Build(len(self.controls), len(self.targets), axes)

    def with_wires_of(self, gate: Gate) -> tuple[Wires, Wires]:
        """Controls and targets after taking in the gate."""
        targets = self.targets + tuple(
            wire for wire in gate.wires if wire not in gate.controls and wire not in self.targets
        )
        wires = self.controls + tuple(wire for wire in gate.wires if wire not in self.controls)
        return tuple(wire for wire in wires if wire not in targets), targets

    def accepts(self, gate: Gate, per_sample: bool) -> bool:
        """Whether fusing the gate into this block makes the whole cheaper."""
        controls, targets = self.with_wires_of(gate)
        if self.per_sample or per_sample:
            # Matrices of a whole batch are dear: let them grow no further.
            return self.per_sample and len(controls + targets) == len(self.wires)
        return len(targets) <= MAX_TARGETS and len(controls) <= MAX_CONTROLS

    def append(self, index: int, gate: Gate) -> None:
        """Take in a gate, applied after those already here."""
        self.controls, self.targets = self.with_wires_of(gate)
        self.gates.append((index, gate))

    def commutes_with(self, gate: Gate) -> bool:
        """Whether block and gate share only wires on which both are block diagonal."""
        return all(
            wire in self.controls and wire in gate.controls
            for wire in gate.wires
            if wire in self.wires
        )


def fuse(gates: Iterable[tuple[int, Gate]], input_gates: frozenset[int]) -> list[Block]:
    """Fuse gates greedily into blocks, each gate into the earliest block that can take it.

    Args:
        gates: Indices and gates, in order.
        input_gates: Indices of the gates whose phase depends on the inputs.
    """
    blocks: list[Block] = []
    for index, gate in gates:
        per_sample = index in input_gates
        earliest = 0
        for position in reversed(range(len(blocks))):
            if not blocks[position].commutes_with(gate):
                earliest = position
                break
        for block in blocks[earliest:]:
            if block.accepts(gate, per_sample):
                break
        else:
            block = Block(per_sample)
            blocks.append(block)
        block.append(index, gate)
    return blocks


def apply_matrix(
    matrix: Tensor, state: Tensor, order: Wires, controls: Wires, targets: Wires
) -> tuple[Tensor, Wires]:
    """Apply a block-diagonal matrix to some wires of a state.

    Args:
        matrix: `(N, 2**n_controls, 2**n_targets, 2**n_targets)`; with a batch axis,
            `(N, B, ...)`, one matrix a sample.
        state: `(N, 2, ..., 2, B)`, one axis a wire.
        order: The wires in the order of the axes of the state.
        controls: The wires of the block axis of the matrix, first most significant.
        targets: The wires of its row and column axes.

    Returns:
        The new state and the order of its axes.
    """
    n, n_samples = state.shape[0], state.shape[-1]
    front = controls + targets
    new_order = front + tuple(wire for wire in order if wire not in front)
    # The one copy of a block: axes are not put back, later steps look them up in the order.
    state = state.permute(0, *(1 + order.index(wire) for wire in new_order), -1)
    blocks, size = 2 ** len(controls), 2 ** len(targets)
    if matrix.ndim == 4:
        out = matrix.reshape(n * blocks, size, size) @ state.reshape(n * blocks, size, -1)
    else:
        columns = state.reshape(n, blocks, size, -1, n_samples).unbind(2)
        entries = matrix.permute(0, 2, 3, 4, 1).unsqueeze(4).unbind(3)
        # On a CPU this is several times faster than a matrix product a sample.
        out = reduce(
            torch.add,
            [entry * column.unsqueeze(2) for entry, column in zip(entries, columns, strict=True)],
        )
    return out.reshape(n, *(2,) * len(order), n_samples), new_order


class GateTable:
    """Matrices of gates on the same number of wires, A + cos(phase) B + sin(phase) C.

    Args:
        gates: The gates.
        columns: For each gate, its place on the last axis of the phases.
        device: Where to keep the constants.
        dtype: Complex dtype of the matrices.
    """

    def __init__(
        self, gates: list[Gate], columns: list[int], device: torch.device, dtype: torch.dtype
    ) -> None:
        self.columns = torch.tensor(columns, device=device)
        matrices = torch.stack([gate.matrices for gate in gates], 1).to(device, dtype)
        self.constant, self.cosine, self.sine = matrices

    def __call__(self, cos: Tensor, sin: Tensor) -> Tensor:
        """The matrices, `(..., n_gates, 2**k, 2**k)`, from the phases' `(..., n_phases)`."""
        cos, sin = (part[..., self.columns, None, None] for part in (cos, sin))
        return self.constant + cos * self.cosine + sin * self.sine


class BlockMatrices:
    """The matrices of some blocks as a function of the phases of their gates.

    Blocks of one build, as in repeated layers, are computed together.

    Args:
        blocks: The blocks.
        columns: For each gate index, its place on the last axis of the phases.
        device: Where to keep the constants.
        dtype: Complex dtype of the matrices.
    """

    def __init__(
        self,
        blocks: list[Block],
        columns: dict[int, int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.members: dict[Build, list[int]] = defaultdict(list)
        for position, block in enumerate(blocks):
            self.members[block.build].append(position)
        # A step multiplies one gate into every block of a build; all steps of one gate size share
        # a table, in which the gates of a step are neighbours.
        self.steps: dict[int, list[tuple[Build, int]]] = defaultdict(list)
        gates: dict[int, list[tuple[int, Gate]]] = defaultdict(list)
        for build, positions in self.members.items():
            for step, axes in enumerate(build.gate_axes):
                self.steps[len(axes)].append((build, step))
                gates[len(axes)] += [blocks[position].gates[step] for position in positions]
        self.tables = {
            size: GateTable(
                [gate for _, gate in entries],
                [columns[index] for index, _ in entries],
                device,
                dtype,
            )
            for size, entries in gates.items()
        }

    def __call__(self, phases: Tensor) -> list[Tensor]:
        """Evaluate the matrices.

        Args:
            phases: `(..., n_phases)`.

        Returns:
            For each block, `(..., 2**n_controls, 2**n_targets, 2**n_targets)`.
        """
        cos, sin = phases.cos(), phases.sin()
        gates: dict[tuple[Build, int], Tensor] = {}
        for size, steps in self.steps.items():
            sizes = [len(self.members[build]) for build, _ in steps]
            gates.update(zip(steps, self.tables[size](cos, sin).split(sizes, -3), strict=True))
        matrices: dict[int, Tensor] = {}
        for build, positions in self.members.items():
            composed = compose(build, [gates[build, i] for i in range(len(build.gate_axes))])
            matrices.update(zip(positions, composed.unbind(-4), strict=True))
        return [matrices[position] for position in range(len(matrices))]


def compose(build: Build, gates: list[Tensor]) -> Tensor:
    """Multiply gates into the block-diagonal matrix of their block.

    Args:
        build: Which local axes each gate acts on.
        gates: The matrices in order, each `(..., 2**k, 2**k)`.

    Returns:
        `(..., 2**n_controls, 2**n_targets, 2**n_targets)`.
    """
    lead, n_axes = gates[0].shape[:-2], build.n_controls + build.n_targets
    shape = (*lead, 2**build.n_controls, 2**build.n_targets, 2**build.n_targets)
    identity = torch.eye(shape[-1], dtype=gates[0].dtype, device=gates[0].device).expand(shape)
    columns = identity.reshape(lead.numel(), *(2,) * n_axes, shape[-1])
    order = tuple(range(n_axes))
    for gate, axes in zip(gates, build.gate_axes, strict=True):
        matrix = gate.reshape(-1, 1, *gate.shape[-2:])
        columns, order = apply_matrix(matrix, columns, order, (), axes)
    columns = columns.permute(0, *(1 + order.index(axis) for axis in range(n_axes)), -1)
    return columns.reshape(shape)


class Plan:
    """A circuit made ready for one device and dtype: whatever needs no inputs and weights.

    Args:
        circuit: The circuit.
        device: Where to run.
        dtype: Real dtype of inputs and weights.
    """

    def __init__(self, circuit: Circuit, device: torch.device, dtype: torch.dtype) -> None:
        program = trace(circuit)
        self.circuit = circuit
        self.amplitudes = program.amplitudes
        self.dtype = dtype.to_complex()
        self.phases = program.phases.to(device, dtype)
        gates = list(enumerate(program.gates))
        self.product: list[Block] = []
        if self.amplitudes is None:
            self.product, gates = split_product(program.n_wires, gates)
        self.blocks = fuse(gates, frozenset(program.input_gates))
        self.order = tuple(range(program.n_wires))
        if self.blocks and self.amplitudes is None:  # spares the first block its copy
            first = self.blocks[0].wires
            self.order = first + tuple(wire for wire in self.order if wire not in first)

        sample_blocks = self.product + [block for block in self.blocks if block.per_sample]
        shared = {index for block in sample_blocks for index, _ in block.gates}
        shared -= set(program.input_gates)
        self.input_gates, self.shared_gates = (
            torch.tensor(sorted(indices), dtype=torch.long, device=device)
            for indices in (program.input_gates, shared)
        )
        columns = {g: i for i, g in enumerate((*program.input_gates, *sorted(shared)))}
        self.sample_matrices = BlockMatrices(sample_blocks, columns, device, self.dtype)
        self.weight_matrices = BlockMatrices(
            [block for block in self.blocks if not block.per_sample],
            {index: index for index, _ in gates},
            device,
            self.dtype,
        )
        n_high = program.n_wires // 2
        self.signs = [z_signs(n, device, dtype) for n in (n_high, program.n_wires - n_high)]

    def run(
        self, inputs: Tensor, weights: Tensor, weight_phases: Tensor, *matrices: Tensor
    ) -> Tensor:
        """Evaluate the circuits on a batch.

        Args:
            inputs: `(n_circuits, B, n_inputs)`.
            weights: `(n_circuits, *weights_shape)`.
            weight_phases: `(n_circuits, n_gates)`, see `AffinePhases.of_weights`.
            matrices: Those of the blocks that are the same for all samples, in order.

        Returns:
            `(n_circuits, B, n_outputs)`.
        """
        phases = torch.cat(
            [
                self.phases.of_inputs(inputs, weights, weight_phases, self.input_gates),
                weight_phases[:, None, self.shared_gates].expand(-1, inputs.shape[1], -1),
            ],
            -1,
        )
        per_sample = self.sample_matrices(phases)
        state = self.initial_state(inputs, per_sample[: len(self.product)])
        of_blocks = {True: iter(per_sample[len(self.product) :]), False: iter(matrices)}
        order = self.order
        for block in self.blocks:
            matrix = next(of_blocks[block.per_sample])
            state, order = apply_matrix(matrix, state, order, block.controls, block.targets)
        return self.measure(state, order)

    def initial_state(self, inputs: Tensor, product: list[Tensor]) -> Tensor:
        """The state before the blocks, `(n_circuits, 2, ..., 2, B)`, with axes as in `order`.

        Args:
            inputs: `(n_circuits, B, n_inputs)`.
            product: The one-qubit matrices `(n_circuits, B, 1, 2, 2)` of the wires in `product`.
        """
        n_circuits, n_samples = inputs.shape[:2]
        if self.amplitudes is not None:
            state = self.amplitudes.amplitudes(inputs).mT.to(self.dtype)
        else:
            ground = torch.tensor([1, 0], dtype=self.dtype, device=inputs.device)
            vectors = {
                wire: ground[:, None].expand(n_circuits, 2, n_samples) for wire in self.order
            }
            for block, matrix in zip(self.product, product, strict=True):
                vectors[block.targets[0]] = matrix[:, :, 0, :, 0].mT
            state = kronecker([vectors[wire] for wire in self.order])
        return state.reshape(n_circuits, *(2,) * len(self.order), n_samples)

    def measure(self, state: Tensor, order: Wires) -> Tensor:
        """The outputs, `(n_circuits, B, n_outputs)`, of a state with these axes."""
        probabilities = torch.view_as_real(state).square().sum(-1)
        measured = self.circuit.measured_wires
        if self.circuit.measure == "probs":
            rest = [1 + i for i, wire in enumerate(order) if wire not in measured]
            if rest:
                probabilities = probabilities.sum(rest)
            kept = [wire for wire in order if wire in measured]
            axes = [1 + kept.index(wire) for wire in measured]
            return probabilities.permute(0, *axes, -1).flatten(1, -2).mT
        # Marginals of the first and second half of the wires: far smaller than all signs at once.
        high, low = (2 ** signs.shape[0] for signs in self.signs)
        joint = probabilities.reshape(state.shape[0], high, low, -1)
        z = torch.cat(
            [signs @ joint.sum(axis) for signs, axis in zip(self.signs, (2, 1), strict=True)], 1
        )
        return z[:, [order.index(wire) for wire in measured]].mT


@lru_cache(maxsize=256)
def plan(circuit: Circuit, device: torch.device, dtype: torch.dtype) -> Plan:
    """The plan of a circuit, made once."""
    # Its tensors must be able to take part in training even if first used in inference mode.
    with torch.inference_mode(False):
        return Plan(circuit, device, dtype)


def split_product(
    n_wires: int, gates: list[tuple[int, Gate]]
) -> tuple[list[Block], list[tuple[int, Gate]]]:
    """Split off the one-qubit gates before any other gate of their wire.

    They leave |0...0> a product state, which is written directly.

    Returns:
        One block for each wire that has such gates, and the remaining gates.
    """
    product: dict[int, Block] = {}
    remaining: list[tuple[int, Gate]] = []
    untouched = set(range(n_wires))
    for index, gate in gates:
        if len(gate.wires) == 1 and gate.wires[0] in untouched:
            wire = gate.wires[0]
            product.setdefault(wire, Block(True, targets=(wire,))).append(index, gate)
        else:
            untouched -= set(gate.wires)
            remaining.append((index, gate))
    return list(product.values()), remaining


def kronecker(vectors: list[Tensor]) -> Tensor:
    """Product states `(n_circuits, 2**n, B)` of one-qubit states `(n_circuits, 2, B)`."""
    while len(vectors) > 1:  # in pairs, so that only the last product is large
        pairs = [
            (left.unsqueeze(2) * right.unsqueeze(1)).flatten(1, 2)
            for left, right in zip(vectors[::2], vectors[1::2], strict=False)
        ]
        vectors = pairs + vectors[2 * len(pairs) :]
    return vectors[0]


def z_signs(n_wires: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Eigenvalues of Z on each wire for each basis state, `(n_wires, 2**n_wires)`."""
    shifts = torch.arange(n_wires - 1, -1, -1, device=device)
    bits = torch.arange(2**n_wires, device=device) >> shifts[:, None] & 1
    return (1 - 2 * bits).to(dtype)


@dataclass(frozen=True)
class StatevectorSimulator:
    """Exact simulation on the device of the inputs, in their precision.

    Attributes:
        memory_limit: Bytes that the states kept for the backward pass may take. A larger batch is
            run in chunks whose states are computed again in the backward pass.
    """

    memory_limit: int = 2**30

    name: ClassVar[str] = "statevector"

    def __call__(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        """Evaluate the circuits; see `Simulator`.

        Raises:
            HQDMError: If the shapes do not fit, if the states of one sample exceed the memory
                limit, or if the circuit cannot be traced.
        """
        check_shapes(circuit, inputs, weights)
        state_bytes = self._state_bytes(circuit, inputs)
        n_samples = inputs.shape[1]
        if not n_samples:
            return no_outputs(circuit, inputs, weights)
        ready = plan(circuit, inputs.device, inputs.dtype)
        weight_phases = ready.phases.of_weights(inputs, weights)
        shared = (weights, weight_phases, *ready.weight_matrices(weight_phases))
        kept_bytes = state_bytes * (len(ready.blocks) + 2)  # one copy a block, first and last state
        chunk = self.memory_limit // kept_bytes
        recompute = torch.is_grad_enabled() and n_samples > chunk
        if inputs.device.type == "cpu":
            chunk = min(chunk, CPU_STATE_BYTES // state_bytes)
        run = (
            partial(checkpoint, ready.run, use_reentrant=False, preserve_rng_state=False)
            if recompute
            else ready.run
        )
        return torch.cat([run(part, *shared) for part in inputs.split(max(chunk, 1), 1)], 1)

    def _state_bytes(self, circuit: Circuit, inputs: Tensor) -> int:
        """Bytes of the states of one sample of all circuits."""
        amplitudes = inputs.shape[0] * 2**circuit.n_wires
        n_bytes = amplitudes * 2 * inputs.element_size()
        if n_bytes > self.memory_limit:
            raise HQDMError(
                f"the states of {inputs.shape[0]} x {circuit.n_wires} qubits take {n_bytes:,} "
                f"bytes a sample, more than memory_limit={self.memory_limit:,}: use fewer qubits, "
                "or StatevectorSimulator with a higher memory_limit"
            )
        return n_bytes
