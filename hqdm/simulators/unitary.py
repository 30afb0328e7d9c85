"""The unitary simulator: the rows of a circuit's unitary once per call, then one matrix product.

For embedded amplitudes a, outcome r has probability |<r| U |a>|^2. The rows <r| U are the
conjugates of U^dag |r>, which the compiled kernels compute with the measured basis states r as a
batch of samples. On other devices than the CPU the torch state vector computes the columns U |i>
for all inputs i. The method is advantageous if the batch is larger than the state.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hqdm.circuits import Circuit
from hqdm.simulators.compiled.cpu import (
    CompiledSimulator,
    is_supported,
    plan,
    work_bytes,
)
from hqdm.simulators.program.base import (
    check_shapes,
    is_differentiated_forward,
    no_outputs,
    refuse_memory,
)
from hqdm.simulators.program.caching import cached
from hqdm.simulators.program.statevector import StatevectorSimulator, z_signs
from hqdm.simulators.program.tracing import trace
from hqdm.utils.errors import HQDMError


def is_applicable(circuit: Circuit) -> bool:
    """True if the circuit embeds amplitudes, measures, and no gate depends on the inputs."""
    if circuit.measure == "state":
        return False
    program = trace(circuit)
    return program.embedding is not None and not program.input_gates and bool(program.gates)


def n_rows(circuit: Circuit) -> int:
    """Number of basis states that are measured."""
    n_states = 2**circuit.n_wires
    if circuit.measure == "expval_z":
        return n_states
    return n_states // 2 ** len(circuit.measured_wires) * circuit.n_outputs


@cached
def measured_rows(circuit: Circuit, device: torch.device) -> Tensor:
    """The measured basis states; for probabilities, those of one outcome are contiguous."""
    n = circuit.n_wires
    if circuit.measure == "expval_z":
        return torch.arange(2**n, device=device)
    rest = tuple(wire for wire in range(n) if wire not in circuit.measured_wires)
    basis = torch.arange(2**n, device=device).reshape((2,) * n)
    by_outcome = basis.permute(*circuit.measured_wires, *rest).reshape(-1, 2 ** len(rest))
    return by_outcome[: circuit.n_outputs].flatten()


@cached
def signs(circuit: Circuit, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Eigenvalues of Z of the measured wires per basis state, `(2**n_wires, n_outputs)`."""
    return z_signs(circuit.n_wires, device, dtype)[list(circuit.measured_wires)].T


def row_bytes(circuit: Circuit, n_circuits: int, n_samples: int, itemsize: int) -> int:
    """Bytes of rows and amplitudes of all samples, including those stored for the backward pass."""
    return itemsize * n_circuits * n_rows(circuit) * (4 * 2**circuit.n_wires + 4 * n_samples)


@dataclass(frozen=True)
class UnitarySimulator:
    """Exact simulation of amplitude-embedded circuits by matrix products.

    Attributes:
        memory_limit: Memory limit of the unitaries and the final amplitudes in bytes.
    """

    memory_limit: int = 2**30

    name: ClassVar[str] = "unitary"

    def __call__(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        """Evaluate the circuits; see `Simulator`.

        Raises:
            HQDMError: If the circuit does not embed amplitudes, or has gates that depend on the
                inputs; otherwise as for `CompiledSimulator`.
        """
        check_shapes(circuit, inputs, weights)
        if not is_applicable(circuit):
            raise HQDMError(
                "the unitary simulator needs an AmplitudeEmbedding, gates that do not depend on "
                "the inputs, and expectations or probabilities: use simulator='auto'"
            )
        if not inputs.shape[1]:
            return no_outputs(circuit, inputs, weights)
        n_bytes = row_bytes(circuit, len(inputs), inputs.shape[1], inputs.element_size())
        if inputs.device.type == "cpu":
            if is_differentiated_forward(inputs, weights) or not is_supported(circuit):
                return CompiledSimulator(self.memory_limit)(circuit, inputs, weights)
            n_bytes += work_bytes(circuit, inputs.element_size())
        what = f"{inputs.shape[1]} samples of {len(inputs)} x {circuit.n_wires} qubits"
        refuse_memory(what, n_bytes, self.memory_limit)
        rows = self.rows if inputs.device.type == "cpu" else self.rows_in_torch
        real, imag = rows(circuit, inputs, weights)
        embedding = trace(circuit).embedding
        assert embedding is not None
        amplitudes = embedding.amplitudes(inputs)[..., : real.shape[1]]
        probabilities = (amplitudes @ real).square() + (amplitudes @ imag).square()
        if circuit.measure == "expval_z":
            return probabilities @ signs(circuit, inputs.device, inputs.dtype)
        return probabilities.unflatten(-1, (circuit.n_outputs, -1)).sum(-1)

    def rows(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Real and imaginary parts of the measured rows, `(n_circuits, 2**n_wires, n_rows)`."""
        ready = plan(circuit, inputs.dtype, inverse=True)
        gates = ready.phases.of_weights(inputs, weights)
        basis = torch.eye(2**circuit.n_wires, dtype=inputs.dtype)[
            :, measured_rows(circuit, inputs.device)
        ]
        basis = basis.expand(len(inputs), -1, -1)
        phases = basis.new_empty(len(inputs), 0, basis.shape[2])
        columns = ready.evaluate(gates, phases, basis).unflatten(1, (-1, 2))
        return columns[:, :, 0], -columns[:, :, 1]

    def rows_in_torch(
        self, circuit: Circuit, inputs: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Real and imaginary parts of the measured rows, `(n_circuits, n_inputs, n_rows)`.

        Further amplitudes of the inputs are zero.
        """
        basis = torch.eye(circuit.n_inputs, dtype=inputs.dtype, device=inputs.device)
        simulator = StatevectorSimulator(self.memory_limit)
        columns = simulator.states(circuit, basis.expand(len(inputs), -1, -1), weights)
        rows = columns[..., measured_rows(circuit, inputs.device)]
        return rows.real, rows.imag
