"""The amplitude-embedded denoisers: a step beside default.qubit, epochs, samples by one matrix.

    python benchmarks/amplitude_speed.py [--seconds 4] [--turns 5] [--quick] [--write FILE]

Three tables. *Q-Dense*: forward and backward pass of 200 states (20 images at 10 times) through the
guided network of 987 angles, and through its circuit as a QNode with the states as a batch on
default.qubit with backpropagation; values and gradients are compared before anything is timed.
*Epochs*: the training steps of one epoch and 100 samples of 10 steps, by the configurations.
*Unitary single sampling*: 1,000 samples of the sampler `uss`, which takes all steps at once, and of
`iterate`, which applies the network in each step, after the first call of either; `uss` then has
its matrix, which it keeps until the weights change. The contestants of a row take turns. The tables
have medians, and those of the ratios in the same turn with 95 % intervals. `OMP_NUM_THREADS` sets
the threads of all.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import intervals
import pennylane as qml
import torch
from qnode_layer import block, difference, step
from rich.console import Console
from torch import Tensor, nn

from hqdm import QDense, build_sampler, sample_images
from hqdm.cli.commands.fit import TrainingCLI
from hqdm.diffusion.denoiser import Denoiser
from hqdm.training.module import DiffusionModule
from hqdm.utils.files import write_file
from hqdm.utils.tables import Sheet
from hqdm.utils.versions import versions

SEED = 0
TOLERANCE = 1e-3  # relative to the largest number of a tensor, of sums of 200 x 64 float32 numbers
STATES, LAYERS, SAMPLES, DRAWN, TAU = 200, 47, 1000, 100, 10
PAPER = {"qdense_digits_guided": ("2", "9"), "qunet_digits": ("134", "859")}
"""Seconds of an epoch and of sampling in the paper, whose numbers of images are not stated."""
MATRICES = ("uss_digits", "uss_digits_guided")
STEP = "network", "states", "qubits", "hqdm, ms", "default.qubit, ms", "ratio"
EPOCH = "configuration", "updates", "epoch, s", "in the paper, s", "sampling, s", "in the paper, s"
SINGLE = "configuration", "samples", "one matrix, ms", "step by step, ms", "ratio"
Work = Callable[[], object]


class DenseNode(nn.Module):
    """The circuit of a guided Q-Dense as a QNode.

    Args:
        network: The network, whose parameter is shared.
        labels: The labels `(B,)` of the samples.
    """

    def __init__(self, network: QDense, labels: Tensor) -> None:
        super().__init__()
        (self.theta,) = network.parameters()
        self.angle = 2 * math.pi * labels / (network.n_classes or 1)
        n = self.theta.shape[2]

        @qml.qnode(qml.device("default.qubit", wires=n), diff_method="backprop")
        def node(pixels: Tensor, angle: Tensor, weights: Tensor) -> object:
            qml.AmplitudeEmbedding(pixels, wires=range(n - 1), normalize=True)
            qml.RX(angle, wires=n - 1)
            qml.StronglyEntanglingLayers(weights, wires=range(n))
            return qml.probs(wires=range(n))

        self.node = node

    def forward(self, x: Tensor) -> Tensor:
        """From `(B, 1, S, S)` to the same shape."""
        pixels = (x.flatten(1) + 1) / 2
        found = self.node(pixels, self.angle, math.pi * torch.tanh(self.theta[0]))
        kept = found[:, ::2] * pixels.shape[1]  # the ancilla is the last, least significant wire
        return (2 * kept.clamp(0, 1) - 1).to(x.dtype).view_as(x)


class Labelled(nn.Module):
    """A network with fixed labels.

    Args:
        network: The network.
        labels: The labels `(B,)`.
    """

    def __init__(self, network: QDense, labels: Tensor) -> None:
        super().__init__()
        self.network, self.labels = network, labels

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate the network."""
        return self.network(x, x.new_zeros(len(x)), self.labels)


