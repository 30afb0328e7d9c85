"""Checks of the options of a trainer that Lightning itself refuses late, or with a traceback."""

import math

from lightning import Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

from hqdm.data.batches import BatchDataModule
from hqdm.diffusion.denoiser import Denoiser
from hqdm.nn.outline import check_batch
from hqdm.nn.parts import quantum_modules
from hqdm.training.base import TrainingModule
from hqdm.training.length import Length, callbacks_of
from hqdm.training.optim import VAL_LOSS, check_length, check_rates, check_validations
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError, check_names
from hqdm.utils.memory import check_processes

OWN_CALLBACKS = ("hqdm", "lightning")
"""Packages whose callbacks log no metrics of their own."""


def check_trainer(module: TrainingModule, data: BatchDataModule, trainer: Trainer) -> None:
    """Check the network and the options of a trainer before anything is written.

    Args:
        module: The module, with its frozen parts.
        data: The data, set up.
        trainer: The trainer of the run.

    Raises:
        HQDMError: If the trainer, its callbacks, the optimiser or the learning-rate schedule would
            refuse them later, or train nothing, or the network is unfit for training.
    """
    getattr(module.denoiser.network, "check_training", lambda: None)()
    whole("trainer.accumulate_grad_batches", trainer.accumulate_grad_batches, 1)
    if trainer.check_val_every_n_epoch is not None:
        whole("trainer.check_val_every_n_epoch", trainer.check_val_every_n_epoch, 1)
    if trainer.is_global_zero:  # the process that starts the others
        check_processes(trainer.num_devices)
    data.check_processes(trainer.world_size)
    _check_launcher(trainer)
    _check_finders(trainer)
    if (clip := trainer.gradient_clip_val) is not None and not clip >= 0:
        raise HQDMError(f"trainer.gradient_clip_val needs a number from 0, got {clip}")
    _check_shares(data, trainer)
    _check_validation_interval(data, trainer)
    _check_least_steps(data, trainer)
    module.check_run(data, Length.of(trainer, _batches_per_epoch(data, trainer)).steps)
    check_monitors(module, trainer)
    check_optimizer(module, data, trainer)
    check_batches(module, data, trainer)


def _check_launcher(trainer: Trainer) -> None:
    """Refuse strategies that train in processes started by Python's `multiprocessing`.

    The main process, which holds the folder and lists its files, would not see what they write.

    Raises:
        HQDMError: If the strategy is one.
    """
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise HQDMError(
            "trainer.strategy: processes of Python's multiprocessing are not supported: set ddp"
        )


def _check_finders(trainer: Trainer) -> None:
    """Refuse callbacks that train a copy of the run: they would write into its folder.

    Raises:
        HQDMError: If there is one.
    """
    for callback in callbacks_of(trainer):
        if isinstance(callback, BatchSizeFinder | LearningRateFinder):
            key = "data.batch_size" if isinstance(callback, BatchSizeFinder) else "model.lr"
            raise HQDMError(
                f"trainer.callbacks: {type(callback).__name__} trains before the run, in its "
                f"folder, and is not supported: set {key} yourself"
            )


def _check_shares(data: BatchDataModule, trainer: Trainer) -> None:
    """Check that a share of the batches is one batch or more.

    Raises:
        HQDMError: If it is less than one.
    """
    for name, share, n in (
        ("limit_train_batches", trainer.limit_train_batches, data.batches_per_epoch),
        ("limit_val_batches", trainer.limit_val_batches, len(data.val_dataloader())),
    ):
        if isinstance(share, float) and 0 < share * n < 1:
            key = "overfit_batches" if getattr(trainer, "overfit_batches", 0) else name
            kind = "training" if name == "limit_train_batches" else "validation"
            raise HQDMError(
                f"trainer.{key} {share:g} of {n} {kind} batches is less than one: give a larger "
                "share, or a whole number of batches"
            )


def _batches_per_epoch(data: BatchDataModule, trainer: Trainer) -> int:
    """Number of training batches per epoch, within the limit of the trainer."""
    batches, limit = data.batches_per_epoch, trainer.limit_train_batches
    return int(batches * limit) if isinstance(limit, float) else min(batches, limit)


def _check_validation_interval(data: BatchDataModule, trainer: Trainer) -> None:
    """Check that `val_check_interval` batches are within an epoch.

    Raises:
        HQDMError: If it does not, and batches are not counted over epochs.
    """
    every, batches = trainer.val_check_interval, _batches_per_epoch(data, trainer)
    if every == 0:
        raise HQDMError(
            "trainer.val_check_interval is 0: set limit_val_batches to 0 for no validation"
        )
    within = trainer.check_val_every_n_epoch is not None and trainer.limit_val_batches
    if within and isinstance(every, int) and not isinstance(every, bool) and every > batches:
        raise HQDMError(
            f"trainer.val_check_interval is {every}, and an epoch has {batches} batches: set it "
            "to that or less, or check_val_every_n_epoch to null to count batches over epochs"
        )


def _check_least_steps(data: BatchDataModule, trainer: Trainer) -> None:
    """Check that the least number of steps or epochs is not above the largest number of steps.

    Raises:
        HQDMError: If it is.
    """
    most = Length.of(trainer, math.inf).steps
    per_epoch = math.ceil(_batches_per_epoch(data, trainer) / trainer.accumulate_grad_batches)
    for name, least in (
        ("min_steps", trainer.min_steps or 0),
        ("min_epochs", (trainer.min_epochs or 0) * per_epoch),
    ):
        if least > most:
            raise HQDMError(
                f"trainer.{name} needs {least} steps, and trainer.max_steps is {most}: change one"
            )


def check_monitors(module: TrainingModule, trainer: Trainer) -> None:
    """Check that metrics which callbacks read are logged.

    Callbacks of other packages may log metrics; with one of them nothing is checked here.

    Raises:
        HQDMError: If a callback reads another one.
    """
    callbacks = callbacks_of(trainer)
    if any(type(c).__module__.partition(".")[0] not in OWN_CALLBACKS for c in callbacks):
        return
    logged = ["train_loss", VAL_LOSS, "grad_norm/classical", "epoch", "step"]
    logged += ["grad_norm/quantum"] if quantum_modules(module.denoiser) else []
    logged += ["lr"] if module.scheduler_factory is not None else []
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        if isinstance(monitor, str):
            check_names(f"metric of {type(callback).__name__}", [monitor], logged)


def check_optimizer(module: TrainingModule, data: BatchDataModule, trainer: Trainer) -> None:
    """Build the optimiser and the learning-rate schedule once.

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
        check_length(scheduler, Length.of(trainer, _batches_per_epoch(data, trainer)).steps)


def check_batches(module: TrainingModule, data: BatchDataModule, trainer: Trainer) -> None:
    """Check that a training batch fits into memory, on the CPU and without mixed precision.

    Args:
        module: The module, with its frozen parts.
        data: The data, set up.
        trainer: The trainer of the run.

    Raises:
        HQDMError: If it does not fit.
    """
    on_cpu = trainer.strategy.root_device.type == "cpu"
    network = module.denoiser.network
    of_images = isinstance(module.denoiser, Denoiser)
    if of_images and on_cpu and trainer.precision in ("32-true", "64-true"):
        per_process = data.batch_size // trainer.world_size
        check_batch(network, per_process, training=True)
