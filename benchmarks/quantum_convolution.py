"""`hqdm.QuantumConv2d` beside `torch.nn.Conv2d` and its circuit as a QNode: forward and backward.

    python benchmarks/quantum_convolution.py [--seconds 4] [--write FILE]

The QNode embeds the patches of all images as one batch, pads and normalises them, and runs on
default.qubit with backpropagation. Its values and gradients are compared with those of the
convolution before anything is timed. The three layers have the same inputs in float32 and take
turns; a turn is a block of calls, of which the first is excluded from timings. The table has the
medians of a call and of the ratios in the same turn. `OMP_NUM_THREADS` sets the threads of all.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import pennylane as qml
import torch
from qnode_layer import SEED, block, difference, publish, step
from torch import Tensor, nn

from hqdm import QuantumConv2d
from hqdm.utils.tables import Sheet

TOLERANCE = 1e-3  # relative to the largest number of a tensor, of sums of 12,544 float32 numbers
TURNS = 3
KERNEL, LAYERS = 3, 9  # of the smaller network of the paper on 28x28 images
# Images, channels in, size, channels out.
SIZES: Sequence[tuple[int, int, int, int]] = ((16, 8, 28, 8), (10, 1, 8, 2))
COLUMNS = (
    *("images", "channels", "size", "qubits", "hqdm, ms"),
    *("Conv2d, ms", "hqdm / Conv2d", "QNode, ms", "QNode / hqdm"),
)


class PatchNode(nn.Module):
    """The circuit of a convolution as a QNode on the patches of all images.

    Args:
        conv: The convolution, whose parameter is shared.
    """

    def __init__(self, conv: QuantumConv2d) -> None:
        super().__init__()
        self.theta, self.sizes = conv.theta, (conv.kernel_size, conv.out_channels)
        n = self.n_wires = conv.circuit.n_wires

        @qml.qnode(qml.device("default.qubit", wires=n), diff_method="backprop")
        def node(features: Tensor, weights: Tensor) -> object:
            qml.AmplitudeEmbedding(features, wires=range(n), pad_with=0.5, normalize=True)
            qml.StronglyEntanglingLayers(weights, wires=range(n))
            return qml.probs(wires=range(n))

        self.node = node

    def forward(self, x: Tensor) -> Tensor:
        """From `(B, c_in, H, W)` to `(B, c_out, H, W)`."""
        kernel, c_out = self.sizes
        patches = nn.functional.unfold(x, kernel, padding=KERNEL // 2).transpose(1, 2).flatten(0, 1)
        found = self.node(patches + 0.1, math.pi * torch.tanh(self.theta[0])).to(x.dtype)
        kept = (found * 2 ** (self.n_wires - 1)).clamp(0, 1)[:, ::2][:, :c_out]
        return kept.reshape(len(x), -1, c_out).transpose(1, 2).reshape(len(x), c_out, *x.shape[2:])


def compare(n: int, c_in: int, size: int, c_out: int, seconds: float) -> list[str]:
    """One row of the table."""
    torch.manual_seed(SEED)
    ours = QuantumConv2d(c_in, c_out, KERNEL, padding=KERNEL // 2, n_layers=LAYERS)
    layers = ours, nn.Conv2d(c_in, c_out, KERNEL, padding=KERNEL // 2), PatchNode(ours)
    x = torch.rand(n, c_in, size, size)
    if (error := difference(step(layers[2], x), step(ours, x))) > TOLERANCE:
        raise SystemExit(f"convolution and QNode differ by {error:.1e}: nothing is timed")
    turns: list[list[float]] = [[], [], []]
    for _ in range(TURNS):
        for layer, times in zip(layers, turns, strict=True):
            work = block(lambda layer=layer: step(layer, x), seconds / TURNS / len(layers))
            times.append(median(work))
    fast, plain, slow = (1e3 * median(times) for times in turns)
    to_plain = median(a / b for a, b in zip(turns[0], turns[1], strict=True))
    to_slow = median(a / b for a, b in zip(turns[2], turns[0], strict=True))
    sizes = str(n), f"{c_in} -> {c_out}", f"{size}x{size}", str(ours.circuit.n_wires)
    times = f"{fast:.2f}", f"{plain:.2f}", f"{to_plain:.1f}", f"{slow:.0f}", f"{to_slow:.0f}"
    return [*sizes, *times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="per row")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    options = parser.parse_args()
    rows = [compare(*size, options.seconds) for size in SIZES]
    title = f"A quantum convolution, {KERNEL}x{KERNEL}, {LAYERS} layers: forward, backward, float32"
    publish(Sheet(title, COLUMNS, rows, n_text=0), options.write, width=120)


if __name__ == "__main__":
    main()