def in_turns(works: Sequence[Work], turns: int, seconds: float) -> list[list[float]]:
    """Median seconds of a call in each turn, per contestant."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(turns):
        for work, taken in zip(works, times, strict=True):
            taken.append(median(block(work, seconds / turns / len(works))))
    return times


def ratio(slow: Sequence[float], fast: Sequence[float]) -> str:
    """The median ratio within a turn, and its interval."""
    found = [one / other for one, other in zip(slow, fast, strict=True)]
    low, high = intervals.of_median(found)
    return f"{median(found):.3g} ({low:.3g} to {high:.3g})"


def milliseconds(values: Sequence[float]) -> str:
    """The median."""
    return f"{1e3 * median(values):.3g}"


def dense(turns: int, seconds: float, n_states: int, n_layers: int) -> Sheet:
    """Q-Dense beside default.qubit."""
    torch.manual_seed(SEED)
    network = QDense(n_layers=n_layers, n_classes=2)
    labels = torch.arange(n_states) % 2
    x = 2 * torch.rand(n_states, 1, 8, 8) - 1
    ours, theirs = Labelled(network, labels), DenseNode(network, labels)
    if (error := difference(step(theirs, x), step(ours, x))) > TOLERANCE:
        raise SystemExit(f"Q-Dense and its QNode differ by {error:.1e}: nothing is timed")
    fast, slow = in_turns([lambda: step(ours, x), lambda: step(theirs, x)], turns, seconds)
    row = ["QDense", str(n_states), "7", milliseconds(fast), milliseconds(slow), ratio(slow, fast)]
    return Sheet(f"Q-Dense, {n_layers} layers: forward and backward, float32", STEP, [row])


Batches = list[Sequence[Tensor]]


def built(config: str) -> tuple[DiffusionModule, Batches]:
    """The module of a configuration, before training, and the batches of an epoch."""
    cli = TrainingCLI(["--config", config, "--seed_everything", str(SEED)])
    cli.datamodule.setup()
    return cli.model, list(cli.datamodule.train_dataloader())


def epoch(denoiser: Denoiser, optimizer: torch.optim.Optimizer, batches: Batches) -> None:
    """Take a training step per batch."""
    for images, labels in batches:
        optimizer.zero_grad()
        denoiser.loss(images, labels if denoiser.n_classes else None).backward()
        optimizer.step()


def samples(denoiser: Denoiser, sampler: str, n: int) -> Tensor:
    """Samples in one batch."""
    return sample_images(denoiser, build_sampler(sampler, TAU), n, batch_size=n).images


def epochs(turns: int, seconds: float, n_batches: int | None, n_samples: int) -> Sheet:
    """Seconds of an epoch and of sampling."""
    rows = []
    for config, paper in PAPER.items():
        module, batches = built(config)
        optimizer, _ = module.build_optimizer()
        denoiser, batches = module.denoiser, batches[:n_batches]
        works = (
            partial(epoch, denoiser, optimizer, batches),
            partial(samples, denoiser, "iterate", n_samples),
        )
        of_epoch, of_samples = in_turns(works, turns, seconds)
        times = f"{median(of_epoch):.3g}", paper[0], f"{median(of_samples):.3g}", paper[1]
        rows.append([config, str(len(batches)), *times])
    title = f"One epoch, and {n_samples} samples of {TAU} steps"
    return Sheet(title, EPOCH, rows)


def single(turns: int, seconds: float, n_samples: int) -> Sheet:
    """Unitary single sampling beside sampling step by step."""
    rows = []
    for config in MATRICES:
        denoiser = built(config)[0].denoiser.eval()
        works = [partial(samples, denoiser, name, n_samples) for name in ("uss", "iterate")]
        fast, slow = in_turns(works, turns, seconds)
        times = milliseconds(fast), milliseconds(slow), ratio(slow, fast)
        rows.append([config, str(n_samples), *times])
    return Sheet(f"Unitary single sampling of {TAU} steps", SINGLE, rows)


def main() -> None:
    """Measure, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="per row (4)")
    parser.add_argument("--turns", type=int, default=5, help="of each contestant (5)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one turn, as a test")
    parser.add_argument("--write", type=Path, help="a Markdown file for the tables")
    options = parser.parse_args()
    states, layers, batches, drawn, n = STATES, LAYERS, None, DRAWN, SAMPLES
    if options.quick:
        states, layers, batches, drawn, n = 4, 2, 1, 4, 4
        options.turns, options.seconds = 1, 0.0
    turns, seconds = options.turns, options.seconds
    sheets = [
        dense(turns, seconds, states, layers),
        epochs(turns, seconds, batches, drawn),
        single(turns, seconds, n),
    ]
    used = ", ".join(f"{key} {value}" for key, value in versions().items())
    note = f"{torch.get_num_threads()} threads, seed {SEED}, {used}."
    for sheet in sheets:
        Console().print(sheet.rich(), crop=False)
    print(note)
    if options.write:
        text = "\n".join(f"## {sheet.markdown()}" for sheet in sheets)
        write_file(
            options.write, f"# Speed of the amplitude-embedded denoisers\n\n{text}\n{note}\n"
        )


if __name__ == "__main__":
    main()
