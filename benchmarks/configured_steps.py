"""Processor time of a training step of configurations, in turns.

    OMP_NUM_THREADS=1 python benchmarks/configured_steps.py mnist_unet mnist_hybrid [--turns 7]

A step is the loss of a batch of random images, its gradient and an update of the optimiser, without
the loading of data and the average of the weights. The configurations take turns, of which the
first is excluded; seconds are processor time, so that other work of the machine does not count. The
last column is how many times longer a step takes than that of the first configuration, within a
turn, with the 95 % interval of its median. All have the batch size of the first configuration, or
`--batch`.
"""

import argparse
from collections.abc import Callable
from statistics import median
from time import process_time

import intervals
import torch
from rich.console import Console

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.nn.parts import count
from hqdm.training.module import DiffusionModule
from hqdm.utils.tables import Sheet

COLUMNS = ("configuration", "parameters", "step", "times the first")


def step_of(module: DiffusionModule, batch: int) -> Callable[[], None]:
    """A training step of a module with a batch of random images."""
    denoiser, (optimizer, _) = module.denoiser, module.build_optimizer()
    images = 2 * torch.rand(batch, *denoiser.image_shape) - 1
    labels = None if denoiser.n_classes is None else torch.zeros(batch, dtype=torch.long)

    def step() -> None:
        optimizer.zero_grad()
        denoiser.loss(images, labels).backward()
        optimizer.step()

    return step


def measure(configs: list[str], batch: int | None, turns: int) -> Sheet:
    """The table."""
    runs = {config: TrainingCLI(["--config", config]) for config in configs}
    size = batch or runs[configs[0]].datamodule.batch_size
    steps = {config: step_of(run.model, size) for config, run in runs.items()}
    seconds: dict[str, list[float]] = {config: [] for config in configs}
    for turn in range(turns + 1):
        for config, step in steps.items():
            started = process_time()
            step()
            if turn:
                seconds[config].append(process_time() - started)
    rows = []
    for config, taken in seconds.items():
        factors = [one / first for one, first in zip(taken, seconds[configs[0]], strict=True)]
        low, high = intervals.of_median(factors)
        n_parameters = count(runs[config].model.denoiser.parameters())
        ratio = f"{median(factors):.2f} ({low:.2f} to {high:.2f})"
        rows.append((config, f"{n_parameters:,}", f"{median(taken):.3g} s", ratio))
    return Sheet(f"training steps of {size} images", COLUMNS, rows)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="+", help="names or files of configurations")
    parser.add_argument("--batch", type=int, help="images in a batch")
    parser.add_argument("--turns", type=int, default=7, help="of each configuration (7)")
    options = parser.parse_args()
    Console().print(measure(options.configs, options.batch, options.turns).rich())


if __name__ == "__main__":
    main()
