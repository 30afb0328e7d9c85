"""A reference implementation of the compiled kernels in torch.

It executes the instructions one by one in torch operations, which are differentiable to any order.
"""

import numpy as np
import torch
from torch import Tensor

from hqdm.simulators.compiled.kernels import EXPVAL, FIRST_WIRE, N_WIRES, STATE, Tables
from hqdm.simulators.compiled.lowering import Lowered


def evolve(
    tables: Tables, lowered: Lowered, entries: Tensor, phases: Tensor, amplitudes: Tensor
) -> Tensor:
    """Evaluate circuits.

    Args:
        tables: The program, with constants in the precision of the entries.
        lowered: The lowered circuit of the tables.
        entries: Entries of the matrices, `(n_circuits, n_entries)`.
        phases: Phases of the samples, `(n_circuits, n_phases, B)`.
        amplitudes: Initial amplitudes, `(n_circuits, 2**n_wires, B)`, or none.

    Returns:
        The outputs, `(n_circuits, n_outputs, B)`.
    """
    return _Evolution(tables, lowered, entries, phases, amplitudes).outputs()


class _Evolution:
    """The common data of the steps of `evolve`."""

    def __init__(
        self, tables: Tables, lowered: Lowered, entries: Tensor, phases: Tensor, amplitudes: Tensor
    ) -> None:
        self.tables, self.lowered = tables, lowered
        self.entries, self.amplitudes = entries, amplitudes
        self.cos, self.sin = phases.cos(), phases.sin()
        self.constants = self.tensor(tables.constants)
        self.n_circuits, self.n_samples = phases.shape[0], phases.shape[2]

    def tensor(self, array: np.ndarray) -> Tensor:
        """A table on the device of the samples."""
        return torch.from_numpy(array).to(self.cos.device)

    def outputs(self) -> Tensor:
        """The outputs of all parts."""
        out = self.cos.new_zeros(self.n_circuits, self.lowered.n_outputs, self.n_samples)
        for part in self.tables.parts:
            n_wires, _, first_line, last_line, first_output, last_output = part.tolist()
            state = self.initial(part)
            state = self.run(state, first_line, last_line)
            if self.lowered.measure == STATE:
                return torch.view_as_real(state).permute(0, 1, 3, 2).flatten(1, 2)
            probabilities = torch.view_as_real(state).square().sum(-1)
            if self.lowered.measure == EXPVAL:
                rows = self.tensor(self.tables.outputs[first_output:last_output])
                bits = torch.arange(2**n_wires, device=rows.device) >> rows[:, :1] & 1
                out = out.index_add(1, rows[:, 1], (1 - 2 * bits).to(out) @ probabilities)
            else:
                places = self.tables.outputs[:, 0]
                kept = np.flatnonzero(places >= 0)
                probabilities = probabilities[:, self.tensor(kept)]
                out = out.index_add(1, self.tensor(places[kept]), probabilities)
        return out

    def initial(self, part: Tensor) -> Tensor:
        """The state of a part before its instructions, `(n_circuits, 2**n_wires, B)`."""
        if self.amplitudes.shape[1]:
            return self.amplitudes.to(self.constants.dtype)
        state = self.constants.new_ones(self.n_circuits, 1, self.n_samples)
        for wire in range(part[FIRST_WIRE], part[FIRST_WIRE] + part[N_WIRES]):
            ground = self.constants.new_zeros(self.n_circuits, 2, self.n_samples)
            ground[:, 0] = 1
            vector = self.run(ground, *self.tables.wires[wire].tolist())
            state = (state.unsqueeze(2) * vector.unsqueeze(1)).flatten(1, 2)
        return state

    def run(self, state: Tensor, first: int, last: int) -> Tensor:
        """Run some instructions."""
        for line in self.tables.code[first:last].tolist():
            size, per_sample, place, phase, start, count, high, low = line
            matrix = self.entries[:, place : place + size**2, None]
            if per_sample:
                constants = self.constants[place : place + 3 * size**2].reshape(3, -1, 1)
                cos, sin = self.cos[:, phase, None], self.sin[:, phase, None]
                matrix = constants[0] + cos * constants[1] + sin * constants[2]
            matrix = matrix.unflatten(1, (size, size, 1))
            offsets = np.array([(c >> 1) * high + (c & 1) * low for c in range(size)])
            rows = self.tensor(offsets[:, None] + self.tables.lists[start : start + count])
            columns = state[:, rows.flatten()].unflatten(1, (size, count))
            product = (matrix * columns.unsqueeze(1)).sum(2)
            state = state.index_copy(1, rows.flatten(), product.flatten(1, 2))
        return state
