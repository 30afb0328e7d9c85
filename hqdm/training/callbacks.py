"""What happens beside the steps: sample grids, the loss curve, and leaving when told to."""

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

    Lightning's own `max_steps` goes on from an epoch's end by running through that end once more,
    which writes later losses beside the wrong steps.

    Args:
        max_steps: Optimiser steps of the whole run.
    """

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take no step more where a finished run is resumed."""
        self._check(trainer)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Let the last validation and checkpoint follow."""
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        if trainer.global_step >= self.max_steps:
            trainer.should_stop = True


class LastCheckpoint(Callback):
    """Keeps the checkpoint that resumes the run, and leaves when told to.

    It saves every few steps, at each epoch's end and where training ends. On SIGTERM or SIGINT it
    finishes the step, saves and leaves. After the last step of an epoch it waits for validation:
    a run that was resumed between the two would go on without.

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
        """Listen from the first validation on."""
        self._listen()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen where there was no first validation."""
        self._listen()

    def _listen(self) -> None:
        """Catch signals, which only the main thread can."""
        if self._previous or threading.current_thread() is not threading.main_thread():
            return
        for signum in (signal.SIGTERM, signal.SIGINT):
            self._previous[signum] = signal.signal(signum, self._notice)

    def _notice(self, signum: int, frame: FrameType | None) -> None:
        self._signum = signum

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where a checkpoint is due; between optimiser steps gradients would be lost.

        Raises:
            Interrupted: If a signal has come.
        """
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if trainer.is_last_batch or not stepped:
            return
        told = self._told(trainer)
        if told or trainer.should_stop or trainer.global_step % self.every_n_steps == 0:
            self._save(trainer)
        if told:
            raise Interrupted(self._signum or signal.SIGTERM, self.path)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after the validation of the epoch.

        Raises:
            Interrupted: If a signal has come.
        """
        if trainer.is_last_batch or self._saved_step != trainer.global_step:
            self._save(trainer)
        if self._told(trainer):
            raise Interrupted(self._signum or signal.SIGTERM, self.path)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave a checkpoint where there was nothing to train: the one that was resumed, if any."""
        if self._saved_step >= 0 or self.path.exists():
            return
        if not trainer.ckpt_path:
            self._save(trainer)
        elif trainer.is_global_zero:
            shutil.copy(trainer.ckpt_path, self.path)

    def _told(self, trainer: Trainer) -> bool:
        """Whether a signal has come to any of the processes."""
        told = self._signum is not None
        return trainer.strategy.reduce_boolean_decision(told, all=False)

    def _save(self, trainer: Trainer) -> None:
        """Put a whole new checkpoint in the place of the old one, with the logs up to it."""
        fresh = self.path.with_suffix(".part")
        trainer.save_checkpoint(fresh)
        if trainer.is_global_zero:
            fresh.replace(self.path)
        for logger in trainer.loggers:
            logger.save()
        self._saved_step = trainer.global_step

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hand the signals back."""
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous.clear()


class SampleGrid(Callback):
    """Draw a grid of samples with the averaged weights, always from the same noise.

    Args:
        folder: Where the pictures go, one a draw, named by the step.
        every_n_epochs: How often; 0 draws nothing.
        n: How many images.
        steps: DDIM steps.
    """

    def __init__(self, folder: Path, every_n_epochs: int = 1, n: int = 16, steps: int = 25) -> None:
        self.folder = folder
        self.every_n_epochs = every_n_epochs
        self.n = n
        self.steps = steps

    def draw(self, module: DiffusionModule) -> Tensor:
        """The images, `(n, C, H, W)`; of each class in turn where there are classes."""
        return sample_images(module.averaged, DDIM(self.steps), self.n).images

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, write a PNG and tell TensorBoard."""
        due = self.every_n_epochs and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if not (due and trainer.is_global_zero and isinstance(pl_module, DiffusionModule)):
            return
        picture = grid(self.draw(pl_module), columns=8)
        save_picture(picture, self.folder / f"step_{trainer.global_step:07d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("samples", (picture + 1) / 2, trainer.global_step)


class LossCurve(Callback):
    """Draw the loss curve when training ends.

    Args:
        logs: The folder of the CSV logger, with one sub-folder a start or resumption.
        path: The PNG to write.
    """

    def __init__(self, logs: Path, path: Path) -> None:
        self.logs = logs
        self.path = path

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the tables and draw."""
        if trainer.is_global_zero:
            save_loss_curve(self.logs, self.path)
