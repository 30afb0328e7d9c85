"""Lowering of the gates of a program to the instructions of the compiled kernels.

Gates are fused into blocks if this reduces the number of multiplications. A block with matrices M_c
for the bits c of its control wires is one instruction per c whose M_c is not always the identity:

    CRZ then CRX            one 2x2 matrix on half of the amplitudes
    CNOT then RX            two 2x2 matrices (RX X for control 1, RX for control 0)
    RZ, CZ, ...             one number per bit pattern, at no cost inside a larger block
    DoubleExcitation        one 2x2 matrix on the pairs |0011>, |1100> of the amplitudes
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from hqdm.circuits import Circuit
from hqdm.simulators.compiled.kernels import EXPVAL, PROBS, STATE, Tables
from hqdm.simulators.program.caching import cached
from hqdm.simulators.program.disk_cache import Arrays, arrays_key, remembered, stamp
from hqdm.simulators.program.fusion import Block, Build, Wires, earliest, split_product
from hqdm.simulators.program.statevector import compose
from hqdm.simulators.program.tracing import WORTH_KEEPING, Gate, Program, pack_gates, trace

MAX_GATE_TARGETS = 2
MAX_CONTROLS = 2  # of a block of several gates
MAX_INVERSE_ERROR = 1e-10  # of M^dag M against the identity, for matrices in float64

KINDS = {"expval_z": EXPVAL, "probs": PROBS, "state": STATE}

STAMP = stamp(__name__)

IndexedGate = tuple[int, Gate]


@dataclass(frozen=True, eq=False)
class Factor:
    """A gate in the matrix of an instruction.

    Attributes:
        gate: Index of the gate.
        matrices: A, B and C, `(3, size, size)`.
    """

    gate: int
    matrices: Tensor


@dataclass(frozen=True, eq=False)
class Lowered:
    """A circuit in the form that the compiled kernels execute.

    Attributes:
        program: The program.
        factors: The factors, first applied first, of each matrix that depends on the weights only,
            in the order of the entries of the matrices: sizes 1, 2, 4.
        n_outputs: Number of outputs per sample.
        measure: `EXPVAL`, `PROBS` or `STATE`.
        tables: Tables of the kernels.
        multiplications: Real multiplications per sample, without embedding and measurement.
        largest_part: Number of wires of the largest part.
    """

    program: Program
    factors: list[list[Factor]]
    n_outputs: int
    measure: int
    tables: Tables
    multiplications: float
    largest_part: int


def unknown_gates(program: Program) -> list[str]:
    """Names of the gates that the compiled kernels do not support.

    These are gates with more than two target wires (a Toffoli gate has one, and two controls) that
    act on more than two basis states, and gates in single precision, which the backward pass cannot
    undo exactly.
    """
    return sorted({gate.name for gate in program.gates if not _is_known(gate)})


def _is_known(gate: Gate) -> bool:
    narrow = len(gate.wires) - len(gate.controls) <= MAX_GATE_TARGETS
    return (narrow or levels(gate) is not None) and gate.is_unitary(MAX_INVERSE_ERROR)


def fuse_cheaply(gates: list[IndexedGate], input_gates: frozenset[int]) -> list[Block]:
    """Fuse gates if this saves multiplications; gates that depend on the sample are not fused.

    Args:
        gates: Indices and gates, in order.
        input_gates: Indices of the gates whose phase depends on the inputs.
    """
    blocks: list[Block] = []
    for index, gate in gates:
        alone = Block(index in input_gates)
        alone.append(index, gate)
        best, least = alone, multiplications(alone)
        for block in blocks[earliest(blocks, gate) :]:
            if not alone.per_sample and _may_take(block, gate):
                merged = Block(False, list(block.gates), block.controls, block.targets)
                merged.append(index, gate)
                more = multiplications(merged) - multiplications(block)
                if more < least or (more == least and best is alone):
                    best, least = block, more
        if best is alone:
            blocks.append(alone)
        else:
            best.append(index, gate)
    return blocks


def _may_take(block: Block, gate: Gate) -> bool:
    controls, targets = block.with_wires_of(gate)
    return (
        not block.per_sample
        and len(targets) <= min(max(len(block.targets), 1), MAX_GATE_TARGETS)
        and len(controls) <= max(len(block.controls), MAX_CONTROLS)
    )


def multiplications(block: Block) -> float:
    """Real multiplications of a block per amplitude of the state."""
    if pair_of(block) is not None:
        return 8 * 2 / 2 ** len(block.wires)
    n_patterns = 2 ** len(block.controls)
    active = sum(bool(active_gates(block, pattern)) for pattern in range(n_patterns))
    return 4 * 2 ** len(block.targets) * active / n_patterns


def levels(gate: Gate) -> tuple[int, int] | None:
    """The two basis states that a gate on several targets acts on; None if there are others."""
    return gate.derived("levels", lambda: _levels(gate))


def _levels(gate: Gate) -> tuple[int, int] | None:
    """See `levels`: outside of their rows and columns, the gate is the identity."""
    if len(gate.wires) - len(gate.controls) < 2:
        return None
    size = 2 ** len(gate.wires)
    change = gate.matrices.clone()
    change[0] -= torch.eye(size)
    changes = change.ne(0).any(0)
    acted_on = (changes.any(0) | changes.any(1)).nonzero().flatten().tolist()
    return (acted_on[0], acted_on[1]) if len(acted_on) == 2 else None


def pair_of(block: Block) -> tuple[int, int] | None:
    """The `levels` of the gate of a block of a single gate."""
    return levels(block.gates[0][1]) if len(block.gates) == 1 else None


def active_gates(block: Block, pattern: int) -> list[IndexedGate]:
    """The gates of a block that are not the identity for the given bits of the control wires."""
    last = len(block.controls) - 1
    bits = {wire: pattern >> (last - i) & 1 for i, wire in enumerate(block.controls)}
    return [(index, gate) for index, gate in block.gates if not _is_identity(gate, bits)]


def _is_identity(gate: Gate, bits: dict[int, int]) -> bool:
    """True if the gate is the identity, for every phase, for the given bits of some wires."""
    fixed = tuple(bits[w] if w in bits and w in gate.controls else None for w in gate.wires)
    return gate.derived(("identity", fixed), lambda: _restricts_to_identity(gate, fixed))


def _restricts_to_identity(gate: Gate, fixed: tuple[int | None, ...]) -> bool:
    """See `_is_identity`; None for wires without a given bit."""
    chosen = [slice(None) if bit is None else bit for bit in fixed]
    tensor = gate.matrices.reshape(3, *(2,) * (2 * len(gate.wires)))
    size = 2 ** fixed.count(None)
    restricted = tensor[(slice(None), *chosen, *chosen)].reshape(3, size, size)
    expected = torch.zeros_like(restricted)
    expected[0] = torch.eye(size)
    return torch.equal(restricted, expected)


class _Lowering:
    """Builder of the tables of a circuit.

    Args:
        circuit: The circuit.
        inverse: See `lower`.
    """

    def __init__(self, circuit: Circuit, inverse: bool) -> None:
        self.circuit = circuit
        self.inverse = inverse
        self.measure = STATE if inverse else KINDS[circuit.measure]
        self.program = trace(circuit)
        self.input_gates = frozenset(self.program.input_gates)
        self.columns = {index: i for i, index in enumerate(self.program.input_gates)}
        self.factors: list[list[Factor]] = []
        self.constants: list[Tensor] = []
        self.n_constants = 0
        self.code: list[list[int]] = []
        self.index: list[int] = []
        self.lists: dict[tuple[int, ...], tuple[int, int]] = {}
        self.wires: list[tuple[int, int]] = []
        self.parts: list[tuple[int, ...]] = []
        self.outputs: list[tuple[int, ...]] = []
        self.multiplications = 0.0

    def lower(self) -> Lowered:
        """Lower all parts."""
        components = self._components()
        for wires in components:
            self._lower_part(wires)
        order = self._place_matrices()
        constants = torch.cat([torch.empty(0, dtype=torch.complex128), *self.constants])
        n_outputs = self.circuit.n_outputs
        if self.measure == STATE:
            n_outputs = 2 * 2**self.circuit.n_wires
        tables = Tables(
            _table(self.code, 8),
            np.array(self.index, np.int64),
            _table(self.wires, 2),
            _table(self.parts, 6),
            _table(self.outputs, 2 if self.measure == EXPVAL else 1),
            constants.numpy(),
        )
        return Lowered(
            self.program,
            [self.factors[i] for i in order],
            n_outputs,
            self.measure,
            tables,
            self.multiplications,
            max(map(len, components)),
        )

    def _components(self) -> list[Wires]:
        """The measured parts; joint probabilities need all wires in one part."""
        if self.measure != EXPVAL:
            return [tuple(range(self.circuit.n_wires))]
        measured = set(self.circuit.measured_wires)
        return [wires for wires in self.program.components if measured.intersection(wires)]

    def _lower_part(self, wires: Wires) -> None:
        gates = [(i, gate) for i, gate in enumerate(self.program.gates) if gate.wires[0] in wires]
        product: list[Block] = []
        if self.program.embedding is None:
            product, gates = split_product(self.circuit.n_wires, gates)
        first_wire, first_output = len(self.wires), len(self.outputs)
        first_gates = {block.targets[0]: block.gates for block in product}
        for wire in wires:
            singles = [Block(index in self.input_gates) for index, _ in first_gates.get(wire, [])]
            for block, gate in zip(singles, first_gates.get(wire, []), strict=True):
                block.append(*gate)
            self.wires.append(self._lower_blocks((wire,), singles))
        blocks = fuse_cheaply(gates, self.input_gates)
        lines = self._lower_blocks(wires, blocks[::-1] if self.inverse else blocks)
        self._measure(wires)
        self.multiplications += 2 ** len(wires) * sum(map(multiplications, blocks))
        self.parts.append((len(wires), first_wire, *lines, first_output, len(self.outputs)))

    def _lower_blocks(self, wires: Wires, blocks: list[Block]) -> tuple[int, int]:
        """Write the instructions of blocks on a state of some wires; return their range."""
        first = len(self.code)
        for block in blocks:
            if (pair := pair_of(block)) is not None:
                self._lower_pair(wires, block, pair)
                continue
            for pattern in range(2 ** len(block.controls)):
                gates = active_gates(block, pattern)
                if gates:
                    self._lower_gates(wires, block, pattern, gates)
        return first, len(self.code)

    def _lower_gates(
        self, wires: Wires, block: Block, pattern: int, gates: list[IndexedGate]
    ) -> None:
        """Write the instruction of gates for one bit pattern of the block's control wires."""
        size = 2 ** len(block.targets)
        factors = [Factor(index, _in_block(gate, block)[:, pattern]) for index, gate in gates]
        place, phase = self._place(block, factors)
        controls, targets = _bits(wires, block.controls), _bits(wires, block.targets)
        value = sum((pattern >> i & 1) << bit for i, bit in enumerate(reversed(controls)))
        mask = sum(1 << bit for bit in (*controls, *targets))
        high, low = ([0, 0] + [1 << bit for bit in targets])[-2:]
        start, count = self._list(len(wires), mask, value)
        self.code.append([size, block.per_sample, place, phase, start, count, high, low])

    def _lower_pair(self, wires: Wires, block: Block, pair: tuple[int, int]) -> None:
        """Write the instruction of a gate that acts on two basis states of its wires."""
        ((index, gate),) = block.gates
        bits = _bits(wires, gate.wires)
        values = {
            sum((level >> i & 1) << bit for i, bit in enumerate(reversed(bits))): level
            for level in pair
        }
        first, second = sorted(values)
        rows = [values[first], values[second]]
        factor = Factor(index, gate.matrices[:, rows][:, :, rows])
        place, phase = self._place(block, [factor])
        start, count = self._list(len(wires), sum(1 << bit for bit in bits), first)
        self.code.append([2, block.per_sample, place, phase, start, count, 0, second - first])

    def _place(self, block: Block, factors: list[Factor]) -> tuple[int, int]:
        """Keep the matrix of an instruction; return its place and the column of its phase."""
        if not block.per_sample:
            self.factors.append(factors)
            return len(self.factors) - 1, -1
        place = self.n_constants
        self.constants.append(factors[0].matrices.flatten())
        self.n_constants += factors[0].matrices.numel()
        return place, self.columns[factors[0].gate]

    def _place_matrices(self) -> list[int]:
        """Replace indices of matrices in the code by offsets; return the order, by size."""
        sizes = [len(factors[0].matrices[0]) for factors in self.factors]
        order = sorted(range(len(sizes)), key=sizes.__getitem__)
        places, place = {}, 0
        for i in order:
            places[i] = place
            place += sizes[i] ** 2
        for line in self.code:
            if not line[1]:
                line[2] = places[line[2]]
        return order

    def _list(self, n_wires: int, mask: int, value: int) -> tuple[int, int]:
        """Start and length of the list of the amplitudes whose masked bits equal a value."""
        key = (n_wires, mask, value)
        if key not in self.lists:
            indices = np.arange(2**n_wires)
            chosen = indices[(indices & mask) == value]
            self.lists[key] = len(self.index), len(chosen)
            self.index += chosen.tolist()
        return self.lists[key]

    def _measure(self, wires: Wires) -> None:
        measured = self.circuit.measured_wires
        if self.measure == EXPVAL:
            self.outputs += [
                (bit, measured.index(wire))
                for wire, bit in zip(wires, _bits(wires, wires), strict=True)
                if wire in measured
            ]
        elif self.measure == PROBS:
            bits = np.array(_bits(wires, measured), np.int64)
            outcomes = np.arange(2 ** len(wires))[:, None] >> bits & 1
            places = (outcomes << np.arange(len(bits))[::-1]).sum(1)
            self.outputs += [(place if place < self.circuit.n_outputs else -1,) for place in places]


