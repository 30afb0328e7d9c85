"""A QNode in `hqdm.QuantumLayer` beside `qml.qnn.TorchLayer`: forward and backward.

    python benchmarks/qnode_layer.py [--qubits 12] [--layers 3] [--batch 128] [--repeats 5]

The QNode embeds one angle per qubit, has strongly entangling layers and returns <Z> of every qubit.
The two layers have the same weights and inputs in float32; they take turns after one call each that
is excluded from timings. `OMP_NUM_THREADS` says how many cores both may use.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import pennylane as qml
import torch
from torch import Tensor, nn

from hqdm import QuantumLayer
from hqdm.utils.versions import versions

SEED = 0
TOLERANCE = 1e-4  # between the layers, relative to the largest number


def strongly_entangling(n_qubits: int) -> qml.QNode:
    """The QNode, on default.qubit with backpropagation."""

    @qml.qnode(qml.device("default.qubit", wires=n_qubits), diff_method="backprop")
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


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock seconds of a call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qubits", type=int, default=12)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()

    torch.manual_seed(SEED)
    qnode = strongly_entangling(options.qubits)
    shapes = {"weights": (options.layers, options.qubits, 3)}
    layers = {
        "qml.qnn.TorchLayer": qml.qnn.TorchLayer(qnode, shapes),
        "hqdm.QuantumLayer": QuantumLayer(qnode, shapes),
    }
    theirs, ours = layers.values()
    ours.load_state_dict(theirs.state_dict())
    inputs = torch.randn(options.batch, options.qubits)
    results = [step(layer, inputs) for layer in layers.values()]
    difference = max(
        float((a - b).abs().max() / b.abs().max()) for a, b in zip(*results[::-1], strict=True)
    )
    if difference > TOLERANCE:
        raise SystemExit(f"the layers differ by {difference:.1e}: nothing is timed")
    times: dict[str, list[float]] = {name: [] for name in layers}
    for _ in range(options.repeats):
        for name, layer in layers.items():
            times[name].append(seconds(lambda layer=layer: step(layer, inputs)))
    medians = {name: statistics.median(runs) for name, runs in times.items()}

    print(f"{options.qubits} qubits, {options.layers} layers, batch {options.batch}, float32")
    print(f"forward and backward, median of {options.repeats} (smallest to largest):")
    for name, runs in times.items():
        low, high = 1e3 * min(runs), 1e3 * max(runs)
        print(f"  {name:20} {1e3 * medians[name]:10.2f} ms  ({low:.2f} to {high:.2f})")
    slow, fast = medians.values()
    print(f"ratio {slow / fast:.1f}; largest difference {difference:.1e}; seed {SEED}")
    print(", ".join(f"{key} {value}" for key, value in versions().items()))


if __name__ == "__main__":
    main()
