"""The compiled simulator: a differentiable torch function around the kernels.

    inputs, weights -> phases -> matrices        torch, with automatic differentiation
    matrices, phases of the samples -> outputs   the kernels, which store no states

Numba compiles the kernels at first use, once per precision, and caches them on disk (`code_cache`).
"""

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import numba
import numpy as np
import torch
from numba.core import event
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

from hqdm.circuits import Circuit
from hqdm.simulators.compiled import kernels
from hqdm.simulators.compiled.kernels import SampleArrays
from hqdm.simulators.compiled.lanes import n_lanes
from hqdm.simulators.compiled.lowering import Lowered, lower, unknown_gates
from hqdm.simulators.compiled.matrices import Entries
from hqdm.simulators.compiled.reference import evolve
from hqdm.simulators.program.base import check_shapes, no_outputs, refuse_memory
from hqdm.simulators.program.caching import cached
from hqdm.simulators.program.statevector import StatevectorSimulator
from hqdm.simulators.program.tracing import trace
from hqdm.utils.errors import HQDMError

log = logging.getLogger(__name__)

MIN_PIECES = 64  # of work, to balance threads; results do not depend on the number of threads
UPDATES_PER_THREAD = 2**15  # of groups of amplitudes, 0.3 ms; waking a thread can take as long
SILENT_SECONDS = 1.0  # loading a CUDA kernel takes less time, compiling one takes more
COMPILING = (
    "compiling the %s kernel of the simulator for %s: about 10 seconds, once on this machine"
)


