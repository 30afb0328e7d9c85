"""Callbacks of training: step limit, checkpoints and signals, sample grids, loss curve."""

import shutil
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from hqdm.generation.sampling import sample_images
from hqdm.samplers import DDIM
from hqdm.training.module import DiffusionModule
from hqdm.utils.errors import Interrupted
from hqdm.utils.pictures import grid, save_loss_curve, save_picture


class StepLimit(Callback):
    """Ends training after a number of steps.

    A run resumed at the end of an epoch with Lightning's own `max_steps` executes this end again,
    so that later losses are logged with wrong steps.

    Args:
        max_steps: Optimiser steps of the whole run.
    """

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take no further step if the resumed run is complete."""
        self._check(trainer)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Stop after the step limit; the last validation and checkpoint still follow."""
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        if trainer.global_step >= self.max_steps:
            trainer.should_stop = True


class LastCheckpoint(Callback):
    """Saves the checkpoint that resumes the run, and stops training on a signal.

    It saves every few steps, at the end of each epoch and at the end of training. On SIGTERM or
    SIGINT it completes the step, saves and stops. After the last step of an epoch it stops after
    validation, because a run resumed between the two would skip the validation.

    Args:
        path: The file to write.
        every_n_steps: Optimiser steps between checkpoints.
    """

    def __init__(self, path: Path, every_n_steps: int) -> None:
        self.path = path
        self.every_n_steps = every_n_steps
        self._saved_step = -1
        self._signum: int | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the signal handlers before the first validation."""
        self._install_handlers()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the signal handlers if there was no first validation."""
        self._install_handlers()

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
        if trainer.is_last_batch or self._saved_step != trainer.global_step:
            self._save(trainer)
        if self._interrupted(trainer):
            raise Interrupted(self._signum or signal.SIGTERM, self.path)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a checkpoint if no step was taken: the one that was resumed, if any."""
        if self._saved_step >= 0 or self.path.exists():
            return
        if not trainer.ckpt_path:
            self._save(trainer)
        elif trainer.is_global_zero:
            shutil.copy(trainer.ckpt_path, self.path)

    def _interrupted(self, trainer: Trainer) -> bool:
        """True if any of the processes has received a signal."""
        received = self._signum is not None
        return trainer.strategy.reduce_boolean_decision(received, all=False)

    def _save(self, trainer: Trainer) -> None:
        """Replace the checkpoint by a complete new one, and write the logs up to it."""
        fresh = self.path.with_suffix(".part")
        trainer.save_checkpoint(fresh)
        if trainer.is_global_zero:
            fresh.replace(self.path)
        for logger in trainer.loggers:
            logger.save()
        self._saved_step = trainer.global_step

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the previous signal handlers."""
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous.clear()


class SampleGrid(Callback):
    """Generates a grid of samples with the averaged weights, always from the same noise.

    Args:
        folder: Folder of the pictures, which are named by the step.
        every_n_epochs: Epochs between pictures; 0 disables them.
        n: Number of images.
        steps: Number of DDIM steps.
    """

    def __init__(self, folder: Path, every_n_epochs: int = 1, n: int = 16, steps: int = 25) -> None:
        self.folder = folder
        self.every_n_epochs = every_n_epochs
        self.n = n
        self.steps = steps

    def draw(self, module: DiffusionModule) -> Tensor:
        """The images, `(n, C, H, W)`; of each class in turn if the network takes labels."""
        return sample_images(module.averaged, DDIM(self.steps), self.n).images

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Generate samples, write a PNG file and log the picture to TensorBoard."""
        due = self.every_n_epochs and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if not (due and trainer.is_global_zero and isinstance(pl_module, DiffusionModule)):
            return
        picture = grid(self.draw(pl_module), columns=8)
        save_picture(picture, self.folder / f"step_{trainer.global_step:07d}.png")
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
