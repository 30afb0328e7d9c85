"""One training run and its folder.

    runs/NAME/config.yaml       what was asked for
    runs/NAME/last.ckpt         where the run stands: every 500 steps, at each epoch's end, at the end
    runs/NAME/best.ckpt         the lowest validation loss
    runs/NAME/csv/version_K/    losses and gradient norms since the K-th start or resumption
    runs/NAME/tensorboard/      the same for TensorBoard
    runs/NAME/samples/          a grid of samples an epoch
    runs/NAME/loss.png          the loss curve
"""

import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from hqdm.checkpoint import CHECKPOINT_KEY, load_denoiser, read_checkpoint
from hqdm.data.module import ImageDataModule
from hqdm.errors import HQDMError
from hqdm.folders import make_writable
from hqdm.training.callbacks import GracefulStop, LossCurve, SampleGrid, Stopwatch
from hqdm.training.module import DiffusionModule
from hqdm.training.transfer import freeze, transfer

LAST, BEST = "last.ckpt", "best.ckpt"
CHECKPOINT_EVERY = 500


@dataclass
class RunFolder:
    """The folder of a run.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def last(self) -> Path:
        """The checkpoint that resumes the run."""
        return self.path / LAST

    def claim(self, overwrite: bool) -> None:
        """Make the folder, and refuse one that holds another run.

        Raises:
            HQDMError: If a run is there and `overwrite` is false, or nothing can be written.
        """
        if self.last.exists() and not overwrite:
            raise HQDMError(
                f"{self.path} already holds a run: --resume {self.last} goes on with it, "
                "--overwrite starts anew, --out names another folder"
            )
        make_writable(self.path)
        if overwrite:
            for stale in (*self.path.glob("*.ckpt"), *self.path.glob("samples/*.png")):
                stale.unlink()
            for logs in ("csv", "tensorboard"):
                shutil.rmtree(self.path / logs, ignore_errors=True)

    def callbacks(self, sample_every: int, checkpoint_every: int) -> list[Callback]:
        """What saves, draws and stops; the one that may leave comes last."""
        options: dict[str, Any] = {"dirpath": self.path, "enable_version_counter": False}
        return [
            Stopwatch(),
            SampleGrid(self.path / "samples", every_n_epochs=sample_every),
            LossCurve(self.path / "csv", self.path / "loss.png"),
            ModelCheckpoint(monitor="val_loss", filename="best", **options),
            ModelCheckpoint(filename="last", every_n_train_steps=checkpoint_every, **options),
            GracefulStop(self.last),
        ]

    def loggers(self) -> list[Logger]:
        """A table and TensorBoard."""
        return [
            CSVLogger(self.path, name="csv"),
            TensorBoardLogger(self.path, name="tensorboard"),
        ]


def prepare(
    module: DiffusionModule, init_from: str | None, frozen: Sequence[str], resume: str | None
) -> str:
    """Give the module the weights to start from.

    Args:
        module: The fresh module.
        init_from: A model whose matching tensors are taken over.
        frozen: Parts that are not trained; on resume those of the run, unless named.
        resume: A checkpoint of the same model.

    Returns:
        A line that says what was done; empty where there was nothing to do.

    Raises:
        HQDMError: If a checkpoint cannot be used, or a part does not exist.
    """
    said = ""
    if resume:
        own = read_checkpoint(Path(resume))[CHECKPOINT_KEY]
        module.denoiser.load_tensors(load_denoiser(resume, "raw").state_dict(), resume)
        frozen = frozen or own["frozen"]
        if own["seed"] != module.seed:
            raise HQDMError(
                f"{resume} was trained with seed {own['seed']}, the configuration says "
                f"{module.seed}: set seed_everything to {own['seed']}"
            )
    elif init_from:
        done = transfer(load_denoiser(init_from), module.denoiser)
        module.ema.module.load_state_dict(module.denoiser.state_dict())
        said = f"took {len(done.taken)} tensors from {init_from}, {len(done.fresh)} start fresh"
    if frozen:
        freeze(module.denoiser, frozen)
        module.frozen = list(frozen)
        said += f"{'; ' if said else ''}frozen: {', '.join(frozen)}"
    return said


def fit(
    module: DiffusionModule, data: ImageDataModule, trainer: Trainer, resume: str | None
) -> None:
    """Train, and leave a checkpoint of the end."""
    for harmless in (
        "Checkpoint directory .* exists and is not empty",
        "Experiment logs directory .* exists and is not empty",
        "`isinstance\\(treespec, LeafSpec\\)` is deprecated",
        "The '.*dataloader' does not have many workers",
    ):
        warnings.filterwarnings("ignore", message=harmless)
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, GracefulStop):
            trainer.save_checkpoint(callback.checkpoint)


def is_main_process() -> bool:
    """Whether this is the process that the user started, not one that DDP launched."""
    return os.environ.get("LOCAL_RANK", "0") == "0"
