"""A QNode in `hqdm.QuantumLayer` beside `qml.qnn.TorchLayer`: forward and backward.

    python benchmarks/qnode_layer.py [--seconds 2] [--write benchmarks/results/qnode_layer.md]

The QNode embeds one angle per qubit, has strongly entangling layers and returns <Z> of every qubit.
It runs in TorchLayer on two devices of PennyLane: on default.qubit with backpropagation, one batch
at a time, and on lightning.qubit with the adjoint method, which is one execution per sample. The
three layers have the same weights and inputs in float32, and their results are compared before
anything is timed. Layers take turns; a turn is a block of calls, of which the first is excluded
from timings, because a training step follows another one of the same kind. The table shows medians
of a call over all turns and the ratios of medians. `OMP_NUM_THREADS` sets the threads of all.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import pennylane as qml
import torch
from rich.console import Console
from torch import Tensor, nn

from hqdm import QuantumLayer
from hqdm.utils.tables import Sheet
from hqdm.utils.versions import versions

SEED = 0
TOLERANCE = 1e-4  # between the layers, relative to the largest number of a tensor
TURNS = 3
DEVICES = {"default.qubit": "backprop", "lightning.qubit": "adjoint"}
# Qubits, layers, samples. The first is the 2 x 2 patches of 16 images of 28 x 28 pixels.
SIZES = (4, 1, 3136), (4, 2, 32), (8, 3, 128), (10, 3, 128), (12, 3, 128), (14, 3, 128)
COLUMNS = (
    *("qubits", "layers", "samples", "hqdm, ms"),
    *(part for name in DEVICES for part in (f"{name}, ms", "ratio")),
)


def strongly_entangling(n_qubits: int, device: str) -> qml.QNode:
    """The QNode on a device."""

    @qml.qnode(qml.device(device, wires=n_qubits), diff_method=DEVICES[device])
    def qnode(inputs: Tensor, weights: Tensor) -> list:
        qml.AngleEmbedding(inputs, wires=range(n_qubits))
        qml.StronglyEntanglingLayers(weights, wires=range(n_qubits))
        return [qml.expval(qml.Z(wire)) for wire in range(n_qubits)]

    return qnode


def step(layer: nn.Module, inputs: Tensor) -> tuple[Tensor, ...]:
    """Outputs, and gradients for inputs and weights."""
    inputs = inputs.clone().requires_grad_()
    out = layer(inputs)
    return out.detach(), *torch.autograd.grad(out.square().sum(), [inputs, *layer.parameters()])


def difference(results: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """Largest difference, relative to the largest number of a tensor."""
    pairs = zip(results, others, strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def block(work: Callable[[], object], seconds: float) -> list[float]:
    """Seconds of each call in a block that lasts so long, and at least one call after the first."""
    work()
    times: list[float] = []
    while not times or sum(times) < seconds:
        started = perf_counter()
        work()
        times.append(perf_counter() - started)
    return times


def compare(n_qubits: int, n_layers: int, n_samples: int, seconds: float) -> list[str]:
    """One row of the table."""
    torch.manual_seed(SEED)
    shapes = {"weights": (n_layers, n_qubits, 3)}
    theirs = [
        qml.qnn.TorchLayer(strongly_entangling(n_qubits, device), shapes) for device in DEVICES
    ]
    ours = QuantumLayer(strongly_entangling(n_qubits, "default.qubit"), shapes)
    inputs = torch.randn(n_samples, n_qubits)
    result = step(ours, inputs)
    for layer in theirs:
        layer.load_state_dict(ours.state_dict())
        if (error := difference(result, step(layer, inputs))) > TOLERANCE:
            raise SystemExit(f"the layers differ by {error:.1e}: nothing is timed")
    times: list[list[float]] = [[], [], []]
    for _ in range(TURNS):
        for layer, of_layer in zip((ours, *theirs), times, strict=True):
            of_layer += block(lambda layer=layer: step(layer, inputs), seconds / TURNS)
    fast, *slow = (1e3 * median(of_layer) for of_layer in times)
    ratios = (part for other in slow for part in (f"{other:.1f}", f"{other / fast:.1f}"))
    return [str(n_qubits), str(n_layers), str(n_samples), f"{fast:.2f}", *ratios]


def publish(sheet: Sheet, file: Path | None, width: int = 100) -> None:
    """Print a table with seed and versions, and write it to a Markdown file if there is one."""
    used = ", ".join(f"{key} {value}" for key, value in versions().items())
    console = Console(width=width)
    console.print(sheet.rich())
    console.print(f"seed {SEED}; {used}")
    if file:
        file.write_text(f"# {sheet.markdown()}\nSeed {SEED}; {used}.\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="per layer and size")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    options = parser.parse_args()
    rows = [compare(*size, options.seconds) for size in SIZES]
    title = "A QNode in QuantumLayer and in TorchLayer: forward and backward, float32"
    publish(Sheet(title, COLUMNS, rows, n_text=0), options.write)


if __name__ == "__main__":
    main()
