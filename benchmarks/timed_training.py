"""Training by the clock: runs of `hqdm fit` that are scored after given seconds of training.

The clock is the processor time of the process, so that other work of the machine does not count:
with `OMP_NUM_THREADS=1` its seconds are those of one core. It runs from the first batch on, in
steps of training and what belongs to them (data, average of the weights), and is stopped during
scores and checkpoints. The scores are those of the averaged weights.
"""

import json
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from speed.report import Table

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.diffusion.denoiser import Denoiser
from hqdm.evaluation.protocol import RealImages, Scorer, ScoringProtocol
from hqdm.generation.sampling import guided
from hqdm.metrics.features import extractor_for, load_extractor
from hqdm.samplers import Sampler
from hqdm.training.module import DiffusionModule
from hqdm.utils.files import write_file
from hqdm.utils.pixels import to_float
from hqdm.utils.seeds import ImageNoise, generator

TEST_IMAGES = 1024  # largest number of test images of the error in x0
TEST_STREAM = 7
QUIET = (
    *("--trainer.logger", "false", "--trainer.enable_progress_bar", "false"),
    *("--trainer.limit_val_batches", "0", "--trainer.max_epochs", "-1"),
    *("--sample-every", "0", "--checkpoint-every", str(10**9), "--overwrite"),
)
"""Options of `hqdm fit` without what takes time beside the steps, and without an end."""


class Milestones(Callback):
    """Stops the clock and calls a function at the first step after given seconds of training.

    Args:
        seconds: The seconds, increasing; training ends after the last.
        reached: Called with the trainer, the module and the seconds of training so far; training
            ends if it returns True.
        before: Seconds of training before the run was resumed.
    """

    def __init__(
        self,
        seconds: Sequence[float],
        reached: Callable[[Trainer, DiffusionModule, float], object],
        before: float = 0.0,
    ) -> None:
        self.left = [value for value in seconds if value > before]
        self.reached = reached
        self.spent = before
        self.since = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.since = time.process_time()
        trainer.should_stop = not self.left

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Call the function if a milestone was passed.

        Not after the last batch of an epoch, from where a run does not resume exactly.
        """
        now = time.process_time()
        spent = self.spent + now - self.since
        if trainer.is_last_batch or not self.left or spent < self.left[0]:
            return
        self.left = [value for value in self.left if value > spent]
        self.spent = spent
        assert isinstance(pl_module, DiffusionModule)
        done = self.reached(trainer, pl_module, spent)
        trainer.should_stop = bool(done) or not self.left
        self.since = time.process_time()


class Judge:
    """Scores of a denoiser against the test images, and of its samples against the real ones.

    Args:
        protocol: Data set, number of samples, random seed.
        sampler: The sampler.
        shape: The shape of the images, (C, H, W).
    """

    def __init__(
        self, protocol: ScoringProtocol, sampler: Sampler, shape: tuple[int, int, int]
    ) -> None:
        self.protocol, self.sampler = protocol, sampler
        real = RealImages.load(protocol, shape)
        extractor = load_extractor(extractor_for(protocol.data, shape[1], shape[0]))
        self.scorer = Scorer(real, extractor, protocol.seed)
        self.test = to_float(real.test.images[:TEST_IMAGES])

    def fid(self, denoiser: Denoiser) -> float:
        """FID of samples, in the features of the classifier of the data set."""
        samples = self.protocol.draw(denoiser, self.sampler)
        return self.scorer.scores(samples.images)["fid"]

    @torch.no_grad()
    def x0_error(self, denoiser: Denoiser) -> float:
        """Mean squared error per pixel of the predicted x0 in noisy test images.

        The times are uniform in (0, 1] and the same for all denoisers, as is the noise; the
        prediction is clipped to the range of the data, as in sampling.
        """
        x0, seed = self.test, self.protocol.seed
        t = 1 - torch.rand(len(x0), generator=generator(seed, TEST_STREAM))
        alpha, sigma = (
            level.to(x0)[:, None, None, None] for level in denoiser.schedule(t.double())
        )
        x_t = alpha * x0 + sigma * ImageNoise(seed, len(x0)).draw(x0.shape[1:])
        clipped = guided(denoiser, 1.0)
        batches = zip(x_t.split(256), t.split(256), strict=True)
        found = torch.cat([clipped(x, times).x0 for x, times in batches])
        return float((found - x0).square().mean())


def averaged(module: DiffusionModule) -> Denoiser:
    """A copy of the denoiser with the averaged weights, in evaluation mode."""
    return deepcopy(module.averaged).eval()


def train(options: Sequence[str], folder: Path, milestones: Milestones) -> TrainingCLI:
    """Run `hqdm fit` up to the last milestone.

    Args:
        options: Options of `hqdm fit`.
        folder: Folder of the run.
        milestones: The clock.
    """
    cli = TrainingCLI([*options, *QUIET, "--out", str(folder)])
    cli.trainer.callbacks.insert(0, milestones)
    cli.run()
    return cli


def resumed(file: Path | None, settings: dict[str, Any], machine: dict[str, Any]) -> dict[str, Any]:
    """The results of the same settings in a file; without runs if there is no file.

    Args:
        file: The JSON file, if results are kept.
        settings: Settings of all runs.
        machine: This machine, which is added to those of the results unless it is among them.

    Raises:
        SystemExit: If the file has other settings.
    """
    results: dict[str, Any] = {"settings": settings, "machines": [], "runs": []}
    if file is not None and file.exists():
        results = json.loads(file.read_text())
        if results["settings"] != settings:
            raise SystemExit(f"{file} has other settings, {results['settings']}: use another --out")
    undated = [{**known, "date": ""} for known in results["machines"]]
    if {**machine, "date": ""} not in undated:
        results["machines"].append(machine)
    return results


def write_runs(file: Path, results: dict[str, Any], table: Table, script: str) -> None:
    """Write the runs so far as JSON, and their table beside it.

    Args:
        file: The JSON file.
        results: Its contents.
        table: The table.
        script: Name of the script in benchmarks/.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, json.dumps(results, indent=1) + "\n")
    note = f"<!-- written by benchmarks/{script} -->"
    write_file(file.with_suffix(".md"), f"{note}\n\n{table.section()}\n")
