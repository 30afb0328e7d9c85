"""The fused simulator for NVIDIA GPUs: the function of `compiled.cpu` with `cuda_kernels`.

Experimental: no device has run it, see `hqdm.simulators.experimental`.

Torch and Numba share memory and stream, so that no copies or synchronisations are needed. Inputs
and outputs of the kernels are contiguous per sample, as in the surrounding layers:

    phases (n_circuits, B, n_phases)    amplitudes (n_circuits, B, 2**n_wires)

Two states must fit into shared memory for the backward pass; see `fits`.
"""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from hqdm.circuits import Circuit
from hqdm.simulators.compiled.calls import announced_if_slow
from hqdm.simulators.compiled.cpu import (
    KernelPlan,
    is_supported,
    largest_part,
)
from hqdm.simulators.compiled.kernels import N_WIRES, PROBS, SIZE
from hqdm.simulators.compiled.lowering import Lowered, lower
from hqdm.simulators.program.base import check_shapes, is_differentiated_forward, no_outputs
from hqdm.simulators.program.caching import cached
from hqdm.simulators.program.statevector import StatevectorSimulator
from hqdm.utils.errors import HQDMError

SHARED_BYTES = 48 * 1024  # available to a block on any device without opt-in
N_THREADS = 128  # of a block; a power of two, for pairwise sums
MIN_BLOCKS = 2048  # several per multiprocessor; results do not depend on the device
MIN_SUMS = 4  # numbers that each thread contributes to a sum, as 2x2 matrices need


class Layout:
    """The layout of threads and shared memory; see `cuda_kernels`.

    Args:
        lowered: The circuit.
        n_threads: Threads per block.

    Attributes:
        n_lanes: Lanes per slot, for each part.
        max_slots: Maximum number of slots of a part.
        sizes: Numbers of complex numbers in shared memory: states, vectors, sums.
    """

    def __init__(self, lowered: Lowered, n_threads: int) -> None:
        n_wires = lowered.tables.parts[:, N_WIRES]
        self.n_threads = n_threads
        self.n_lanes = np.minimum(2 ** (n_wires - 1), n_threads)  # one pair or more per lane
        n_slots = n_threads // self.n_lanes
        self.max_slots = int(n_slots.max())
        largest = lowered.tables.code[:, SIZE].max(initial=1)
        self.sizes = (
            int((n_slots * 2**n_wires).max()),
            int((n_slots * 2 * n_wires).max()),
            n_threads * max(MIN_SUMS, int(largest) ** 2),
        )

    def shared_bytes(self, itemsize: int, backward: bool) -> int:
        """Bytes of shared memory per block, for real numbers of `itemsize` bytes."""
        states, vectors, sums = self.sizes
        return 2 * itemsize * ((1 + backward) * (states + vectors) + sums)


class CudaPlan(KernelPlan):
    """A lowered circuit on a device, with its tables in device memory.

    Args:
        lowered: The circuit.
        dtype: Real dtype of inputs and weights.
        device: Device of inputs and weights.
        n_threads: Threads per block.
    """

    def __init__(
        self,
        lowered: Lowered,
        dtype: torch.dtype,
        device: torch.device,
        n_threads: int = N_THREADS,
    ) -> None:
        super().__init__(lowered, dtype, device)
        self.layout = Layout(lowered, n_threads)
        lanes = self.layout.n_lanes[:, None]
        tables = self.tables._replace(parts=np.concatenate([self.tables.parts, lanes], 1))
        self.device_tables = load_kernels().DeviceTables(
            *(_on_device(table, device) for table in (*tables, members(lowered)))
        )

    def run(self, entries: Tensor, phases: Tensor, amplitudes: Tensor) -> "_CudaRun":
        """A call of the kernels; see `KernelPlan` for the arguments."""
        return _CudaRun(self, entries, phases, amplitudes)


def _on_device(table: np.ndarray, device: torch.device) -> Any:
    if table.dtype == np.int64:
        table = table.astype(np.int32)
    tensor = torch.from_numpy(table).to(device)
    with torch.cuda.device_of(tensor):
        return _as_arrays(tensor)


