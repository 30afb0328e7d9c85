"""Fusion of gates into blocks, so that a state is read and written once for many gates.

A block is block diagonal on its control wires and dense on its target wires. Two operators commute
if both are block diagonal on every shared wire, so that a gate may move past such blocks into an
earlier one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from hqdm.simulators.program.tracing import Gate

MAX_TARGETS = 4  # a dense block on more wires costs more than it saves
MAX_CONTROLS = 4

Wires = tuple[int, ...]


@dataclass(frozen=True)
class Build:
    """The common structure of blocks whose matrices are computed together.

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
        per_sample: True if the phase of a gate depends on the inputs.
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
        """Controls, then targets, in the order of the axes of the block's matrix."""
        return self.controls + self.targets

    @property
    def build(self) -> Build:
        """The structure from which the block's matrix is composed."""
        axes = tuple(tuple(self.wires.index(w) for w in gate.wires) for _, gate in self.gates)
        return Build(len(self.controls), len(self.targets), axes)

    def with_wires_of(self, gate: Gate) -> tuple[Wires, Wires]:
        """Controls and targets of the block with a further gate."""
        targets = self.targets + tuple(
            wire for wire in gate.wires if wire not in gate.controls and wire not in self.targets
        )
        wires = self.controls + tuple(wire for wire in gate.wires if wire not in self.controls)
        return tuple(wire for wire in wires if wire not in targets), targets

    def accepts(self, gate: Gate, per_sample: bool) -> bool:
        """True if fusing the gate into this block reduces the total cost."""
        controls, targets = self.with_wires_of(gate)
        if self.per_sample or per_sample:
            # Matrices per sample are expensive and must not grow.
            return self.per_sample and len(controls + targets) == len(self.wires)
        return len(targets) <= MAX_TARGETS and len(controls) <= MAX_CONTROLS

    def append(self, index: int, gate: Gate) -> None:
        """Append a gate, which is applied last."""
        self.controls, self.targets = self.with_wires_of(gate)
        self.gates.append((index, gate))

    def commutes_with(self, gate: Gate) -> bool:
        """True if block and gate share only wires on which both are block diagonal."""
        return all(
            wire in self.controls and wire in gate.controls
            for wire in gate.wires
            if wire in self.wires
        )


def earliest(blocks: list[Block], gate: Gate) -> int:
    """Index of the first block to which a gate may be appended: it commutes with all later ones."""
    for position in reversed(range(len(blocks))):
        if not blocks[position].commutes_with(gate):
            return position
    return 0


def fuse(gates: Iterable[tuple[int, Gate]], input_gates: frozenset[int]) -> list[Block]:
    """Fuse gates greedily into blocks, each gate into the earliest block that accepts it.

    Args:
        gates: Indices and gates, in order.
        input_gates: Indices of the gates whose phase depends on the inputs.
    """
    blocks: list[Block] = []
    for index, gate in gates:
        per_sample = index in input_gates
        for block in blocks[earliest(blocks, gate) :]:
            if block.accepts(gate, per_sample):
                break
        else:
            block = Block(per_sample)
            blocks.append(block)
        block.append(index, gate)
    return blocks


def split_product(
    n_wires: int, gates: list[tuple[int, Gate]]
) -> tuple[list[Block], list[tuple[int, Gate]]]:
    """Split off the one-qubit gates that precede all other gates of their wire.

    They map |0...0> to a product state, which is written directly.

    Returns:
        One block per wire with such gates, and the remaining gates.
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
