"""One training run and its folder.

    runs/NAME/config.yaml       the configuration
    runs/NAME/last.ckpt         the latest checkpoint: every 500 steps and at the end of epochs
    runs/NAME/best.ckpt         the checkpoint with the lowest validation loss
    runs/NAME/csv/version_K/    losses and gradient norms since the K-th start or resumption
    runs/NAME/tensorboard/      the same for TensorBoard
    runs/NAME/samples/          one grid of samples per epoch
    runs/NAME/loss.png          the loss curve
    runs/NAME/provenance.json   versions, git state, host and time of each start
    runs/NAME/.hqdm-*           the list of these files, and marks of a run at work

No other files are written; see `hqdm.storage.run_files` and `hqdm.storage.claims`.
"""

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from traceback import walk_tb
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from hqdm.data.batches import BatchDataModule
from hqdm.diffusion.loading import load_model, model_in
from hqdm.storage.checkpoint import LAST, Checkpoint, read_checkpoint
from hqdm.storage.claims import hold
from hqdm.storage.run_files import BEST, CONFIG, LOSS, MANIFEST, PROVENANCE, RunFiles
from hqdm.training.base import TrainingModule
from hqdm.training.callbacks import (
    BestCheckpoint,
    LastCheckpoint,
    LossCurve,
    SampleGrid,
    WholeCheckpoints,
    best_score,
)
from hqdm.training.length import StepLimit
from hqdm.training.transfer import freeze, transfer
from hqdm.utils.checks import check_types, dotted
from hqdm.utils.errors import HQDMError, first_line
from hqdm.utils.files import (
    check_replaceable,
    observing,
    remove_parts,
    remove_parts_like,
    together,
    write_file,
)
from hqdm.utils.versions import provenance

CHECKPOINT_EVERY = 500
FOLDERS = ("csv", "tensorboard", "samples")
"""Folders in the folder of a run."""

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

# Exceptions by which Lightning refuses options.
_REFUSALS = (
    *(MisconfigurationException, ValueError, TypeError, RuntimeError, NotImplementedError),
    *(ImportError,),
)

