"""What happens beside the steps: sample grids, the loss curve, and leaving when told to."""

import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from hqdm.errors import Interrupted
from hqdm.guidance import Clip
from hqdm.pictures import grid, save_loss_curve, save_picture
from hqdm.samplers import DDIM, ImageNoise
from hqdm.training.module import DiffusionModule


class GracefulStop(Callback):
    """On SIGTERM or SIGINT finish the step, save a checkpoint and leave.

    Args:
        checkpoint: The file to write.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.signum: int | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen to signals; they can only be caught in the main thread."""
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._previous[signum] = signal.signal(signum, self._notice)

    def _notice(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and leave, all processes at the same step.

        Raises:
            Interrupted: If a signal has come.
        """
        told = self.signum is not None
        if trainer.world_size > 1:
            told = trainer.strategy.reduce_boolean_decision(told, all=False)
        if told:
            trainer.save_checkpoint(self.checkpoint)
            raise Interrupted(self.signum or signal.SIGTERM, self.checkpoint)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hand the signals back."""
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous.clear()


class SampleGrid(Callback):
    """Draw a grid of samples with the averaged weights, always from the same noise.

    Args:
        folder: Where the pictures go, one a draw, named by the step.
        every_n_epochs: How often.
        n: How many images.
        steps: DDIM steps.
    """

    def __init__(self, folder: Path, every_n_epochs: int = 1, n: int = 16, steps: int = 25) -> None:
        self.folder = folder
        self.every_n_epochs = every_n_epochs
        self.n = n
        self.steps = steps

    @torch.no_grad()
    def draw(self, module: DiffusionModule) -> Tensor:
        """The images, `(n, C, H, W)`; of each class in turn where there are classes."""
        denoiser = module.averaged
        noise = ImageNoise(0, self.n)
        y = None
        if denoiser.n_classes is not None:
            y = (torch.arange(self.n) % denoiser.n_classes).to(module.device)
        x1 = noise.draw(denoiser.image_shape).to(module.device)
        return DDIM(self.steps)(Clip(denoiser), x1, y)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, write a PNG and tell TensorBoard."""
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if not (due and trainer.is_global_zero and isinstance(pl_module, DiffusionModule)):
            return
        picture = grid(self.draw(pl_module), columns=8)
        save_picture(picture, self.folder / f"step_{trainer.global_step:07d}.png")
        for logger in trainer.loggers:
            if hasattr(logger.experiment, "add_image"):
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


class Stopwatch(Callback):
    """Counts the seconds that training took, over interruptions."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting."""
        self._since = time.monotonic()

    def _count(self) -> None:
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the last stretch."""
        self._count()

    def state_dict(self) -> dict[str, Any]:
        """The seconds so far."""
        self._count()
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.seconds = state_dict["seconds"]