def members(lowered: Lowered) -> np.ndarray:
    """For probabilities, the amplitudes of each output, `(n_outputs, k)`; else `(0, 0)`."""
    if lowered.measure != PROBS:
        return np.empty((0, 0), np.int64)
    places = lowered.tables.outputs[:, 0]
    order = np.argsort(places, kind="stable")
    return order[places[order] >= 0].reshape(lowered.n_outputs, -1)


@cached
def cuda_plan(circuit: Circuit, dtype: torch.dtype, device: torch.device) -> CudaPlan:
    """The cached plan of a circuit on a device."""
    ready = CudaPlan(lower(circuit), dtype, device)
    torch.cuda.synchronize(device)  # once, since the plan may be used on another stream
    return ready


@lru_cache(maxsize=1)
def load_kernels() -> ModuleType:
    """Import the module of the kernels, which has further requirements.

    Raises:
        HQDMError: If Numba cannot compile for a GPU on this machine.
    """
    try:
        from numba import cuda

        available = cuda.is_available()
    except ImportError:
        available = False
    if not available:
        raise HQDMError(
            "simulator 'cuda' needs an NVIDIA GPU, its driver and Numba's compiler for it: install "
            "'hqdm[cuda]' with 'numba-cuda[cu12]' or 'numba-cuda[cu13]', to match "
            "torch.version.cuda"
        )
    from hqdm.simulators.experimental import cuda_kernels

    return cuda_kernels


