"""One training run and its folder.

    runs/NAME/config.yaml       the configuration
    runs/NAME/last.ckpt         the latest checkpoint: every 500 steps and at the end of each epoch
    runs/NAME/best.ckpt         the checkpoint with the lowest validation loss
    runs/NAME/csv/version_K/    losses and gradient norms since the K-th start or resumption
    runs/NAME/tensorboard/      the same for TensorBoard
    runs/NAME/samples/          one grid of samples per epoch
    runs/NAME/loss.png          the loss curve

No other files are written.
"""

import math
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
from hqdm.storage.checkpoint import LAST, read_checkpoint
from hqdm.training.callbacks import LastCheckpoint, LossCurve, SampleGrid, StepLimit
from hqdm.training.module import DiffusionModule
from hqdm.training.optim import check_length, check_rates, check_validations
from hqdm.training.transfer import freeze, transfer
from hqdm.utils.checks import check_types
from hqdm.utils.errors import HQDMError, first_line
from hqdm.utils.files import make_writable

CHECKPOINT_EVERY = 500

# The parts of a checkpoint from which Lightning resumes a run.
_RESUMED = {
    "pytorch-lightning_version": str,
    "epoch": int,
    "global_step": int,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
}

# Warnings of Lightning that a user of this package cannot act on.
_HARMLESS = (
    "Checkpoint directory .* exists and is not empty",
    "Experiment logs directory .* exists and is not empty",
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",
    "The '.*dataloader' does not have many workers",
    "The number of training batches .* is smaller than the logging interval",
    "You're resuming from a checkpoint that ended before the epoch ended",
    "The dirpath has changed from",
    # Old checkpoints contain the state of this callback, which no longer exists.
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
        """Create the folder, and refuse one that contains a run other than the resumed one.

        Args:
            resume: The checkpoint from which the run continues, or None.
            overwrite: Replace a run in the folder.

        Raises:
            HQDMError: If the folder contains a run and `overwrite` is false, or is not writable.
        """
        continued = resume is not None and resume.resolve() == self.last.resolve()
        present = sorted(self.path.glob("*.ckpt"))
        if present and not (continued or overwrite):
            raise HQDMError(
                f"{self.path} already holds a run: --resume {self.last} continues it, "
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
        """The callbacks of a run; the one that may stop on a signal is the last.

        Args:
            max_steps: Optimiser steps of the run; negative for no limit.
            sample_every: Epochs between sample grids; 0 disables them.
            checkpoint_every: Optimiser steps between checkpoints.
        """
        best = ModelCheckpoint(
            dirpath=self.path,
            filename="best",
            monitor="val_loss",
            enable_version_counter=False,
            # Saved before last.ckpt, which records the best loss so far.
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
        """The loggers of a run: CSV tables and TensorBoard."""
        return [
            CSVLogger(self.path, name="csv"),
            TensorBoardLogger(self.path, name="tensorboard"),
        ]


def check_labels(module: DiffusionModule, data: ImageDataModule) -> None:
    """Check that the network's classes match the labels of the data.

    Raises:
        HQDMError: If only one of them has labels, or the network has too few classes.
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


def check_optimizer(module: DiffusionModule, data: ImageDataModule, trainer: Trainer) -> None:
    """Build the optimiser and the learning-rate schedule once, before anything is written.

    Args:
        module: The module, with its frozen parts.
        data: The data, set up.
        trainer: The trainer of the run.

    Raises:
        HQDMError: If they refuse their options, would train nothing, or do not fit the training.
    """
    optimizer, scheduler = module.build_optimizer()
    check_rates(optimizer, scheduler)
    if scheduler is not None:
        check_validations(scheduler, trainer)
        check_length(scheduler, _steps(data, trainer))


def _steps(data: ImageDataModule, trainer: Trainer) -> float:
    """The largest number of optimiser steps of a run; infinite without a limit."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set when used
    limits = [callback.max_steps for callback in callbacks if isinstance(callback, StepLimit)]
    if trainer.max_steps >= 0:
        limits.append(trainer.max_steps)
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        batches, limit = data.batches_per_epoch, trainer.limit_train_batches
        batches = int(batches * limit) if isinstance(limit, float) else min(batches, limit)
        limits.append(trainer.max_epochs * math.ceil(batches / trainer.accumulate_grad_batches))
    return min(limits, default=math.inf)


def prepare(
    module: DiffusionModule,
    data: ImageDataModule,
    init_from: str | None,
    frozen: Sequence[str],
    resume: Path | None,
) -> str:
    """Set the initial weights and the frozen parts of a module.

    Args:
        module: The newly built module.
        data: The data, set up.
        init_from: A model whose matching tensors are copied, unless the run is resumed.
        frozen: Parts that are not trained; for a resumed run those of the run.
        resume: A checkpoint of the same run.

    Returns:
        One line about the changes; empty if there are none.

    Raises:
        HQDMError: If a checkpoint cannot be used, or a part does not exist.
    """
    notes = []
    if resume:
        frozen = _resumed(module, data, frozen, resume)
        notes.append(f"resuming from {resume}")
    elif init_from:
        done = transfer(load_denoiser(init_from), module.denoiser)
        module.ema.module.load_state_dict(module.denoiser.state_dict())
        notes.append(
            f"copied {len(done.taken)} tensors from {init_from}, "
            f"{len(done.fresh)} are newly initialised"
        )
    if frozen:
        freeze(module.denoiser, frozen)
        module.frozen = list(frozen)
        notes.append(f"frozen: {', '.join(frozen)}")
    return "; ".join(notes)


def _resumed(
    module: DiffusionModule, data: ImageDataModule, frozen: Sequence[str], resume: Path
) -> Sequence[str]:
    """Check that a checkpoint belongs to this run, and return its frozen parts."""
    checkpoint = read_checkpoint(resume)
    # Report a damaged part in one line, unlike Lightning.
    for weights in ("averaged", "raw"):
        denoiser_in(checkpoint, weights)
    check_types(checkpoint.contents, _RESUMED, f"{resume} is not a whole checkpoint: ")
    for key in _RESUMED:
        if key not in checkpoint.contents:
            raise HQDMError(f"{resume} is not a whole checkpoint: it holds no {key!r}")
    configured = {
        "seed_everything": module.seed,
        "model": module.denoiser.config,
        "data": data.identity,
    }
    saved = {
        "seed_everything": checkpoint.seed,
        "model": checkpoint.denoiser,
        "data": checkpoint.contents.get(type(data).__qualname__),
    }
    expected, found = dict(_flat(configured)), dict(_flat(saved))
    for key in dict.fromkeys([*expected, *found]):
        if expected.get(key) != found.get(key):
            raise HQDMError(
                f"{resume} is of another run: {key} is {found.get(key)} in the checkpoint and "
                f"{expected.get(key)} in the configuration; resume with the config.yaml of its run"
            )
    if odd := set(module.state_dict()) ^ set(checkpoint.tensors):
        raise HQDMError(f"{resume} is of another architecture: see the tensor {min(odd)!r}")
    if frozen and sorted(frozen) != sorted(checkpoint.frozen):
        raise HQDMError(
            f"{resume} was trained with {', '.join(checkpoint.frozen) or 'nothing'} frozen: "
            "leave --freeze out, or start a new run with --init-from"
        )
    return checkpoint.frozen


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings by dotted name, without the simulator, on which results do not depend."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif key != "simulator":
            yield f"{prefix}{key}", value


def fit(
    module: DiffusionModule, data: ImageDataModule, trainer: Trainer, resume: Path | None
) -> None:
    """Train the module.

    Raises:
        HQDMError: If the configuration of the trainer is invalid, or the loss is not finite.
    """
    with warnings.catch_warnings():
        for harmless in _HARMLESS:
            warnings.filterwarnings("ignore", message=harmless)
        try:
            trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        except MisconfigurationException as error:
            raise HQDMError(first_line(error)) from None
