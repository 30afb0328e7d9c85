"""A batched state-vector simulator in torch.

The states of all circuits of a layer and of the whole batch are one tensor,
`(n_circuits, 2, ..., 2, B)`, per part of the circuit that no gate connects with the others. Gates
are fused into blocks, block diagonal on some control wires and dense on at most four target wires.
A block is applied with one batched matrix product,

    psi'[c, t', r, b] = sum_t M[c, t', t] psi[c, t, r, b],

over control bits c, target bits t, the other bits r and the samples b.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from hqdm.circuits import Circuit
from hqdm.simulators.program.base import check_shapes, no_outputs, refuse_memory
from hqdm.simulators.program.caching import cached
from hqdm.simulators.program.fusion import Block, Build, Wires, fuse, split_product
from hqdm.simulators.program.tracing import Gate, trace

CPU_STATE_BYTES = 4 * 2**20  # larger states exceed the cache of a CPU


def apply_matrix(
    matrix: Tensor, state: Tensor, order: Wires, controls: Wires, targets: Wires
) -> tuple[Tensor, Wires]:
    """Apply a block-diagonal matrix to some wires of a state.

    Args:
        matrix: `(N, 2**n_controls, 2**n_targets, 2**n_targets)`; with a batch axis,
            `(N, B, ...)`, one matrix per sample.
        state: `(N, 2, ..., 2, B)`, one axis per wire.
        order: The wires in the order of the axes of the state.
        controls: The wires of the block axis of the matrix, first most significant.
        targets: The wires of the row and column axes of the matrix.

    Returns:
        The new state and the order of its axes.
    """
    n, n_samples = state.shape[0], state.shape[-1]
    front = controls + targets
    new_order = front + tuple(wire for wire in order if wire not in front)
    # The only copy per block: axes are not restored, since later steps use the order.
    state = state.permute(0, *(1 + order.index(wire) for wire in new_order), -1)
    blocks, size = 2 ** len(controls), 2 ** len(targets)
    if matrix.ndim == 4:
        out = matrix.reshape(n * blocks, size, size) @ state.reshape(n * blocks, size, -1)
    else:
        columns = state.reshape(n, blocks, size, -1, n_samples).unbind(2)
        entries = matrix.permute(0, 2, 3, 4, 1).unsqueeze(4).unbind(3)
        # On a CPU this is several times faster than one matrix product per sample.
        out = reduce(
            torch.add,
            [entry * column.unsqueeze(2) for entry, column in zip(entries, columns, strict=True)],
        )
    return out.reshape(n, *(2,) * len(order), n_samples), new_order


class GateTable:
    """Matrices of gates on the same number of wires, A + cos(phase) B + sin(phase) C.

    Args:
        gates: The gates.
        columns: Index of each gate on the last axis of the phases.
        device: Device of the constants.
        dtype: Complex dtype of the matrices.
    """

    def __init__(
        self, gates: list[Gate], columns: list[int], device: torch.device, dtype: torch.dtype
    ) -> None:
        self.columns = torch.tensor(columns, device=device)
        matrices = torch.stack([gate.matrices for gate in gates], 1).to(device, dtype)
        self.constant, self.cosine, self.sine = matrices

    def __call__(self, cos: Tensor, sin: Tensor) -> Tensor:
        """The matrices `(..., n_gates, 2**k, 2**k)` for cosines and sines `(..., n_phases)`."""
        cos, sin = (part[..., self.columns, None, None] for part in (cos, sin))
        return self.constant + cos * self.cosine + sin * self.sine


class BlockMatrices:
    """The matrices of some blocks as a function of the phases of their gates.

    Blocks of equal structure, as in repeated layers, are computed together.

    Args:
        blocks: The blocks.
        columns: Position on the last axis of the phases by gate index.
        device: Device of the constants.
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
        # A step multiplies one gate into every block of a structure; all steps of one gate size
        # share a table, in which the gates of a step are contiguous.
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
            One matrix per block, `(..., 2**n_controls, 2**n_targets, 2**n_targets)`.
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
        build: The local axes of each gate.
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


