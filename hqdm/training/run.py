"""One training run and its folder.

    runs/NAME/config.yaml       what was asked for
    runs/NAME/last.ckpt         where the run stands: every 500 steps, at each epoch's end
    runs/NAME/best.ckpt         the lowest validation loss
    runs/NAME/csv/version_K/    losses and gradient norms since the K-th start or resumption
    runs/NAME/tensorboard/      the same for TensorBoard
    runs/NAME/samples/          a grid of samples an epoch
    runs/NAME/loss.png          the loss curve

Nothing is written anywhere else.
"""

import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from hqdm.data.module import ImageDataModule
from hqdm.diffusion.loading import denoiser_in, load_denoiser
from hqdm.storage.checkpoint import CHECKPOINT_KEY, LAST, read_checkpoint
from hqdm.training.callbacks import LastCheckpoint, LossCurve, SampleGrid, StepLimit
from hqdm.training.module import DiffusionModule
from hqdm.training.transfer import freeze, transfer
from hqdm.utils.errors import HQDMError
from hqdm.utils.files import make_writable

CHECKPOINT_EVERY = 500

# Warnings of Lightning that are not about anything a user of this package can change.
_HARMLESS = (
    "Checkpoint directory .* exists and is not empty",
    "Experiment logs directory .* exists and is not empty",
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",
    "The '.*dataloader' does not have many workers",
    "The number of training batches .* is smaller than the logging interval",
    "You're resuming from a checkpoint that ended before the epoch ended",
    "The dirpath has changed from",
    # Old checkpoints hold the state of this callback, which is gone.
    r"Be aware that when using `ckpt_path`.*: \['Stopwatch'\]",
)


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

    def claim(self, resume: Path | None, overwrite: bool) -> None:
        """Make the folder, and refuse one that holds another run, or this one further on.

        Args:
            resume: The checkpoint to go on from.
            overwrite: Replace what is there.

        Raises:
            HQDMError: If a run is there and `overwrite` is false, or nothing can be written.
        """
        going_on = resume is not None and resume.resolve() == self.last.resolve()
        present = sorted(self.path.glob("*.ckpt"))
        if present and not (going_on or overwrite):
            raise HQDMError(
                f"{self.path} already holds a run: --resume {self.last} goes on with it, "
                "--overwrite replaces it, --out names another folder"
            )
        make_writable(self.path)
        inside = resume is not None and resume.resolve().parent == self.path.resolve()
        if overwrite and not inside:
            for stale in (*present, *self.path.glob("samples/*.png")):
                stale.unlink()
            for logs in ("csv", "tensorboard"):
                shutil.rmtree(self.path / logs, ignore_errors=True)

    def callbacks(self, max_steps: int, sample_every: int, checkpoint_every: int) -> list[Callback]:
        """What saves, draws and stops; the one that may leave comes last.

        Args:
            max_steps: Optimiser steps of the run; negative for any number.
            sample_every: Epochs between sample grids; 0 draws none.
            checkpoint_every: Optimiser steps between checkpoints.
        """
        best = ModelCheckpoint(
            dirpath=self.path,
            filename="best",
            monitor="val_loss",
            enable_version_counter=False,
            # Before last.ckpt is written, which records the best loss so far.
            save_on_train_epoch_end=False,
        )
        return [
            *([StepLimit(max_steps)] if max_steps >= 0 else []),
            SampleGrid(self.path / "samples", every_n_epochs=sample_every),
            LossCurve(self.path / "csv", self.path / "loss.png"),
            best,
            LastCheckpoint(self.last, checkpoint_every),
        ]

    def loggers(self) -> list[Logger]:
        """A table and TensorBoard."""
        return [
            CSVLogger(self.path, name="csv"),
            TensorBoardLogger(self.path, name="tensorboard"),
        ]


def check_labels(module: DiffusionModule, data: ImageDataModule) -> None:
    """See that the network's classes are those of the data.

    Raises:
        HQDMError: If one has labels and the other has none, or there are too few classes.
    """
    n_classes = module.denoiser.n_classes
    if not data.labelled:
        if n_classes is not None:
            raise HQDMError(
                f"model.network.n_classes is {n_classes} but the batches have no labels: "
                "set data.labelled to true, or n_classes to null"
            )
        return
    needed = data.n_classes
    if n_classes is None or n_classes < needed:
        raise HQDMError(
            f"data set {data.name!r} has labels 0 to {needed - 1} but model.network.n_classes is "
            f"{'null' if n_classes is None else n_classes}: set it to {needed}"
        )


def prepare(
    module: DiffusionModule,
    data: ImageDataModule,
    init_from: str | None,
    frozen: Sequence[str],
    resume: Path | None,
) -> str:
    """Give the module the weights to start from.

    Args:
        module: The fresh module.
        data: The data, set up.
        init_from: A model whose matching tensors are taken over, unless the run is resumed.
        frozen: Parts that are not trained; on resume those of the run.
        resume: A checkpoint of the same run.

    Returns:
        A line that says what was done; empty where there was nothing to do.

    Raises:
        HQDMError: If a checkpoint cannot be used, or a part does not exist.
    """
    said = []
    if resume:
        frozen = _resumed(module, data, frozen, resume)
        said.append(f"going on from {resume}")
    elif init_from:
        done = transfer(load_denoiser(init_from), module.denoiser)
        module.ema.module.load_state_dict(module.denoiser.state_dict())
        said.append(f"took {len(done.taken)} tensors from {init_from}, {len(done.fresh)} are fresh")
    if frozen:
        freeze(module.denoiser, frozen)
        module.frozen = list(frozen)
        said.append(f"frozen: {', '.join(frozen)}")
    return "; ".join(said)


def _resumed(
    module: DiffusionModule, data: ImageDataModule, frozen: Sequence[str], resume: Path
) -> Sequence[str]:
    """See that a checkpoint belongs to this run; the parts that are frozen in it."""
    checkpoint = read_checkpoint(resume)
    # Names a damaged tensor in one line, as Lightning would not.
    denoiser_in(checkpoint, resume, "raw")
    own = checkpoint[CHECKPOINT_KEY]
    here = {"seed_everything": module.seed, "model": module.denoiser.config, "data": data.identity}
    there = {
        "seed_everything": own["seed"],
        "model": own["denoiser"],
        "data": checkpoint.get(type(data).__qualname__, {}),
    }
    mine, theirs = dict(_flat(here)), dict(_flat(there))
    for key in dict.fromkeys([*mine, *theirs]):
        if mine.get(key) != theirs.get(key):
            raise HQDMError(
                f"{resume} is of another run: {key} is {theirs.get(key)} there and "
                f"{mine.get(key)} here; resume with the configuration beside it"
            )
    if frozen and sorted(frozen) != sorted(own["frozen"]):
        raise HQDMError(
            f"{resume} was trained with {', '.join(own['frozen']) or 'nothing'} frozen: "
            "leave --freeze out, or start a new run with --init-from"
        )
    return own["frozen"]


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings by dotted name; where circuits are simulated is nothing a run depends on."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif key != "simulator":
            yield f"{prefix}{key}", value


def fit(
    module: DiffusionModule, data: ImageDataModule, trainer: Trainer, resume: Path | None
) -> None:
    """Train.

    Raises:
        HQDMError: If the trainer was configured as it cannot be, or the loss is not finite.
    """
    with warnings.catch_warnings():
        for harmless in _HARMLESS:
            warnings.filterwarnings("ignore", message=harmless)
        try:
            trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        except MisconfigurationException as error:
            raise HQDMError(str(error).splitlines()[0]) from None
