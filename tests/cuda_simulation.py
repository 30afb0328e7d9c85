"""Runs the CUDA kernels in Numba's simulator of a GPU and saves what comes out, for `test_cuda.py`.

The simulator must be asked for before Numba is imported, with NUMBA_ENABLE_CUDASIM=1, so that this
is a script: `python cuda_simulation.py FILE`. It is slow: circuits are tiny.
"""

import sys
import threading
from typing import ClassVar

import numpy as np
import torch
from numba.cuda.simulator.kernel import BlockThread, FakeCUDAKernel
from programs import GateList, circuit_of, sample, value_and_gradients

from hqdm.circuits import AmplitudeEmbedding, AngleEmbedding, Circuit, FQConv, StronglyEntangling
from hqdm.simulators.compiled.cpu import KernelPlan, plan
from hqdm.simulators.compiled.lowering import lower
from hqdm.simulators.experimental import cuda, cuda_kernels

# All sizes of matrices, the same for all samples and not; parts of three wires and of one.
GATES = GateList(
    (
        *(("RY", (i,), (("input", i),)) for i in range(4)),
        ("RZ", (3,), (("input", 2),)),
        ("Hadamard", (1,), ()),
        ("IsingXX", (0, 2), (("affine", 0),)),
        ("CRX", (1, 2), (("input", 1),)),
        ("SWAP", (2, 1), ()),
        ("SingleExcitation", (0, 1), (("weight", 1),)),
        ("CRZ", (2, 0), (("weight", 2),)),
        ("IsingZZ", (1, 0), (("input", 0),)),
        ("Rot", (3,), (("weight", 0), ("weight", 3), ("constant", 1))),
    )
)
MIXED = circuit_of(GATES, 4, wires=(3, 0, 2))
ENTANGLED = GateList((("CRX", (0, 1), (("input", 0),)), ("RY", (0,), (("weight", 0),))))
STRONG = Circuit(AngleEmbedding(3), StronglyEntangling(3, 1))
EMBEDDED = Circuit(AmplitudeEmbedding(3, 5), StronglyEntangling(3, 1), "probs", (2, 0), 3)

# Circuit, threads of a block, blocks wanted, samples, dtype.
CASES = {
    "one thread": (STRONG, 1, 1, 2, torch.float64),
    "an empty slot": (STRONG, 8, 1, 3, torch.float64),
    "a chunk for each sample": (STRONG, 4, 100, 3, torch.float64),
    "several parts": (Circuit(AngleEmbedding(8), FQConv(8, 1)), 4, 1, 3, torch.float64),
    "all kinds of gates": (MIXED, 8, 1, 7, torch.float64),
    "many outputs": (circuit_of(GateList(GATES.gates[:7]), 5), 4, 1, 1, torch.float64),
    "no gate before the first pair": (circuit_of(ENTANGLED, 2), 8, 1, 3, torch.float64),
    "probabilities": (circuit_of(GATES, 4, "probs", (2, 3)), 4, 1, 2, torch.float64),
    "amplitudes": (EMBEDDED, 8, 1, 3, torch.float64),
    "float32": (MIXED, 4, 1, 3, torch.float32),
}


class Watched:
    """An array in shared memory that finds threads in each other's way.

    Between two barriers, no thread may touch what another one writes: on a device their order is
    undefined.

    Args:
        array: The array.
        touched: For each place in this array, what threads did since which barrier.
    """

    conflicts: ClassVar[set[str]] = set()

    def __init__(self, array, touched):
        self.array, self.touched = array, touched
        self.dtype, self.size = array.dtype, array.size

    def touch(self, i, writes):
        thread = threading.current_thread()
        barrier, others, writers = self.touched.get(i, (-1, frozenset(), frozenset()))
        if barrier != thread.barriers:
            others = writers = frozenset()
        others |= {thread.thread_id}
        writers |= {thread.thread_id} if writes else frozenset()
        self.touched[i] = thread.barriers, others, writers
        if writers and len(others) > 1:
            self.conflicts.add(sys._getframe(2).f_code.co_name)

    def __getitem__(self, i):
        self.touch(i, False)
        return self.array[i]

    def __setitem__(self, i, value):
        self.touch(i, True)
        self.array[i] = value


def watch():
    """Let the kernels use watched arrays, and count the barriers of each thread."""
    make, wait = cuda_kernels.shared_memory, BlockThread.syncthreads
    of_block = {}

    def watched_memory(sizes, like):
        block = threading.current_thread()._manager
        touched = of_block.setdefault(block, {})
        shared = make(sizes, like)
        names = zip(shared._fields, shared, strict=True)
        return type(shared)(*(Watched(a, touched.setdefault(n, {})) for n, a in names))

    def counted(thread):
        thread.barriers += 1
        wait(thread)

    BlockThread.barriers = 0
    BlockThread.syncthreads = counted
    cuda_kernels.shared_memory = watched_memory


def quicken():
    """Call device functions as they are: the kernel that calls them sets up what they need."""
    for name, function in list(vars(cuda_kernels).items()):
        if isinstance(function, FakeCUDAKernel) and function._device:
            setattr(cuda_kernels, name, function.fn)
    sys.setswitchinterval(1e-5)  # threads wait for each other at every barrier


def as_simulator(plan: KernelPlan):
    """A plan as a simulator of its circuit."""
    return lambda circuit, inputs, weights: plan(inputs, weights)


def compare(circuit, n_threads, min_blocks, n_samples, dtype):
    """What the kernels give, twice, and what the compiled simulator gives."""
    cuda.MIN_BLOCKS = min_blocks
    ours = cuda.CudaPlan(lower(circuit), dtype, torch.device("cpu"), n_threads)
    call = circuit, *sample(circuit, 2, n_samples, dtype)
    runs = [value_and_gradients(as_simulator(p), *call) for p in (ours, ours, plan(circuit, dtype))]
    return dict(zip(("ours", "again", "theirs"), runs, strict=True))


def compare_states():
    """The same for a plan whose outputs are states."""
    lowered = lower(EMBEDDED, inverse=True)
    plans = [
        cuda.CudaPlan(lowered, torch.float64, torch.device("cpu"), 4),
        plan(EMBEDDED, torch.float64, inverse=True),
    ]
    _, weights = sample(EMBEDDED)
    basis = torch.eye(8, dtype=torch.float64)[:, :3].expand(2, -1, -1)
    entries = plans[1].entries(plans[1].phases.of_weights(basis, weights)).detach()
    results = []
    for ready in plans:
        run = ready.run(entries, basis.new_empty(2, 0, 3), basis)
        out = run.forward()
        results.append((out, *run.backward(out.sin())))
    return {"ours": results[0], "again": results[0], "theirs": results[1]}


if __name__ == "__main__":
    np.seterr(all="raise")
    quicken()
    watch()
    results = {name: compare(*case) for name, case in CASES.items()}
    results["states"] = compare_states()
    torch.save({"results": results, "conflicts": Watched.conflicts}, sys.argv[1])