class _CudaRun:
    """One call of the kernels.

    Args:
        plan: The plan.
        entries: Entries of the matrices; shapes as in `KernelPlan`.
        phases: Phases of the samples.
        amplitudes: Initial amplitudes.
    """

    def __init__(self, plan: CudaPlan, entries: Tensor, phases: Tensor, amplitudes: Tensor) -> None:
        self.plan, self.kernels = plan, load_kernels()
        self.entries = entries.detach().resolve_conj().contiguous()
        phases = phases.detach().mT.contiguous()
        amplitudes = amplitudes.detach().mT.contiguous()
        self.samples = self.kernels.DeviceSamples(phases.cos(), phases.sin(), amplitudes)
        self.n_circuits, n_samples = phases.shape[:2]
        n_pairs = self.n_circuits * len(plan.tables.parts)
        n_groups = -(-n_samples // plan.layout.max_slots)
        groups_in_chunk = -(-n_groups // -(-MIN_BLOCKS // n_pairs))
        n_chunks = -(-n_groups // groups_in_chunk)
        self.chunks = self.kernels.Chunks(n_chunks, groups_in_chunk * plan.layout.max_slots)
        self.n_blocks = n_pairs * n_chunks

    def forward(self) -> Tensor:
        """The outputs."""
        shape = *self.samples.cos.shape[:2], self.plan.lowered.n_outputs
        out = self.samples.cos.new_empty(shape)
        self._launch("forward", out)
        return out.mT

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients with respect to entries, phases and amplitudes."""
        sums = self.entries.new_zeros(self.n_circuits, self.chunks.n, self.entries.shape[1])
        grads = self.kernels.DeviceSamples(*map(torch.zeros_like, self.samples))
        self._launch("backward", grad.detach().mT.contiguous(), sums, grads)
        grad_phases = self.samples.cos * grads.sin - self.samples.sin * grads.cos
        return sums.sum(1), grad_phases.mT, grads.amplitudes.mT

    def _launch(self, name: str, *args: Any) -> None:
        """Launch a kernel on torch's current stream; it reads and writes torch's memory."""
        layout, dtype = self.plan.layout, self.samples.cos.dtype
        n_bytes = layout.shared_bytes(dtype.itemsize, name == "backward")
        arguments = (
            self.plan.device_tables,
            self.entries,
            self.samples,
            self.plan.lowered.measure,
            self.kernels.Sizes(*layout.sizes),
            self.chunks,
            *args,
        )
        kernel = getattr(self.kernels, name)
        with announced_if_slow(dtype, f"CUDA {name} kernel"), torch.cuda.device_of(self.entries):
            configured = kernel[self.n_blocks, layout.n_threads, self._stream(), n_bytes]
            configured(*map(_as_arrays, arguments))

    def _stream(self) -> Any:
        if not self.entries.is_cuda:  # Numba's simulator has none
            return 0
        pointer = torch.cuda.current_stream(self.entries.device).cuda_stream
        return self.kernels.cuda.external_stream(pointer) if pointer else 0


def _as_arrays(argument: Any) -> Any:
    """Convert tensors to arrays of Numba, without a copy; named tuples keep their type."""
    if isinstance(argument, tuple):
        return type(argument)(*map(_as_arrays, argument))
    if not isinstance(argument, Tensor):
        return argument
    return load_kernels().cuda.as_cuda_array(argument) if argument.is_cuda else argument.numpy()


@lru_cache(maxsize=1)
def _warn_once() -> None:
    warnings.warn(
        "simulator 'cuda' is experimental: its kernels have never run on a GPU; compare its "
        "results with those of 'statevector', or use 'auto'",
        stacklevel=4,
    )


@lru_cache(maxsize=256)
def fits(circuit: Circuit, dtype: torch.dtype) -> bool:
    """True if the states fit into shared memory; otherwise warn, once per circuit.

    The largest set of wires connected by gates may have 11 qubits in float32 and 10 in float64, or
    one or two fewer if a gate has a 4x4 matrix; for probabilities the set is that of all wires.
    """
    n_wires = largest_part(circuit)
    n_bytes = 4 * dtype.itemsize * 2**n_wires
    if n_bytes <= SHARED_BYTES:  # only then are the lists of `lower` small
        n_bytes = Layout(lower(circuit), N_THREADS).shared_bytes(dtype.itemsize, backward=True)
    if n_bytes > SHARED_BYTES:
        warnings.warn(
            f"the states of {n_wires} qubits would take {n_bytes:,} of {SHARED_BYTES:,} bytes of "
            "shared memory: this circuit runs on the torch state vector",
            stacklevel=2,
        )
    return n_bytes <= SHARED_BYTES


@dataclass(frozen=True)
class CudaSimulator:
    """Exact simulation on an NVIDIA GPU, with memory independent of depth.

    Experimental (a warning says so once): the kernels are tested in Numba's CUDA simulator and
    compile for GPUs, but have never run on one. "auto" does not choose this simulator. Compare it
    with "statevector" before use.

    Forward-mode derivatives, measure="state", and circuits with gates that the kernels do not
    support or with states that do not fit into shared memory (with a warning), run on the torch
    state vector.

    Attributes:
        memory_limit: Memory limit of the torch state vector in bytes.
    """

    memory_limit: int = 2**30

    name: ClassVar[str] = "cuda"

    def __post_init__(self) -> None:
        """Warn, once per process."""
        _warn_once()

    def __call__(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        """Evaluate the circuits; see `Simulator`.

        Raises:
            HQDMError: If the shapes do not match, the inputs are not on a GPU, Numba cannot compile
                for it, or the circuit cannot be traced.
        """
        check_shapes(circuit, inputs, weights)
        if inputs.device.type != "cuda":
            raise HQDMError(
                f"simulator 'cuda' runs on an NVIDIA GPU, got inputs on {inputs.device}: move the "
                "model to a GPU or use simulator='auto'"
            )
        if not inputs.shape[1]:
            return no_outputs(circuit, inputs, weights)
        if (
            is_differentiated_forward(inputs, weights)
            or circuit.measure == "state"
            or not is_supported(circuit)
            or not fits(circuit, inputs.dtype)
        ):
            return StatevectorSimulator(self.memory_limit)(circuit, inputs, weights)
        return cuda_plan(circuit, inputs.dtype, inputs.device)(inputs, weights)