def _in_block(gate: Gate, block: Block) -> Tensor:
    """A, B and C of a gate on the wires of a block, `(3, 2**n_controls, size, size)`."""
    axes = tuple(block.wires.index(wire) for wire in gate.wires)
    build = Build(len(block.controls), len(block.targets), (axes,))
    return gate.derived(build, lambda: compose(build, [gate.matrices]))


def _table(rows: Sequence[Sequence[int]], n_columns: int) -> np.ndarray:
    return np.array(rows, np.int64).reshape(-1, n_columns)


def _bits(wires: Wires, chosen: Wires) -> list[int]:
    """Bit positions of the chosen wires in the index of an amplitude, least significant bit 0."""
    return [len(wires) - 1 - wires.index(wire) for wire in chosen]


def lower(circuit: Circuit, inverse: bool = False) -> Lowered:
    """Lower a circuit.

    Args:
        circuit: The circuit; its gates must be supported, see `unknown_gates`.
        inverse: Whether to reverse the order of the blocks, for their conjugate transposes, and to
            return the state; the gates must not depend on the inputs.
    """
    return _lowered(circuit, inverse)


@cached
def _lowered(circuit: Circuit, inverse: bool) -> Lowered:
    program = trace(circuit)
    key = None
    if len(program.gates) >= WORTH_KEEPING:
        output = circuit.measure, circuit.measured_wires, circuit.n_outputs
        stated = STAMP, inverse, *output, circuit.n_wires, program.embedding is None
        inputs = {"input_gates": np.array(program.input_gates, np.int64)}
        key = arrays_key(repr(stated), {**pack_gates(program.gates), **inputs})
    return remembered(
        key,
        lambda: _Lowering(circuit, inverse).lower(),
        _pack,
        lambda arrays: _unpack(program, arrays),
    )


