"""Callbacks of training: checkpoints and signals, sample grids, loss curve."""

import math
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from hqdm.generation.sampling import Samples, sample_images
from hqdm.samplers.recursive import usual_sampler
from hqdm.storage.checkpoint import read_checkpoint, write_checkpoint
from hqdm.training.module import DiffusionModule
from hqdm.training.optim import VAL_LOSS
from hqdm.training.progress import TrainingProgress
from hqdm.utils.errors import HQDMError, Interrupted
from hqdm.utils.files import report, write_file
from hqdm.utils.pictures import grid, save_grid, save_loss_curve
from hqdm.utils.progress import Progress, silent

EPOCH_SECONDS = 2.0
"""An epoch that ends sooner after a checkpoint has none: writing may take longer than training."""
LOG_FILES = ("hparams.yaml", "events.out.tfevents.*")


class WholeCheckpoints(TorchCheckpointIO):
    """Writes the checkpoints of a trainer whole and with a digest."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint to a local path; Lightning itself writes to remote ones."""
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
        else:
            write_checkpoint(checkpoint, Path(path))


class LastCheckpoint(Callback):
    """Saves the checkpoint that resumes the run, and stops training on a signal.

    It saves every few steps, at the end of each epoch that does not follow another checkpoint
    within `EPOCH_SECONDS`, and at the end of training. On SIGTERM or SIGINT it completes the step,
    saves and stops. After the last step of an epoch it stops after validation, because a run
    resumed between the two would skip the validation.

    Args:
        path: The file to write.
        every_n_steps: Optimiser steps between checkpoints.
        first: A context in which the first checkpoint is saved.
    """

    def __init__(
        self,
        path: Path,
        every_n_steps: int,
        first: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.path = path
        self.every_n_steps = every_n_steps
        self._first = first
        self._saved_step = -1
        self._saved_at = -math.inf
        self._signum: int | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the signal handlers before the first validation."""
        self._install_handlers()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the signal handlers if there was no first validation."""
        self._install_handlers()
        _report_logs(trainer)

    def _install_handlers(self) -> None:
        """Handle signals, if this is the main thread, where alone that is possible."""
        if self._previous or threading.current_thread() is not threading.main_thread():
            return
        for signum in (signal.SIGTERM, signal.SIGINT):
            self._previous[signum] = signal.signal(signum, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self._signum = signum

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if a checkpoint is due, after optimiser steps only: gradients are not saved.

        Raises:
            Interrupted: If a signal was received.
        """
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if trainer.is_last_batch or not stepped:
            return
        interrupted = self._interrupted(trainer)
        if interrupted or trainer.should_stop or trainer.global_step % self.every_n_steps == 0:
            self._save(trainer)
        if interrupted:
            raise Interrupted(self._signum or signal.SIGTERM, self.path)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after the validation of the epoch.

        Raises:
            Interrupted: If a signal was received.
        """
        interrupted = self._interrupted(trainer)
        late = time.monotonic() - self._saved_at >= EPOCH_SECONDS
        due = trainer.strategy.reduce_boolean_decision(late, all=False)
        is_new = trainer.is_last_batch or self._saved_step != trainer.global_step
        if is_new and (due or interrupted or _is_last_epoch(trainer)):
            self._save(trainer)
        if interrupted:
            raise Interrupted(self._signum or signal.SIGTERM, self.path)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a checkpoint if no step was taken: the one that was resumed, if any."""
        resumed = trainer.ckpt_path
        if self._saved_step >= 0 or (resumed and Path(resumed).resolve() == self.path.resolve()):
            return
        if not resumed:
            self._save(trainer)
        elif trainer.is_global_zero:
            with self._first():
                write_file(self.path, Path(resumed).read_bytes())

    def _interrupted(self, trainer: Trainer) -> bool:
        """True if any of the processes has received a signal."""
        received = self._signum is not None
        return trainer.strategy.reduce_boolean_decision(received, all=False)

    def save_first(self, trainer: Trainer) -> None:
        """Save if this run has not saved yet."""
        if self._saved_step < 0:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        """Replace the checkpoint, and write the logs up to it."""
        with self._first() if self._saved_step < 0 else nullcontext():
            trainer.save_checkpoint(self.path)
        for logger in trainer.loggers:
            logger.save()
        _report_logs(trainer)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the previous signal handlers, and report the logs of the end."""
        _report_logs(trainer)
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous.clear()


def _is_last_epoch(trainer: Trainer) -> bool:
    """True at the end of an epoch that may be the last one.

    The trainer's own `fit_loop.done` changes the progress that is saved.
    """
    n_epochs, n_steps = trainer.max_epochs, trainer.max_steps
    return (
        trainer.should_stop
        or (n_epochs is not None and 0 <= n_epochs <= trainer.current_epoch + 1)
        or 0 <= n_steps <= trainer.global_step
    )


def _report_logs(trainer: Trainer) -> None:
    """Report the files of the loggers, which write them without `write_file`.

    Those of tables are reported before they exist, since the last one may be written at the end.
    """
    for logger in trainer.loggers if trainer.is_global_zero else ():
        if isinstance(logger, CSVLogger):
            report(Path(logger.log_dir) / "metrics.csv")
        if isinstance(logger, CSVLogger | TensorBoardLogger):
            for pattern in LOG_FILES:
                for file in Path(logger.log_dir).glob(pattern):
                    report(file)


class BestCheckpoint(Checkpoint):
    """Saves the checkpoint with the lowest validation loss.

    Args:
        path: The file to write.
        last: The callback that resumes the run; it saves before the first best checkpoint, so that
            this one never stands beside the last checkpoint of another run.
        score: The validation loss of the checkpoint in the file, of which the run is a
            continuation; infinite if there is none. Called at the start, in the main process.
    """

    def __init__(self, path: Path, last: LastCheckpoint, score: Callable[[], float]) -> None:
        self.path = path
        self.last = last
        self.score = math.inf
        self._score_of_file = score

    @property
    def state_key(self) -> str:
        """The key of the state in checkpoints.

        It is that of Lightning's callback, which earlier versions of this package used.
        """
        return (
            "ModelCheckpoint{'monitor': 'val_loss', 'mode': 'min', 'every_n_train_steps': 0, "
            "'every_n_epochs': 1, 'train_time_interval': None}"
        )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the score of the file; that of the resumed checkpoint may be older."""
        score = self._score_of_file() if trainer.is_global_zero else math.inf
        self.score = trainer.strategy.broadcast(score)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if the loss is lower than any before."""
        loss = trainer.callback_metrics.get(VAL_LOSS)
        fitting = trainer.state.fn is TrainerFn.FITTING and not trainer.sanity_checking
        if not fitting or loss is None or not float(loss) < self.score:
            return
        self.last.save_first(trainer)
        self.score = float(loss)
        trainer.save_checkpoint(self.path)

    def state_dict(self) -> dict[str, Any]:
        """The score, by which `best_score` finds it in the file."""
        return {"best_model_score": torch.tensor(self.score, dtype=torch.float64)}


def best_score(path: Path) -> float:
    """The validation loss of the checkpoint in a file; infinite if there is none.

    Raises:
        HQDMError: If the file cannot be read, or states no loss.
    """
    if not path.exists():
        return math.inf
    states = read_checkpoint(path).contents.get("callbacks")
    for key, state in states.items() if isinstance(states, dict) else ():
        if key.startswith("ModelCheckpoint{'monitor': 'val_loss'") and isinstance(state, dict):
            score = state.get("best_model_score")
            if isinstance(score, Tensor) and score.numel() == 1:
                return score.item()
    raise HQDMError(f"{path} states no validation loss: move it to another folder to continue")


class SampleGrid(Callback):
    """Generates a grid of samples with the averaged weights, always from the same noise.

    Args:
        folder: Folder of the pictures, which are named by the step.
        every_n_epochs: Epochs between pictures; 0 disables them.
        n: Number of images.
        steps: Number of steps, see `hqdm.samplers.recursive.usual_sampler`.
    """

    def __init__(self, folder: Path, every_n_epochs: int = 1, n: int = 16, steps: int = 25) -> None:
        self.folder = folder
        self.every_n_epochs = every_n_epochs
        self.n = n
        self.steps = steps

    def draw(self, module: DiffusionModule, progress: Progress = silent) -> Samples:
        """The images, of each class in turn if the network takes labels; in evaluation mode."""
        averaged = module.averaged
        sampler, mode = usual_sampler(averaged, self.steps), averaged.training
        try:
            return sample_images(averaged.eval(), sampler, self.n, progress=progress)
        finally:
            averaged.train(mode)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Generate samples, write a PNG file and log the picture to TensorBoard."""
        due = self.every_n_epochs and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if not (due and trainer.is_global_zero and isinstance(pl_module, DiffusionModule)):
            return
        bar = trainer.progress_bar_callback
        samples = self.draw(pl_module, bar.report if isinstance(bar, TrainingProgress) else silent)
        path = self.folder / f"step_{trainer.global_step:07d}.png"
        save_grid(samples.images, path, labels=samples.labels)
        picture = grid(samples.images, columns=8)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("samples", (picture + 1) / 2, trainer.global_step)


class LossCurve(Callback):
    """Plots the loss curve at the end of training.

    Args:
        logs: The folder of the CSV logger, with one sub-folder per start or resumption.
        path: The PNG file to write.
    """

    def __init__(self, logs: Path, path: Path) -> None:
        self.logs = logs
        self.path = path

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the tables and plot the losses."""
        if trainer.is_global_zero:
            save_loss_curve(self.logs, self.path)