class Run(Protocol):
    """One call of the kernels; see `Evolve` for the shapes."""

    def forward(self) -> Tensor:
        """The outputs."""

    def backward(self, grad_out: Tensor, /) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients with respect to entries, phases and amplitudes."""


class KernelPlan:
    """A lowered circuit in one precision.

    Args:
        lowered: The circuit.
        dtype: Real dtype of inputs and weights.
        device: Device of inputs and weights.
    """

    def __init__(self, lowered: Lowered, dtype: torch.dtype, device: torch.device) -> None:
        self.lowered = lowered
        self.entries = Entries(lowered.factors, dtype.to_complex(), device)
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
        return Evolve.apply(self, self.entries(weight_phases), phases.mT, amplitudes).mT

    def run(self, entries: Tensor, phases: Tensor, amplitudes: Tensor) -> Run:
        """A call of the kernels; see `Evolve` for the arguments."""
        return _KernelRun(self, entries, phases, amplitudes)

    def reference(self, entries: Tensor, phases: Tensor, amplitudes: Tensor) -> Tensor:
        """`Evolve` in torch operations."""
        return evolve(self.tables, self.lowered, entries, phases, amplitudes)


@cached
def plan(circuit: Circuit, dtype: torch.dtype, inverse: bool = False) -> KernelPlan:
    """The plan of a circuit; see `lower`."""
    return KernelPlan(lower(circuit, inverse), dtype, torch.device("cpu"))


class Evolve(torch.autograd.Function):
    """The kernels as a torch function.

    Inputs are the plan, entries `(n_circuits, n_entries)`, phases of the samples
    `(n_circuits, n_phases, B)` and initial amplitudes `(n_circuits, 2**n_wires, B)` or none; the
    output is `(n_circuits, n_outputs, B)`. Derivatives beyond the gradient come from torch
    (`reference.evolve`).
    """

    @staticmethod
    def forward(plan: KernelPlan, entries: Tensor, phases: Tensor, amplitudes: Tensor) -> Tensor:
        """Evaluate."""
        return plan.run(entries, phases, amplitudes).forward()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Save the inputs; the states are recomputed."""
        ctx.plan = inputs[0]
        ctx.save_for_backward(*inputs[1:])
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients from the gradient with respect to the outputs."""
        if torch.is_grad_enabled():
            pull_back = torch.func.vjp(ctx.plan.reference, *ctx.saved_tensors)[1]
            return None, *pull_back(grad)
        return None, *ctx.plan.run(*ctx.saved_tensors).backward(grad)

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Tensor | None) -> Tensor:
        """Forward-mode derivative, by the torch reference."""
        filled = tuple(
            torch.zeros_like(tensor) if tangent is None else tangent
            for tensor, tangent in zip(ctx.saved_tensors, tangents, strict=True)
        )
        return torch.func.jvp(ctx.plan.reference, ctx.saved_tensors, filled)[1]

    @staticmethod
    def vmap(info: Any, in_dims: Any, plan: KernelPlan, *tensors: Tensor) -> tuple[Tensor, int]:
        """Evaluate sequentially."""
        outputs = [
            Evolve.apply(
                plan,
                *(
                    tensor if dim is None else tensor.select(dim, i)
                    for tensor, dim in zip(tensors, in_dims[1:], strict=True)
                ),
            )
            for i in range(info.batch_size)
        ]
        return torch.stack(outputs), 0


class _KernelRun:
    """One call of the kernels: tensors as arrays, padded to whole groups of lanes.

    Args:
        plan: The plan.
        entries: Entries of the matrices; shapes as in `Evolve`.
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
        self.cos, self.sin = phases.cos(), phases.sin()
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
        n_threads = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
        self.n_threads = max(1, min(n_threads, n_pieces, n_worth))
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
        return F.pad(tensor.detach(), (0, self.padding)).contiguous()

    def forward(self) -> Tensor:
        """The outputs."""
        n_padded = self.n_samples + self.padding
        out = self.cos.new_zeros(self.n_circuits, self.n_outputs, n_padded)
        with announced(self.cos.dtype, "forward"), _in_turn(), _threads(self.n_threads):
            kernels.forward(*self.arguments, _flat(out))
        return out[..., : self.n_samples]

    def backward(self, grad_out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients with respect to entries, phases and amplitudes."""
        sums = self.entries.new_zeros(self.n_circuits, self.n_chunks, self.entries.shape[1])
        grads = [torch.zeros_like(tensor) for tensor in (self.cos, self.sin, self.amplitudes)]
        with announced(self.cos.dtype, "backward"), _in_turn(), _threads(self.n_threads):
            grad = _flat(self._padded(grad_out))
            kernels.backward(*self.arguments, grad, sums.numpy(), tuple(map(_flat, grads)))
        grad_cos, grad_sin, grad_amplitudes = grads
        grad_phases = self.cos * grad_sin - self.sin * grad_cos
        n = self.n_samples
        return sums.sum(1), grad_phases[..., :n], grad_amplitudes[..., :n]


def _flat(tensor: Tensor) -> np.ndarray:
    return tensor.view(-1).numpy()


_turn = threading.Lock()


def _in_turn() -> AbstractContextManager[object]:
    """The lock of the kernels, if they may be called by one thread of Python at a time only.

    Numba's own threads, which it takes where it finds neither OpenMP nor TBB, end the process
    otherwise. Which ones it takes is known after the first call.
    """
    try:
        return _turn if numba.threading_layer() == "workqueue" else nullcontext()
    except ValueError:
        return _turn


_compiled: set[tuple[torch.dtype, str]] = set()

if hasattr(os, "register_at_fork"):  # a thread that holds the lock is not there in the child,
    os.register_at_fork(after_in_child=_turn._at_fork_reinit)  # type: ignore[attr-defined]
    os.register_at_fork(after_in_child=_compiled.clear)  # which has other kernels, see `Kernel`


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Let Numba use n threads without changing the number of threads of torch."""
    of_torch = torch.get_num_threads()
    numba.set_num_threads(n)
    try:
        yield
    finally:
        if torch.get_num_threads() != of_torch:  # both share OpenMP; the start of Numba sets it
            torch.set_num_threads(of_torch)


class _Announcement(event.Listener):
    """Logs a message when Numba compiles, which it does not do for kernels in its cache.

    Args:
        dtype: The precision of the kernel.
        kernel: The name of the kernel.
    """

    def __init__(self, dtype: torch.dtype, kernel: str) -> None:
        self.words: tuple[object, ...] | None = kernel, dtype

    def on_start(self, _: object) -> None:
        """Log the message, once: a kernel and its functions are compiled one after the other."""
        if self.words is not None:
            log.warning(COMPILING, *self.words)
            self.words = None

    def on_end(self, _: object) -> None:
        """Nothing."""


@contextmanager
def announced(dtype: torch.dtype, kernel: str) -> Iterator[None]:
    """Log a message if the first call of a kernel compiles it."""
    if (dtype, kernel) in _compiled:
        yield
        return
    with event.install_listener("numba:compile", _Announcement(dtype, kernel)):
        yield
    _compiled.add((dtype, kernel))


@contextmanager
def announced_if_slow(dtype: torch.dtype, kernel: str) -> Iterator[None]:
    """Log a message if the first call of a CUDA kernel takes long: Numba reports no compilation."""
    if (dtype, kernel) in _compiled:
        yield
        return
    timer = threading.Timer(SILENT_SECONDS, log.warning, (COMPILING, kernel, dtype))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    _compiled.add((dtype, kernel))


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


def is_differentiated_forward(*tensors: Tensor) -> bool:
    """True if a tensor has a forward-mode tangent."""
    return any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)


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