def _pack(lowered: Lowered) -> dict[str, np.ndarray]:
    """A lowered circuit without its program as arrays, with equal matrices of factors once."""
    factors = [factor for row in lowered.factors for factor in row]
    keys = [_place_of(factor.matrices) for factor in factors]
    matrices = dict(zip(keys, (factor.matrices for factor in factors), strict=True))
    numbers = {key: i for i, key in enumerate(matrices)}
    flat = [torch.empty(0, dtype=torch.complex128), *(m.flatten() for m in matrices.values())]
    sizes = lowered.n_outputs, lowered.measure, lowered.largest_part
    return {
        "rows": np.array([len(row) for row in lowered.factors], np.int64),
        "gates": np.array([factor.gate for factor in factors], np.int64),
        "numbers": np.array([numbers[key] for key in keys], np.int64),
        "sizes": np.array([m.shape[-1] for m in matrices.values()], np.int64),
        "matrices": torch.cat(flat).numpy(),
        "integers": np.array(sizes, np.int64),
        "multiplications": np.array(lowered.multiplications, np.float64),
        **{f"table_{name}": table for name, table in lowered.tables._asdict().items()},
    }


def _place_of(matrices: Tensor) -> tuple[object, ...]:
    """The place of a tensor in memory, by which views of one part are recognised."""
    return matrices.data_ptr(), matrices.shape, matrices.stride()


def _unpack(program: Program, arrays: Arrays) -> Lowered:
    """The lowered circuit of a program from what `_pack` returns."""
    sizes = arrays["sizes"].tolist()
    flat = torch.from_numpy(arrays["matrices"]).split([3 * size**2 for size in sizes])
    matrices = [part.view(3, size, size) for part, size in zip(flat, sizes, strict=True)]
    places = zip(arrays["gates"].tolist(), arrays["numbers"].tolist(), strict=True)
    factors = (Factor(gate, matrices[number]) for gate, number in places)
    rows = [list(islice(factors, n)) for n in arrays["rows"].tolist()]
    n_outputs, measure, largest_part = arrays["integers"].tolist()
    tables = Tables(*(arrays[f"table_{name}"] for name in Tables._fields))
    multiplications = float(arrays["multiplications"])
    return Lowered(program, rows, n_outputs, measure, tables, multiplications, largest_part)
