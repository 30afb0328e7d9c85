"""Section 2: time and memory of a training step of each 28x28 preset.

A step is loss, gradient and Adam. Each model is trained on random images in a separate process;
they are timed alternately, so that fluctuations of the machine affect all of them.
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from speed.memory import peak_bytes, reset_peak
from speed.settings import SEED, Report, Save, Settings
from speed.worker import Worker

PRESETS = ("UNet", "QVUNet", "QuanvUNet", "FullQVUNet")
QUICK_PRESETS = ("UNet", "FullQVUNet")
TARGETS = {"FullQVUNet": {"time": 2.0, "memory": 1.3}}  # ratios to the first preset
BATCH = 128
QUICK_BATCH = 2
REPEATS = 7
MEMORY_STEPS = 3  # from the second on with Adam's moments


class Trained:
    """A network that is trained on random images.

    Args:
        build: Builds the network, after torch's random seed is set.
        batch: Batch size.
    """

    def __init__(self, build: Callable[[], Any], batch: int) -> None:
        import torch

        import hqdm

        torch.manual_seed(SEED)
        self.denoiser = hqdm.Denoiser(build(), hqdm.CosineSchedule())
        self.optimizer = torch.optim.Adam(self.denoiser.parameters(), 1e-3)
        self.images = 2 * torch.rand(batch, *self.denoiser.sample_shape) - 1

    def seconds(self) -> float:
        """Take a step."""
        started = time.perf_counter()
        self.optimizer.zero_grad()
        self.denoiser.loss(self.images).backward()
        self.optimizer.step()
        return time.perf_counter() - started


class Stepper(Trained):
    """A preset of 28x28 images that is trained.

    Args:
        name: The preset.
        batch: Batch size.
    """

    def __init__(self, name: str, batch: int) -> None:
        import hqdm

        super().__init__(getattr(hqdm, name), batch)

    def memory(self) -> dict[str, int]:
        """Take the first steps; return the peak memory and the memory before them, in bytes."""
        before = reset_peak()
        for _ in range(MEMORY_STEPS):
            self.seconds()
        return {"before_bytes": before, "peak_bytes": peak_bytes()}


def start(name: str, batch: int, settings: Settings) -> Worker:
    """A model in a new process."""
    worker = Worker(sys.executable, f"{__name__}:Stepper", settings.threads)
    worker.make(name, batch)
    return worker


def run(settings: Settings, report: Report, save: Save) -> None:
    """Measure all presets."""
    batch = QUICK_BATCH if settings.quick else BATCH
    workers: dict[str, Worker] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name in QUICK_PRESETS if settings.quick else PRESETS:
        report(f"training step: {name}: memory")
        # Compilation, which is cached on disk, is excluded from the memory of a step.
        first = start(name, batch, settings)
        first.call("seconds")
        first.close()
        workers[name] = start(name, batch, settings)
        rows[name] = {"model": name, **workers[name].call("memory")}
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for i in range(1 if settings.quick else REPEATS):
        report(f"training step: turn {i + 1}")
        for name, worker in workers.items():
            seconds[name].append(worker.call("seconds"))
    for name, worker in workers.items():
        worker.close()
        rows[name]["seconds"] = statistics.median(seconds[name])
        rows[name]["steps"] = len(seconds[name])
    save({"batch": batch, "rows": list(rows.values())})