# Warnings of Lightning that a user of this package cannot act on.
_HARMLESS = (
    "Checkpoint directory .* exists and is not empty",
    "Experiment logs directory .* exists and is not empty",
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",
    "The '.*dataloader' does not have many workers",
    "The number of training batches .* is smaller than the logging interval",
    "You're resuming from a checkpoint that ended before the epoch ended",
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
    _files: RunFiles = field(init=False)
    _config: str | None = field(init=False, default=None)
    _best: float = field(init=False, default=math.inf)

    def __post_init__(self) -> None:
        self._files = RunFiles(self.path)

    @property
    def last(self) -> Path:
        """The checkpoint that resumes the run."""
        return self.path / LAST

    @contextmanager
    def claim(
        self, resume: Path | None, overwrite: bool, also: Sequence[str] = ()
    ) -> Iterator[None]:
        """Hold the folder for a run, and list the files that are written.

        A run in the folder is replaced by the first checkpoint of the new one, and put back if an
        error comes first.

        Args:
            resume: The checkpoint from which the run continues, or None.
            overwrite: Replace a run, and files of the names that are written, in the folder.
            also: Names of files that are written beside those of the run.

        Raises:
            HQDMError: If the folder holds such files and `overwrite` is false, a file is read-only,
                another process holds the folder, or it is not writable.
        """
        with hold(self.path):
            self._files.recover()
            continued = resume is not None and resume.resolve() == self.last.resolve()
            inside = resume is not None and resume.resolve().parent == self.path.resolve()
            names = CONFIG, LAST, BEST, LOSS, PROVENANCE, *also
            targets = self._present(names)
            if not overwrite:
                # A run that was killed before its first checkpoint has nothing to lose.
                kept = targets & {LAST, BEST} and not continued
                self._refuse(targets - (set() if kept else self._files.own() | {LAST}))
            for name in (*names, *(f"{folder}/file" for folder in FOLDERS)):
                check_replaceable(self.path / name)
            self._remove_parts(names)
            try:
                if inside:
                    self._files.add(self._files.own())
                    self._best = best_score(self.path / BEST)
                elif overwrite:
                    self._files.set_aside(targets)
                with observing(self._files.record):
                    yield
            except BaseException:
                self._files.restore()
                raise

    def _present(self, names: Sequence[str]) -> set[str]:
        """The files of these names, and pictures of samples, that exist."""
        return {name for name in names if (self.path / name).exists()} | self._files.pictures()

    def _remove_parts(self, names: Sequence[str]) -> None:
        """Remove unfinished files that a killed run left."""
        for name in (*names, MANIFEST):
            remove_parts(self.path / name)
        remove_parts_like(self.path / "samples", r"step_\d+\.png")

    def _refuse(self, foreign: set[str]) -> None:
        """Refuse files that would be replaced.

        Raises:
            HQDMError: If there are any.
        """
        if {LAST, BEST} & foreign:
            raise HQDMError(
                f"{self.path} already holds a run: --resume {self.last} continues it, "
                "--overwrite replaces it, --out names another folder"
            )
        if foreign:
            raise HQDMError(
                f"{self.path} already holds {', '.join(sorted(foreign)[:5])}: "
                "--overwrite replaces, --out names another folder"
            )

    def write_config(self, text: str) -> None:
        """Write `config.yaml`, with the first checkpoint if a run is replaced."""
        if self._files.replacing:
            self._config = text
        else:
            write_file(self.path / CONFIG, text)

    def record_start(self) -> None:
        """Add the origin of what this start computes to `provenance.json`."""
        path = self.path / PROVENANCE
        try:
            starts = list(json.loads(path.read_text(encoding="utf-8"))["starts"])
        except (OSError, ValueError, KeyError, TypeError):  # the first start, or a damaged file
            starts = []
        content = {"starts": [*starts, provenance()]}
        write_file(path, json.dumps(content, indent=2) + "\n")

    @contextmanager
    def first_save(self) -> Iterator[None]:
        """Replace the run in the folder, if any, by the checkpoint that is saved inside."""
        with together():
            if self._config is not None:
                write_file(self.path / CONFIG, self._config)
            yield
        if self._config is not None:
            self._files.settle()

    def callbacks(self, max_steps: int, sample_every: int, checkpoint_every: int) -> list[Callback]:
        """The callbacks of a run; the one that may stop on a signal is the last.

        Args:
            max_steps: Optimiser steps of the run; negative for no limit.
            sample_every: Epochs between sample grids; 0 disables them.
            checkpoint_every: Optimiser steps between checkpoints.
        """
        last = LastCheckpoint(self.last, checkpoint_every, self.first_save)
        return [
            *([StepLimit(max_steps)] if max_steps >= 0 else []),
            SampleGrid(self.path / "samples", every_n_epochs=sample_every),
            LossCurve(self.path / "csv", self.path / LOSS),
            BestCheckpoint(self.path / BEST, last, self.best_score),
            last,
        ]

    def best_score(self) -> float:
        """The validation loss of the checkpoint that the run continues; infinite without one."""
        return self._best

    def loggers(self) -> list[Logger]:
        """The loggers of a run: CSV tables and TensorBoard."""
        return [
            CSVLogger(self.path, name="csv"),
            TensorBoardLogger(self.path, name="tensorboard"),
        ]


def check_labels(module: TrainingModule, data: BatchDataModule) -> None:
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


def prepare(
    module: TrainingModule,
    data: BatchDataModule,
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
    checkpoint: Checkpoint | None = None
    if resume:
        checkpoint = _resumed(module, data, frozen, resume)
        frozen = checkpoint.frozen
        notes.append(f"resuming from {resume}")
    elif init_from:
        done = transfer(load_model(init_from, module.kind), module.denoiser)
        module.ema.module.load_state_dict(module.denoiser.state_dict())
        notes.append(
            f"copied {len(done.taken)} tensors from {init_from}, "
            f"{len(done.fresh)} are newly initialised"
        )
    if frozen:
        freeze(module.denoiser, frozen)
        module.frozen = list(frozen)
        notes.append(f"frozen: {', '.join(frozen)}")
    if checkpoint:
        check_optimizer_state(module, checkpoint)
    return "; ".join(notes)


def _resumed(
    module: TrainingModule, data: BatchDataModule, frozen: Sequence[str], resume: Path
) -> Checkpoint:
    """Read a checkpoint and check that it belongs to this run."""
    checkpoint = read_checkpoint(resume)
    # Report a damaged part in one line, unlike Lightning.
    for weights in ("averaged", "raw"):
        model_in(checkpoint, module.kind, weights)
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
    expected, found = map(_compared, (configured, saved))
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
    return checkpoint


def check_optimizer_state(module: TrainingModule, checkpoint: Checkpoint) -> None:
    """Check that a checkpoint has the state of the module's optimiser.

    Without it torch starts from an empty state. The expected form of the state, names and shapes by
    parameter, is that of a copy of the optimiser after one step with gradients of zero.

    Args:
        module: The module, with its frozen parts.
        checkpoint: The training checkpoint.

    Raises:
        HQDMError: If the state is missing, incomplete, or of another optimiser or other parameters.
    """
    trial = deepcopy(module.build_optimizer()[0])
    for group in trial.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    if not isinstance(trial, torch.optim.LBFGS):  # whose step needs the loss
        type(trial).step(trial)  # a schedule binds `step` to the original
    wrong = HQDMError(
        f"{checkpoint.source} does not hold the state of the optimiser {type(trial).__name__}: "
        "use another checkpoint of the run and its optimiser, or start a new run with --init-from"
    )
    try:
        (found,) = checkpoint.contents["optimizer_states"]
        sizes = [len(group["params"]) for group in found["param_groups"]]
        states = {key: _form(state) for key, state in found["state"].items()}
    except (KeyError, ValueError, TypeError, AttributeError):
        raise wrong from None
    expected = trial.state_dict()
    forms = {key: _form(state) for key, state in expected["state"].items()}
    if sizes != [len(group["params"]) for group in expected["param_groups"]]:
        raise wrong
    if checkpoint.contents.get("global_step") == 0 or isinstance(trial, torch.optim.LBFGS):
        return
    # A parameter that never had a gradient has no state.
    if bool(forms) != bool(states) or not states.items() <= forms.items():
        raise wrong


def _form(state: Mapping[str, Any]) -> dict[str, Any]:
    """The names in the state of a parameter, with the shapes of tensors."""
    return {
        name: tuple(value.shape) if isinstance(value, torch.Tensor) else None
        for name, value in state.items()
    }


def _compared(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by dotted name, without the simulator, on which results do not depend."""
    return {k: v for k, v in dotted(config) if k.rpartition(".")[2] != "simulator"}


def fit(
    module: TrainingModule, data: BatchDataModule, trainer: Trainer, resume: Path | None
) -> None:
    """Train the module.

    Raises:
        HQDMError: If the configuration of the trainer is invalid, or the loss is not finite.
    """
    with warnings.catch_warnings():
        for harmless in _HARMLESS:
            warnings.filterwarnings("ignore", message=harmless)
        if isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            trainer.strategy.checkpoint_io = WholeCheckpoints()
        try:
            trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        except OSError as error:  # of the loggers; other files raise an HQDMError
            raise HQDMError(
                f"training stopped: {error.strerror or error}"
                f"{f' ({error.filename})' if error.filename else ''}: free space, and --resume the "
                "last checkpoint"
            ) from None
        except _REFUSALS as error:
            if isinstance(error, HQDMError) or not _raised_by_lightning(error):
                raise
            raise HQDMError(f"trainer: {first_line(error).strip()}") from None


def _raised_by_lightning(error: Exception) -> bool:
    """True if an error was raised in the code of Lightning, which is about options of the trainer.

    One that was raised in other code, of torch or of a user, comes with its traceback.
    """
    frames = list(walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_globals.get("__name__", "").startswith("lightning.")
