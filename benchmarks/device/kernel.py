"""The experimental CUDA kernels against the torch operations: values, gradients, time."""

import warnings
from collections.abc import Iterator

import torch

from device.circuits import LARGE, Task, error
from device.context import Context, checked
from device.record import Row
from hqdm.simulators import AutoSimulator, Simulator, StatevectorSimulator
from hqdm.simulators.experimental.cuda import CudaSimulator, fits, load_kernels

SIZES = ((13, 128), (13, 1024))  # circuits and samples
SECONDS = 1.0


def skipped(device: torch.device) -> str | None:
    """The reason for leaving the part out, if there is one."""
    if device.type != "cuda":
        return "the kernels need a CUDA device; tests/simulators/experimental simulates one"
    return None


def run(context: Context) -> Iterator[Row]:
    """Compare the kernels with the state vector."""
    warnings.filterwarnings("ignore", "simulator 'cuda' is experimental")
    kernels = CudaSimulator()
    yield context.attempt({"what": "numba-cuda", "of": "is available"}, _load)
    for name, circuit in LARGE.items():
        task = Task.make(circuit, 3, 129, context.seed)
        reference = task.results(StatevectorSimulator(), torch.float64, torch.device("cpu"))
        for dtype in (torch.float64, torch.float32):

            def compare(
                task: Task = task,
                dtype: torch.dtype = dtype,
                reference: tuple[torch.Tensor, ...] = reference,
            ) -> Row:
                if not fits(task.circuit, dtype):
                    raise ValueError("the states do not fit into shared memory")
                ours = task.results(kernels, dtype, context.device)
                again = task.results(kernels, dtype, context.device)
                row = checked(error(ours, reference), task.tolerance(dtype))
                same = all(torch.equal(a, b) for a, b in zip(ours, again, strict=True))
                return {**row, "repeats": same}

            row = {"what": "values and gradients", "of": name, "dtype": str(dtype)[6:]}
            yield context.attempt(row, compare)
    for name, circuit in LARGE.items():
        for n_circuits, n_samples in SIZES:
            task = Task.make(circuit, n_circuits, n_samples, context.seed)
            row = {"what": "time", "of": f"{name}, {n_circuits} x {n_samples}", "dtype": "float32"}
            yield context.attempt(row, lambda task=task: _times(context, task, kernels))


def _load() -> Row:
    load_kernels()
    return {}


def _times(context: Context, task: Task, kernels: Simulator) -> Row:
    """Milliseconds of the kernels and of the choice of "auto", without and with the gradient."""
    row: Row = {}
    inputs, weights = (x.to(context.device, torch.float32) for x in (task.inputs, task.weights))
    for name, simulator in (("kernels", kernels), ("torch", AutoSimulator())):

        def forward(simulator: Simulator = simulator) -> None:
            with torch.no_grad():
                simulator(task.circuit, inputs, weights)

        def both(simulator: Simulator = simulator) -> None:
            x, w = inputs.clone().requires_grad_(), weights.clone().requires_grad_()
            simulator(task.circuit, x, w).sum().backward()

        row[f"{name} forward ms"] = 1e3 * context.median(forward, SECONDS)
        row[f"{name} with gradient ms"] = 1e3 * context.median(both, SECONDS)
    row["torch / kernels"] = row["torch with gradient ms"] / row["kernels with gradient ms"]
    return row
