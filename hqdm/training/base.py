"""The Lightning module of any kind of model: optimiser, averaging of the weights, checkpoints.

The random numbers of the k-th batch depend only on the random seed and k. They are therefore the
same for a run that was interrupted.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from lightning import LightningModule
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from hqdm.diffusion.loading import model_in
from hqdm.diffusion.model import Model
from hqdm.nn.parts import classical_parameters, quantum_modules, quantum_parameters
from hqdm.storage.checkpoint import CHECKPOINT_KEY, Checkpoint, ModuleOptions, read_checkpoint
from hqdm.storage.formats import MODEL_VERSION
from hqdm.training.ema import EMA
from hqdm.training.finite import LossCheck
from hqdm.training.optim import VAL_LOSS, check_rates, check_validations, explained
from hqdm.training.precision import set_precision
from hqdm.training.transfer import freeze
from hqdm.utils.checks import device_named, finite, positive, whole
from hqdm.utils.errors import HQDMError, unknown
from hqdm.utils.registry import requirements
from hqdm.utils.seeds import generator

NOISE_STREAM, VALIDATION_STREAM = 2, 3
LR, BETAS = 1e-3, (0.9, 0.99)
LR_FACTOR = "lr_factor"  # of a group of parameters of the optimiser
EXCLUDED = {
    "optimizer": ("lr", "betas"),
    "ema_decay": ("ema_sigma_rel",),
    "ema_sigma_rel": ("ema_decay",),
}
"""The saved options that an argument of `load_from_checkpoint` takes the place of."""

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler | ReduceLROnPlateau]


class TrainingModule(LightningModule):
    """Trains a model and updates an exponential moving average (EMA) of the weights.

    Args:
        denoiser: The model to train.
        lr: Learning rate of Adam; None is 0.001. Excludes `optimizer`.
        betas: Decay rates of Adam's moments; None is 0.9 and 0.99. Excludes `optimizer`.
        ema_decay: Decay of the average at each update; None is 0.995. Excludes `ema_sigma_rel`.
        ema_every: Steps between updates of the average.
        ema_start: The step up to which the average is a copy of the weights.
        ema_sigma_rel: Relative width of an average that follows the run, see `hqdm.training.ema`;
            None is a constant decay.
        seed: Random seed of what the loss draws.
        optimizer: Builds the optimiser from the parameters; None is Adam.
        lr_scheduler: Builds the learning-rate schedule from the optimiser. It is updated after
            every step (`ReduceLROnPlateau`: after every validation, with its loss); None is a
            constant learning rate.
        angle_lr_factor: Factor of the learning rate for the angles of circuits, which form a second
            parameter group of the optimiser unless it is 1. Another one needs trained angles.

    Attributes:
        kind: The class of the models that it trains.

    Raises:
        HQDMError: If a number is out of range, or `lr` or `betas` are given with an `optimizer`,
            or `ema_decay` with `ema_sigma_rel`.
    """

    kind: ClassVar[type[Model]]

    def __init__(
        self,
        denoiser: Model,
        lr: float | None = None,
        betas: tuple[float, float] | None = None,
        ema_decay: float | None = None,
        ema_every: int = 10,
        ema_start: int = 100,
        ema_sigma_rel: float | None = None,
        seed: int = 0,
        optimizer: OptimizerFactory | None = None,
        lr_scheduler: SchedulerFactory | None = None,
        angle_lr_factor: float = 1.0,
    ) -> None:
        super().__init__()
        if optimizer is not None and (lr, betas) != (None, None):
            raise HQDMError(
                "lr and betas are options of the default Adam: give them to the optimizer instead"
            )
        self.lr = LR if lr is None else lr
        self.betas = BETAS if betas is None else betas
        for name, came, ok, expected in (
            ("lr", self.lr, finite("lr", self.lr) > 0, "a positive number"),
            ("betas", self.betas, _are_betas(self.betas), "two numbers in [0, 1)"),
        ):
            if not ok:
                raise HQDMError(f"{name} needs {expected}, got {came}")
        whole("seed", seed)
        self.angle_lr_factor = positive("angle_lr_factor", angle_lr_factor)
        self.denoiser = denoiser
        self.ema = EMA(denoiser, ema_decay, ema_every, ema_start, ema_sigma_rel)
        self.seed = seed
        self.optimizer_factory, self.scheduler_factory = optimizer, lr_scheduler
        self.batches_seen = 0
        self._losses = LossCheck()
        self.frozen: list[str] = []

    @abstractmethod
    def batch_loss(
        self, model: Any, batch: Any, draws: torch.Generator, training: bool
    ) -> tuple[Tensor, int]:
        """The loss of a batch.

        Args:
            model: The model, or that with the averaged weights.
            batch: The batch.
            draws: The generator of the random numbers.
            training: Whether the loss is that of training.

        Returns:
            The loss, a scalar, and the number of samples.
        """

    def check_run(self, data: Any, steps: float) -> None:
        """Check the data and the length of a run before it starts; nothing unless overridden.

        Args:
            data: The data, set up.
            steps: The largest number of optimiser steps.

        Raises:
            HQDMError: If the data are of another kind than the model.
        """

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of one batch.

        Raises:
            HQDMError: If the loss is not a finite number (on a GPU that of the step before), or
                the batch does not fit the model.
        """
        draws = generator(self.seed, self.batches_seen, NOISE_STREAM)
        loss, n = self.batch_loss(self.denoiser, batch, draws, training=True)
        if next(self._trained(), None) is None:
            # The gradient of the empty parameter, see build_optimizer.
            loss = loss + self._optimizer().param_groups[0]["params"][0].sum()
        self._losses.add(loss, self.global_step, self._rate)
        self.batches_seen += 1
        self.log("train_loss", loss, prog_bar=True, sync_dist=True, batch_size=n)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """The loss of the averaged weights, with the same random numbers at every validation."""
        self._log_loss(VAL_LOSS, batch, batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """The loss of the averaged weights, as in validation."""
        self._log_loss("test_loss", batch, batch_idx)

    def _log_loss(self, name: str, batch: Any, batch_idx: int) -> None:
        draws = generator(self.seed, batch_idx, VALIDATION_STREAM)
        loss, n = self.batch_loss(self.ema.module, batch, draws, training=False)
        self.log(name, loss, prog_bar=True, sync_dist=True, batch_size=n)

    def configure_optimizers(self) -> Any:
        """The optimiser of the parameters that are not frozen, and the learning-rate schedule.

        Raises:
            HQDMError: If they refuse their options, would train nothing, or do not fit the trainer.
        """
        check_rates(*self.build_optimizer())
        optimizer, scheduler = self.build_optimizer()
        if scheduler is None:
            return optimizer
        trainer = self._trainer
        if trainer is not None:
            check_validations(scheduler, trainer)
        if isinstance(scheduler, ReduceLROnPlateau):
            every = 1 if trainer is None else trainer.check_val_every_n_epoch
            schedule = {
                "scheduler": scheduler,
                "interval": "epoch",
                "frequency": every,
                "monitor": VAL_LOSS,
            }
        else:
            schedule = {"scheduler": scheduler, "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def build_optimizer(self) -> tuple[Optimizer, LRScheduler | ReduceLROnPlateau | None]:
        """A new optimiser of the parameters that are not frozen, and its schedule, if any.

        A control may have none: its optimiser gets an empty parameter, so that it runs through a
        training of any length and is scored as the models that are trained.

        Raises:
            HQDMError: If they refuse their options, or a learning rate of angles has no angles.
        """
        trained = list(self._trained()) or [torch.nn.Parameter(torch.empty(0))]
        default = partial(torch.optim.Adam, lr=self.lr, betas=self.betas)
        with explained("optimizer"):
            optimizer = (self.optimizer_factory or default)(self._groups(trained))
        for group in optimizer.param_groups:
            if LR_FACTOR in group:
                group["lr"] = group["lr"] * group[LR_FACTOR]
        if self.scheduler_factory is None:
            return optimizer, None
        with explained("lr_scheduler"):
            return optimizer, self.scheduler_factory(optimizer)

    def _trained(self) -> Iterator[torch.nn.Parameter]:
        """The parameters that are not frozen."""
        return (p for p in self.denoiser.parameters() if p.requires_grad)

    def _groups(self, trained: list[torch.nn.Parameter]) -> Iterable[Any]:
        """The parameters, or their groups if angles have a learning rate of their own.

        Raises:
            HQDMError: If angles would have one, and none is trained.
        """
        if self.angle_lr_factor == 1:
            return trained
        angles = {id(parameter) for parameter in quantum_parameters(self.denoiser)}
        of_angles = [p for p in trained if id(p) in angles]
        if not of_angles:
            raise HQDMError(
                f"angle_lr_factor is {self.angle_lr_factor:g}, but the model trains no angles of "
                "circuits: leave it out, or set it to 1 for a control that trains none"
            )
        others = [p for p in trained if id(p) not in angles]
        groups = [{"params": others}] if others else []
        return [*groups, {"params": of_angles, LR_FACTOR: self.angle_lr_factor}]

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Update the learning rate.

        Raises:
            HQDMError: If the schedule cannot be continued.
        """
        with explained("lr_scheduler"):
            super().lr_scheduler_step(scheduler, metric)

    def configure_model(self) -> None:
        """Convert the weights to the precision of the trainer, before a checkpoint is loaded.

        Raises:
            HQDMError: If the model cannot be trained in the precision.
        """
        set_precision(self, self.trainer.precision)

    def on_train_start(self) -> None:
        """Set the configured options of the optimiser, also after a checkpoint was loaded.

        The learning rate is set only if there is no schedule.
        """
        optimizer = self._optimizer()
        for group in optimizer.param_groups:
            for key, value in optimizer.defaults.items():
                if key == "lr" and LR_FACTOR in group:
                    value = value * group[LR_FACTOR]
                if key != "lr" or self.scheduler_factory is None:
                    group[key] = value

    def _optimizer(self) -> Optimizer:
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, Optimizer)
        return optimizer

    def _rate(self) -> float:
        return float(self._optimizer().param_groups[0]["lr"])

    def on_train_end(self) -> None:
        """Check the last loss.

        Raises:
            HQDMError: If it is not finite.
        """
        self._losses.end()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log the gradient norms of quantum and classical parameters, and the learning rate."""
        self.log("grad_norm/classical", _gradient_norm(classical_parameters(self.denoiser)))
        if quantum_modules(self.denoiser):
            self.log("grad_norm/quantum", _gradient_norm(quantum_parameters(self.denoiser)))
        if self.scheduler_factory is not None:
            # A tensor on the CPU: Lightning copies a number to the GPU, which waits for it.
            self.log("lr", torch.tensor(float(optimizer.param_groups[0]["lr"])))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take a step and update the average, before any callback saves a checkpoint."""
        super().optimizer_step(*args, **kwargs)
        self.ema.after_step(self.denoiser, self.global_step + 1)  # counted after the hook

    @property
    def options(self) -> ModuleOptions:
        """The plain arguments from which `load_from_checkpoint` rebuilds the module."""
        return {
            "lr": None if self.optimizer_factory else self.lr,
            "betas": None if self.optimizer_factory else list(self.betas),
            "ema_decay": self.ema.decay,
            "ema_every": self.ema.every,
            "ema_start": self.ema.start,
            "ema_sigma_rel": self.ema.sigma_rel,
            **({} if self.angle_lr_factor == 1 else {"angle_lr_factor": self.angle_lr_factor}),
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the configuration from which the model is rebuilt, and the state of the run.

        Raises:
            HQDMError: If the last loss is not finite.
        """
        self._losses.end()
        config = self.denoiser.config
        checkpoint[CHECKPOINT_KEY] = {
            "format_version": MODEL_VERSION,
            "denoiser": config,
            "requires": [need.record for need in requirements(config)],
            "module": self.options,
            "batches_seen": self.batches_seen,
            "frozen": self.frozen,
            "seed": self.seed,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the number of batches seen."""
        self.batches_seen = Checkpoint.of(checkpoint, "the checkpoint").batches_seen

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]  # Lightning asks for hyperparameters
        cls,
        checkpoint_path: str | Path,
        map_location: str | torch.device | None = None,
        weights_only: bool = True,
        **options: Any,
    ) -> Self:
        """Load the module in a training checkpoint, with its raw and averaged weights.

        Args:
            checkpoint_path: A `.ckpt` file of `hqdm fit` or of a Lightning trainer.
            map_location: The device of the module; "auto" is a GPU if there is one, None the CPU.
            weights_only: Has to be True, so that no code in the file is run.
            **options: Arguments of the module that replace the saved ones. An optimiser and a
                schedule are code and are not saved.

        Raises:
            HQDMError: If the file cannot be used, an option is unknown, or there is no such device.
        """
        device = device_named(map_location or "cpu")
        if not weights_only:
            raise HQDMError("checkpoints are read with weights_only=True: leave it out")
        known = (*ModuleOptions.__annotations__, "seed")
        for option in options:
            if option not in (*known, "optimizer", "lr_scheduler"):
                raise unknown("option of load_from_checkpoint", option, known)
        checkpoint = read_checkpoint(Path(checkpoint_path))
        saved: dict[str, Any] = {**checkpoint.module, "seed": checkpoint.seed}
        for key, excluded in EXCLUDED.items():
            if options.get(key) is not None:
                saved = {name: value for name, value in saved.items() if name not in excluded}
        module = cls(model_in(checkpoint, cls.kind, "raw").train(), **{**saved, **options})
        averaged = model_in(checkpoint, cls.kind, "averaged")
        module.ema.module.load_state_dict(averaged.state_dict())
        count = checkpoint.tensors.get("ema.n_averaged")
        if count is not None:
            module.ema.n_averaged.fill_(count.item())
        freeze(module.denoiser, checkpoint.frozen)
        module.batches_seen, module.frozen = checkpoint.batches_seen, list(checkpoint.frozen)
        return module.to(device)


def _are_betas(values: object) -> bool:
    pair = isinstance(values, Sequence) and len(values) == 2
    return pair and all(0 <= finite("betas", value) < 1 for value in cast(Sequence[Any], values))


def _gradient_norm(parameters: Iterator[torch.nn.Parameter]) -> Tensor:
    return get_total_norm([p.grad for p in parameters if p.grad is not None])