class Part:
    """A set of wires connected by gates, with their gates fused into blocks.

    Args:
        wires: The wires.
        gates: Indices and gates of the circuit, in order.
        input_gates: Indices of the gates whose phase depends on the inputs.
        keep_order: Whether the axes of the initial state are in the order of the wires.

    Attributes:
        blocks: The blocks, in order.
        order: The wires in the order of the axes of the initial state.
        halves: Numbers of wires in the first and the second half.
    """

    def __init__(
        self,
        wires: Wires,
        gates: list[tuple[int, Gate]],
        input_gates: frozenset[int],
        keep_order: bool,
    ) -> None:
        here = [(index, gate) for index, gate in gates if gate.wires[0] in wires]
        self.blocks = fuse(here, input_gates)
        self.order = wires
        if self.blocks and not keep_order:  # avoids the copy of the first block
            first = self.blocks[0].wires
            self.order = first + tuple(wire for wire in wires if wire not in first)
        self.halves = len(wires) // 2, len(wires) - len(wires) // 2


class BlockPlan:
    """The precomputed data of a circuit for one device and dtype, independent of its arguments.

    Wires that no gate connects are simulated separately: n qubits in k equal parts need k 2^(n/k)
    amplitudes instead of 2^n.

    Args:
        circuit: The circuit.
        device: Device of the simulation.
        dtype: Real dtype of inputs and weights.
    """

    def __init__(self, circuit: Circuit, device: torch.device, dtype: torch.dtype) -> None:
        program = trace(circuit)
        self.circuit = circuit
        self.embedding = program.embedding
        self.dtype = dtype.to_complex()
        self.phases = program.phases.to(device, dtype)
        self.ground = torch.tensor([[1], [0]], dtype=self.dtype, device=device)
        gates = list(enumerate(program.gates))
        self.product: list[Block] = []
        if self.embedding is None:
            self.product, gates = split_product(program.n_wires, gates)
        self.parts = [
            Part(wires, gates, frozenset(program.input_gates), self.embedding is not None)
            for wires in program.components
        ]
        self.signs = {n: z_signs(n, device, dtype) for part in self.parts for n in part.halves}
        self._prepare_matrices(program.input_gates, device)

    def _prepare_matrices(self, input_gates: tuple[int, ...], device: torch.device) -> None:
        blocks = [block for part in self.parts for block in part.blocks]
        sample_blocks = self.product + [block for block in blocks if block.per_sample]
        weight_blocks = [block for block in blocks if not block.per_sample]
        # The phases of per-sample blocks: those that depend on the inputs, then the others.
        shared = {index for block in sample_blocks for index, _ in block.gates} - set(input_gates)
        columns = {index: i for i, index in enumerate([*input_gates, *sorted(shared)])}
        self.input_gates = torch.tensor(input_gates, dtype=torch.long, device=device)
        self.shared_gates = torch.tensor(sorted(shared), dtype=torch.long, device=device)
        self.sample_matrices = BlockMatrices(sample_blocks, columns, device, self.dtype)
        identity = {index: index for block in weight_blocks for index, _ in block.gates}
        self.weight_matrices = BlockMatrices(weight_blocks, identity, device, self.dtype)

    def run(
        self, inputs: Tensor, weights: Tensor, weight_phases: Tensor, *matrices: Tensor
    ) -> Tensor:
        """Evaluate the circuits on a batch.

        Args:
            inputs: `(n_circuits, B, n_inputs)`.
            weights: `(n_circuits, *weights_shape)`.
            weight_phases: `(n_circuits, n_gates)`, see `AffinePhases.of_weights`.
            matrices: Matrices of the blocks that are shared by all samples, in order.

        Returns:
            `(n_circuits, B, n_outputs)`.
        """
        outputs: list[Tensor] = []
        measured: list[int] = []
        for part, state, order in self._evolve(inputs, weights, weight_phases, *matrices):
            output, order = self._measure(part, state, order)
            outputs.append(output)
            measured += order
        return self._collect(outputs, measured)

    def states(
        self, inputs: Tensor, weights: Tensor, weight_phases: Tensor, *matrices: Tensor
    ) -> Tensor:
        """The final states of a circuit of one part, `(n_circuits, B, 2**n_wires)`; see `run`."""
        ((_, state, order),) = self._evolve(inputs, weights, weight_phases, *matrices)
        axes = (1 + order.index(wire) for wire in range(self.circuit.n_wires))
        return state.permute(0, -1, *axes).flatten(2)

    def _evolve(
        self, inputs: Tensor, weights: Tensor, weight_phases: Tensor, *matrices: Tensor
    ) -> Iterator[tuple[Part, Tensor, Wires]]:
        """The parts with their final states and the order of their axes; see `run`."""
        phases = torch.cat(
            [
                self.phases.of_inputs(inputs, weights, weight_phases, self.input_gates),
                weight_phases[:, None, self.shared_gates].expand(-1, inputs.shape[1], -1),
            ],
            -1,
        )
        per_sample = self.sample_matrices(phases)
        vectors = self._vectors(inputs, per_sample[: len(self.product)])
        of_blocks = {True: iter(per_sample[len(self.product) :]), False: iter(matrices)}
        for part in self.parts:
            state, order = self._initial_state(part, inputs, vectors), part.order
            for block in part.blocks:
                matrix = next(of_blocks[block.per_sample])
                state, order = apply_matrix(matrix, state, order, block.controls, block.targets)
            yield part, state, order

    def _vectors(self, inputs: Tensor, product: list[Tensor]) -> dict[int, Tensor]:
        """The one-qubit states `(n_circuits, 2, B)` of all wires, before the blocks.

        Args:
            inputs: `(n_circuits, B, n_inputs)`.
            product: The matrices `(n_circuits, B, 1, 2, 2)` of the blocks in `product`.
        """
        ground = self.ground.expand(inputs.shape[0], 2, inputs.shape[1])
        vectors = dict.fromkeys(range(self.circuit.n_wires), ground)
        for block, matrix in zip(self.product, product, strict=True):
            vectors[block.targets[0]] = matrix[:, :, 0, :, 0].mT
        return vectors

    def _initial_state(self, part: Part, inputs: Tensor, vectors: dict[int, Tensor]) -> Tensor:
        """The state of a part before its blocks, `(n_circuits, 2, ..., 2, B)`."""
        if self.embedding is None:
            state = kronecker([vectors[wire] for wire in part.order])
        else:
            state = self.embedding.amplitudes(inputs).mT.to(self.dtype)
        return state.unflatten(1, (2,) * len(part.order))

    def _measure(self, part: Part, state: Tensor, order: Wires) -> tuple[Tensor, Wires]:
        """Outputs of a part, `(n_circuits, n_outputs, B)`, and their wires; or its amplitudes."""
        if self.circuit.measure == "state":
            return state.flatten(1, -2), order
        probabilities = torch.view_as_real(state).square().sum(-1)
        if self.circuit.measure == "probs":
            rest = [i for i, wire in enumerate(order, 1) if wire not in self.circuit.measured_wires]
            measured = tuple(wire for wire in order if wire in self.circuit.measured_wires)
            marginal = probabilities.sum(rest) if rest else probabilities
            return marginal.reshape(state.shape[0], -1, state.shape[-1]), measured
        # Computed from the marginals of either half of the wires, which need small tables of signs.
        high, low = part.halves
        joint = probabilities.reshape(state.shape[0], 2**high, 2**low, state.shape[-1])
        z = [self.signs[high] @ joint.sum(2), self.signs[low] @ joint.sum(1)]
        return torch.cat(z, 1), order

    def _collect(self, outputs: list[Tensor], order: list[int]) -> Tensor:
        """The outputs of all parts in the order of the measured wires, `(n_circuits, B, n)`."""
        measured = [order.index(wire) for wire in self.circuit.measured_wires]
        if self.circuit.measure == "expval_z":
            rows = torch.cat(outputs, 1).unbind(1)  # a list as an index is copied to a GPU
            return torch.stack([rows[row] for row in measured], -1)
        joint = kronecker(outputs).unflatten(1, (2,) * len(order))
        outcomes = joint.permute(0, *(1 + axis for axis in measured), -1).flatten(1, -2).mT
        if self.circuit.measure == "state":
            return torch.view_as_real(outcomes.resolve_conj().contiguous()).flatten(-2)
        return outcomes[..., : self.circuit.n_outputs]


