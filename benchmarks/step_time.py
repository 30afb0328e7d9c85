"""Seconds of one training step of each 28x28 preset, side by side in one run.

    python benchmarks/step_time.py [--batch 128] [--repeats 7]

A step is loss, gradient and Adam. The presets take turns, so that a busy moment of the machine hits
all of them; medians are printed, and ratios to the classical U-Net.
"""

import argparse
import platform
import statistics
import time

import torch
from rich.console import Console
from rich.table import Table

from hqdm import CosineSchedule, Denoiser, FullQVUNet, QuanvUNet, QVUNet, UNet

PRESETS = {"UNet": UNet, "QVUNet": QVUNet, "QuanvUNet": QuanvUNet, "FullQVUNet": FullQVUNet}


class Stepper:
    """A model in training on random images."""

    def __init__(self, name: str, batch: int) -> None:
        torch.manual_seed(0)
        self.denoiser = Denoiser(PRESETS[name](), CosineSchedule())
        self.optimizer = torch.optim.Adam(self.denoiser.parameters(), 1e-3)
        self.images = 2 * torch.rand(batch, 1, 28, 28) - 1

    def seconds(self) -> float:
        """Take a step."""
        started = time.perf_counter()
        self.optimizer.zero_grad()
        self.denoiser.loss(self.images).backward()
        self.optimizer.step()
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()

    steppers = {name: Stepper(name, options.batch) for name in PRESETS}
    for stepper in steppers.values():
        stepper.seconds()
    seconds: dict[str, list[float]] = {name: [] for name in PRESETS}
    for _ in range(options.repeats):
        for name, stepper in steppers.items():
            seconds[name].append(stepper.seconds())

    table = Table("model", "seconds a step", "against UNet")
    table.title = (
        f"batch {options.batch}, {torch.get_num_threads()} threads, {platform.machine()}, "
        f"torch {torch.__version__}, median of {options.repeats}"
    )
    classical = statistics.median(seconds["UNet"])
    for name, values in seconds.items():
        median = statistics.median(values)
        table.add_row(name, f"{median:.2f}", f"{median / classical:.2f}x")
    Console().print(table)


if __name__ == "__main__":
    main()
