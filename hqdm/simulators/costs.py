"""Estimates of the run time of a call from its program, used by "auto".

The unit of work is a multiply-add of real numbers. One pass of the compiled kernels takes

    n_circuits * B * sum over instructions (multiplications per amplitude) * 2^n.

The choice depends on ratios only. The rates below were measured on one core of a recent x86-64
processor; `benchmarks/simulators.py` prints the estimates next to measured seconds. No GPU has been
measured: there the ratio of the rates of a CPU decides between the two simulators in torch.
"""

import math
from dataclasses import dataclass, field, replace

import torch

from hqdm.circuits import Circuit
from hqdm.simulators import unitary
from hqdm.simulators.compiled.cpu import is_supported, work_bytes
from hqdm.simulators.compiled.lanes import n_lanes
from hqdm.simulators.compiled.lowering import lower
from hqdm.simulators.program.fusion import fuse
from hqdm.simulators.program.tracing import trace

# Passes over the states with the gradient: forward; in the backward pass once more forward, inverse
# evolution of the state and of lambda, and the gradient with respect to the matrices.
KERNEL_PASSES = 5
TORCH_PASSES = 3  # the states are stored instead
# Multiply-adds per second and core, in float32.
KERNEL_RATE = 7e10
MATMUL_RATE = 6e10
TORCH_RATE = 1.5e10
# Fixed overhead of a call in seconds, forward or with the gradient.
KERNEL_OVERHEAD = (3e-4, 1e-3)
TORCH_OVERHEAD = (5e-4, 2e-3)
TORCH_OVERHEAD_PER_BLOCK = (8e-5, 3e-4)
# Seconds per core for each amplitude read or written around a matrix product.
AMPLITUDE_SECONDS = (1.2e-9, 2.5e-9)
# A group of states that exceeds the caches is slower by this factor.
CACHE_BYTES = 2**24
OUTSIDE_CACHE = 2.5
LINE_SECONDS = 1.5e-8  # overhead of an instruction on a group of lanes


@dataclass(frozen=True)
class Work:
    """A call of a simulator.

    Attributes:
        circuit: The circuit.
        n_circuits: Number of circuits.
        n_samples: Number of samples per circuit.
        itemsize: Bytes per real number.
        gradients: Whether gradients are needed.
        memory_limit: Memory limit in bytes.
        n_threads: Number of threads.
    """

    circuit: Circuit
    n_circuits: int
    n_samples: int
    itemsize: int = 4
    gradients: bool = True
    memory_limit: int = 2**30
    n_threads: int = field(default_factory=torch.get_num_threads)


def multiply_adds(work: Work) -> float:
    """Multiply-adds of the instructions, a lower bound on the arithmetic of the compiled kernels.

    With the gradient it counts the indispensable passes: forward, inverse evolution of the state
    and of lambda, and the gradient with respect to the matrices. Embedding and measurement are not
    counted.
    """
    passes = KERNEL_PASSES - 1 if work.gradients else 1
    return passes * work.n_circuits * work.n_samples * lower(work.circuit).multiplications


def compiled_seconds(work: Work) -> float:
    """Estimated seconds of the compiled kernels; infinite if they cannot run."""
    if not is_supported(work.circuit):
        return math.inf
    if work_bytes(work.circuit, work.itemsize) > work.memory_limit:
        return math.inf
    return _kernel_seconds(work, lower(work.circuit).multiplications, work.n_samples)


def _kernel_seconds(work: Work, multiplications: float, n_samples: int) -> float:
    lanes = n_lanes(work.itemsize)
    groups = work.n_circuits * math.ceil(n_samples / lanes)
    lines = len(lower(work.circuit).tables.code) * LINE_SECONDS
    rate = _rate(KERNEL_RATE, work)
    if 2 * work.itemsize * lanes * 2 ** lower(work.circuit).largest_part > CACHE_BYTES:
        rate /= OUTSIDE_CACHE
    seconds = groups * (lanes * multiplications / rate + lines / work.n_threads)
    return KERNEL_OVERHEAD[work.gradients] + (KERNEL_PASSES if work.gradients else 1) * seconds


def unitary_seconds(work: Work) -> float:
    """Estimated seconds of the unitary simulator; infinite if it cannot run."""
    circuit = work.circuit
    if not unitary.is_applicable(circuit) or not is_supported(circuit):
        return math.inf
    needed = work_bytes(circuit, work.itemsize)
    needed += unitary.row_bytes(circuit, work.n_circuits, work.n_samples, work.itemsize)
    if needed > work.memory_limit:
        return math.inf
    n_rows = unitary.n_rows(circuit)
    n_states, n_samples = 2**circuit.n_wires, work.n_circuits * work.n_samples
    products = (3.0 if work.gradients else 1.0) * 2 * n_samples * n_rows * n_states
    amplitudes = n_samples * (n_states + 2 * n_rows) * AMPLITUDE_SECONDS[work.gradients]
    rows = _kernel_seconds(work, lower(circuit).multiplications, n_rows)
    return rows + products / _rate(MATMUL_RATE, work) + amplitudes / work.n_threads


def unitary_torch_seconds(work: Work) -> float:
    """Estimated seconds of the unitary simulator in torch operations, by the rates of a CPU."""
    circuit, n_samples = work.circuit, work.n_circuits * work.n_samples
    needed = unitary.row_bytes(circuit, work.n_circuits, work.n_samples, work.itemsize)
    if not unitary.is_applicable(circuit) or needed > work.memory_limit:
        return math.inf
    columns = statevector_seconds(replace(work, n_samples=circuit.n_inputs))
    products = 2 * n_samples * unitary.n_rows(circuit) * circuit.n_inputs
    return columns + (3 if work.gradients else 1) * products / _rate(MATMUL_RATE, work)


def statevector_seconds(work: Work) -> float:
    """Estimated seconds of the torch state vector, by the rates of a CPU."""
    n_blocks, multiplications = _torch_blocks(work.circuit)
    amount = work.n_circuits * work.n_samples * multiplications
    passes = TORCH_PASSES if work.gradients else 1
    overhead = TORCH_OVERHEAD[work.gradients] + n_blocks * TORCH_OVERHEAD_PER_BLOCK[work.gradients]
    return overhead + passes * amount / _rate(TORCH_RATE, work)


def _torch_blocks(circuit: Circuit) -> tuple[int, int]:
    """Number of blocks of the torch state vector, and their multiplications per sample."""
    program = trace(circuit)
    blocks = fuse(enumerate(program.gates), frozenset(program.input_gates))
    multiplications = 0
    for wires in program.components:
        here = [block for block in blocks if block.wires[0] in wires]
        multiplications += 2 ** len(wires) * sum(4 * 2 ** len(block.targets) for block in here)
    return len(blocks), multiplications


def _rate(rate: float, work: Work) -> float:
    return rate * work.n_threads * 4 / work.itemsize