@cached
def plan(circuit: Circuit, device: torch.device, dtype: torch.dtype) -> BlockPlan:
    """The cached plan of a circuit."""
    return BlockPlan(circuit, device, dtype)


def kronecker(vectors: list[Tensor]) -> Tensor:
    """Kronecker product over the second of three axes, of states or of probabilities."""
    while len(vectors) > 1:  # in pairs, so that only the last product is large
        pairs = [
            (left.unsqueeze(2) * right.unsqueeze(1)).flatten(1, 2)
            for left, right in zip(vectors[::2], vectors[1::2], strict=False)
        ]
        vectors = pairs + vectors[2 * len(pairs) :]
    return vectors[0]


def z_signs(
    n_wires: int, device: torch.device | None = None, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Eigenvalues of Z per wire and basis state, `(n_wires, 2**n_wires)`, on the CPU by default."""
    shifts = torch.arange(n_wires - 1, -1, -1, device=device)
    bits = torch.arange(2**n_wires, device=device) >> shifts[:, None] & 1
    return (1 - 2 * bits).to(dtype)


@dataclass(frozen=True)
class StatevectorSimulator:
    """Exact simulation on the device of the inputs, in their precision.

    Attributes:
        memory_limit: Memory limit in bytes of the states stored for the backward pass. A larger
            batch is run in chunks whose states are recomputed in the backward pass.
    """

    memory_limit: int = 2**30

    name: ClassVar[str] = "statevector"

    def __call__(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        """Evaluate the circuits; see `Simulator`.

        Raises:
            HQDMError: If the shapes do not match, if the states of one sample exceed the memory
                limit, or if the circuit cannot be traced.
        """
        check_shapes(circuit, inputs, weights)
        if not inputs.shape[1]:
            return no_outputs(circuit, inputs, weights)
        return self._in_chunks(BlockPlan.run, circuit, inputs, weights)

    def states(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        """The final states of embedded amplitudes, `(n_circuits, B, 2**n_wires)`; see `Simulator`.

        Raises:
            HQDMError: If the states of one sample exceed the memory limit.
        """
        return self._in_chunks(BlockPlan.states, circuit, inputs, weights)

    def _in_chunks(
        self, method: Callable[..., Tensor], circuit: Circuit, inputs: Tensor, weights: Tensor
    ) -> Tensor:
        """Run a method of the plan on chunks of the samples that fit into the memory limit."""
        n_circuits, n_samples = inputs.shape[:2]
        amplitudes = sum(2 ** len(wires) for wires in trace(circuit).components)
        n_outcomes = 0 if circuit.measure == "expval_z" else 2 ** len(circuit.measured_wires)
        n_numbers = n_circuits * max(amplitudes, n_outcomes)
        state_bytes = 2 * inputs.element_size() * n_numbers
        what = f"a sample of {n_circuits} x {circuit.n_wires} qubits"
        refuse_memory(what, state_bytes, self.memory_limit)
        ready = plan(circuit, inputs.device, inputs.dtype)
        weight_phases = ready.phases.of_weights(inputs, weights)
        shared = (weights, weight_phases, *ready.weight_matrices(weight_phases))
        # The backward pass needs one state per block, and the first and the last.
        depth = 2 + max(len(part.blocks) for part in ready.parts)
        chunk = self.memory_limit // (state_bytes * depth)
        run: Callable[..., Tensor] = partial(method, ready)
        if torch.is_grad_enabled() and n_samples > chunk:
            run = partial(checkpoint, run, use_reentrant=False, preserve_rng_state=False)
        if inputs.device.type == "cpu":
            chunk = min(chunk, CPU_STATE_BYTES // state_bytes)
        return torch.cat([run(part, *shared) for part in inputs.split(max(chunk, 1), 1)], 1)
