"""The compiled simulator: a differentiable torch function around the kernels.

    inputs, weights -> phases -> matrices        torch, with automatic differentiation
    matrices, phases of the samples -> outputs   the kernels, which store no states

Numba compiles the kernels at first use, once per precision, and caches them on disk (`code_cache`).
"""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from hqdm.circuits import Circuit
from hqdm.simulators.compiled import kernels
from hqdm.simulators.compiled.calls import BACKWARD, FORWARD, call, compute, n_threads
from hqdm.simulators.compiled.kernels import SampleArrays
from hqdm.simulators.compiled.lanes import n_lanes
from hqdm.simulators.compiled.lowering import Lowered, lower, unknown_gates
from hqdm.simulators.compiled.matrices import Entries
from hqdm.simulators.compiled.reference import evolve
from hqdm.simulators.program.base import (
    check_shapes,
    is_differentiated_forward,
    no_outputs,
    refuse_memory,
)
from hqdm.simulators.program.caching import cached
from hqdm.simulators.program.statevector import StatevectorSimulator
from hqdm.simulators.program.tracing import trace
from hqdm.utils.errors import HQDMError

MIN_PIECES = 64  # of work, to balance threads; results do not depend on the number of threads
UPDATES_PER_THREAD = 2**15  # of groups of amplitudes, 0.3 ms; waking a thread can take as long


class Run(Protocol):
    """One call of the kernels; see `KernelPlan` for the shapes."""

    def forward(self) -> Tensor:
        """The outputs."""

    def backward(self, grad_out: Tensor, /) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients with respect to entries, phases and amplitudes."""


class KernelPlan:
    """A lowered circuit in one precision, an operation of the compiled kernels.

    Its arguments are entries of the matrices `(n_circuits, n_entries)`, phases of the samples
    `(n_circuits, n_phases, B)` and initial amplitudes `(n_circuits, 2**n_wires, B)` or none; its
    value is `(n_circuits, n_outputs, B)`. The states are not saved, but computed again.

    Args:
        lowered: The circuit.
        dtype: Real dtype of inputs and weights.
        device: Device of inputs and weights.
        inverse: Run the conjugate transposes of the matrices, in the order of `lower`.
    """

    def __init__(
        self, lowered: Lowered, dtype: torch.dtype, device: torch.device, inverse: bool = False
    ) -> None:
        self.lowered = lowered
        self.entries = Entries(lowered.factors, dtype.to_complex(), device, inverse)
        self.phases = lowered.program.phases.to(device, dtype)
        gates = lowered.program.input_gates
        self.input_gates = torch.tensor(gates, dtype=torch.long, device=device)
        self.n_updates = int(lowered.tables.code[:, kernels.COUNT].sum())
        constants = torch.from_numpy(lowered.tables.constants).to(dtype.to_complex())
        self.tables = lowered.tables._replace(constants=constants.numpy())

    def __call__(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """Evaluate the circuits; see `Simulator`."""
        weight_phases = self.phases.of_weights(inputs, weights)
        phases = self.phases.of_inputs(inputs, weights, weight_phases, self.input_gates)
        amplitudes = inputs.new_empty(len(inputs), 0, inputs.shape[1])
        if self.lowered.program.embedding is not None:
            amplitudes = self.lowered.program.embedding.amplitudes(inputs).mT
        return self.evaluate(weight_phases, phases.mT, amplitudes).mT

    def evaluate(self, weight_phases: Tensor, phases: Tensor, amplitudes: Tensor) -> Tensor:
        """The outputs from the phases of all gates `(n_circuits, n_gates)`, differentiable."""
        if weight_phases.device.type != "cpu":
            return self.evolve(self.entries(weight_phases), phases, amplitudes)
        return compute(_Evaluation(self), weight_phases, phases, amplitudes)

    def evolve(self, entries: Tensor, phases: Tensor, amplitudes: Tensor) -> Tensor:
        """The outputs, differentiable."""
        return compute(self, entries, phases, amplitudes)

    def run(self, entries: Tensor, phases: Tensor, amplitudes: Tensor) -> Run:
        """A call of the kernels."""
        return _KernelRun(self, entries, phases, amplitudes)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The outputs; see `Operation`."""
        return (self.run(*tensors).forward(),)

    def backward(
        self, grad: Tensor, needed: tuple[bool, ...], *tensors: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Gradients; see `Operation`. One pass through the circuit computes all of them."""
        return self.run(*tensors).backward(grad)

    def reference(self, entries: Tensor, phases: Tensor, amplitudes: Tensor) -> Tensor:
        """The outputs in torch operations."""
        return evolve(self.tables, self.lowered, entries, phases, amplitudes)


@dataclass(frozen=True)
class _Evaluation:
    """The matrices and the evolution by them as one operation: torch's calls take half as long.

    Attributes:
        plan: The plan, on the CPU.
    """

    plan: KernelPlan

    def forward(
        self, weight_phases: Tensor, phases: Tensor, amplitudes: Tensor
    ) -> tuple[Tensor, ...]:
        """The outputs, and what `backward` needs further; see `Operation`."""
        entries, *further = self.plan.entries.forward(weight_phases)
        return *self.plan.forward(entries, phases, amplitudes), entries, *further

    def backward(
        self, grad: Tensor, needed: tuple[bool, ...], *tensors: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Gradients; see `Operation`."""
        weight_phases, phases, amplitudes, entries, *further = tensors
        of_entries, *others = self.plan.run(entries, phases, amplitudes).backward(grad)
        return self.plan.entries.backward(of_entries, weight_phases, *further), *others

    def reference(self, weight_phases: Tensor, phases: Tensor, amplitudes: Tensor) -> Tensor:
        """The outputs in torch operations."""
        return self.plan.reference(self.plan.entries.reference(weight_phases), phases, amplitudes)


@cached
def plan(circuit: Circuit, dtype: torch.dtype, inverse: bool = False) -> KernelPlan:
    """The plan of a circuit, or of its inverse; see `lower`."""
    return KernelPlan(lower(circuit, inverse), dtype, torch.device("cpu"), inverse)


class _KernelRun:
    """One call of the kernels: tensors as arrays, padded to whole groups of lanes.

    Args:
        plan: The plan.
        entries: Entries of the matrices; shapes as in `KernelPlan`.
        phases: Phases of the samples.
        amplitudes: Initial amplitudes.
    """

    def __init__(
        self, plan: KernelPlan, entries: Tensor, phases: Tensor, amplitudes: Tensor
    ) -> None:
        self.n_outputs = plan.lowered.n_outputs
        self.n_circuits, n_phases, self.n_samples = phases.shape
        self.padding = -self.n_samples % n_lanes(phases.element_size())
        self.entries = entries.detach().resolve_conj().contiguous()
        phases = self._padded(phases)
        self.cos, self.sin = (phases.cos(), phases.sin()) if n_phases else (phases, phases)
        self.amplitudes = self._padded(amplitudes)
        n_groups = phases.shape[2] // n_lanes(phases.element_size())
        pieces = -(-MIN_PIECES // (self.n_circuits * len(plan.tables.parts)))
        chunk = max(1, n_groups // pieces)
        self.n_chunks = -(-n_groups // chunk)
        samples = SampleArrays(
            _flat(self.cos),
            _flat(self.sin),
            _flat(self.amplitudes),
            n_phases,
            phases.shape[2],
        )
        n_pieces = self.n_circuits * len(plan.tables.parts) * self.n_chunks
        n_worth = 1 + self.n_circuits * n_groups * plan.n_updates // UPDATES_PER_THREAD
        self.n_threads = max(1, min(n_threads(), n_pieces, n_worth))
        # The leading arguments of both kernels.
        self.arguments = (
            plan.tables,
            self.entries.numpy(),
            samples,
            plan.lowered.measure,
            chunk,
            self.n_threads,
        )

    def _padded(self, tensor: Tensor) -> Tensor:
        tensor = tensor.detach()
        if not self.padding:
            return tensor.contiguous()
        *shape, n_samples = tensor.shape
        padded = tensor.new_zeros(*shape, n_samples + self.padding)
        padded[..., :n_samples] = tensor
        return padded

    def forward(self) -> Tensor:
        """The outputs."""
        n_padded = self.n_samples + self.padding
        out = self.cos.new_zeros(self.n_circuits, self.n_outputs, n_padded)
        call(kernels.forward, FORWARD, out.dtype, *self.arguments, _flat(out), n=self.n_threads)
        return out[..., : self.n_samples]

    def backward(self, grad_out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients with respect to entries, phases and amplitudes."""
        sums = self.entries.new_zeros(self.n_circuits, self.n_chunks, self.entries.shape[1])
        grads = [torch.zeros_like(tensor) for tensor in (self.cos, self.sin, self.amplitudes)]
        outputs = _flat(self._padded(grad_out)), sums.numpy(), tuple(map(_flat, grads))
        arguments = *self.arguments, *outputs
        call(kernels.backward, BACKWARD, self.cos.dtype, *arguments, n=self.n_threads)
        grad_cos, grad_sin, grad_amplitudes = grads
        grad_phases = self.cos * grad_sin - self.sin * grad_cos if self.cos.numel() else grad_cos
        n = self.n_samples
        return sums.sum(1), grad_phases[..., :n], grad_amplitudes[..., :n]


def _flat(tensor: Tensor) -> np.ndarray:
    return tensor.view(-1).numpy()


@lru_cache(maxsize=256)
def is_supported(circuit: Circuit) -> bool:
    """True if the kernels support all gates; otherwise warn, once per circuit."""
    unknown = unknown_gates(trace(circuit))
    if unknown:
        warnings.warn(
            f"the compiled simulator does not support the gate {', '.join(unknown)} on these "
            "wires: this circuit runs on the torch state vector",
            stacklevel=2,
        )
    return not unknown


def largest_part(circuit: Circuit) -> int:
    """Number of wires of the largest state; joint probabilities need all wires in one state."""
    if circuit.measure == "expval_z":
        return max(map(len, trace(circuit).components))
    return circuit.n_wires


def work_bytes(circuit: Circuit, itemsize: int) -> int:
    """Bytes of the states and index lists of all threads."""
    n_wires = largest_part(circuit)
    state = 2 * itemsize * n_lanes(itemsize) * 2**n_wires
    lists = 8 * 2**n_wires * n_wires
    return 2 * state * torch.get_num_threads() + lists


@dataclass(frozen=True)
class CompiledSimulator:
    """Exact simulation on the CPU, with memory independent of batch size and depth.

    Forward-mode derivatives, and circuits with gates that the kernels do not support (with a
    warning), run on the torch state vector.

    Attributes:
        memory_limit: Memory limit of the states of all threads in bytes.
    """

    memory_limit: int = 2**30

    name: ClassVar[str] = "compiled"

    def __call__(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        """Evaluate the circuits; see `Simulator`.

        Raises:
            HQDMError: If the shapes do not match, the inputs are not on the CPU, the states exceed
                the memory limit, or the circuit cannot be traced.
        """
        check_shapes(circuit, inputs, weights)
        if inputs.device.type != "cpu":
            raise HQDMError(
                f"the compiled simulator runs on the CPU, got inputs on {inputs.device}: "
                "use simulator='auto'"
            )
        if not inputs.shape[1]:
            return no_outputs(circuit, inputs, weights)
        if is_differentiated_forward(inputs, weights) or not is_supported(circuit):
            return StatevectorSimulator(self.memory_limit)(circuit, inputs, weights)
        n_bytes = work_bytes(circuit, inputs.element_size())
        refuse_memory(f"the states of {circuit.n_wires} qubits", n_bytes, self.memory_limit)
        return plan(circuit, inputs.dtype)(inputs, weights)
