r"""Learning rates: a schedule, and checks of optimisers and schedules before training.

The schedule is a linear warm-up and a half period of a cosine,

    lr_k = lr min(1, (k + 1) / warmup) (1 + cos(pi min(1, k / total))) / 2      in step k.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning import Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from hqdm.utils.errors import HQDMError, first_line

VAL_LOSS = "val_loss"
"""The name of the validation loss in the logs."""


class WarmupCosine(LRScheduler):
    """Linear warm-up and cosine decay of the learning rate to zero; one update per step.

    Args:
        optimizer: The optimiser; its learning rate is the factor lr.
        warmup: Number of warm-up steps; 0 for none.
        total: Number of steps after which the learning rate is zero.

    Raises:
        HQDMError: If a number is out of range.
    """

    def __init__(self, optimizer: Optimizer, warmup: int, total: int) -> None:
        if warmup < 0 or total < 1:
            raise HQDMError(
                f"WarmupCosine needs warmup >= 0 and total >= 1, got {warmup} and {total}"
            )
        self.warmup, self.total = warmup, total
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:  # type: ignore[override]  # torch declares float | Tensor
        """The learning rates of the current step, one per parameter group."""
        k = self.last_epoch  # torch counts updates under this name
        rise = min(1.0, (k + 1) / self.warmup) if self.warmup else 1.0
        share = rise * (1 + math.cos(math.pi * min(1.0, k / self.total))) / 2
        return [float(lr) * share for lr in self.base_lrs]


@contextmanager
def explained(key: str) -> Iterator[None]:
    """Report an error of an optimiser or a schedule, of torch or of a user, in one line.

    Args:
        key: "optimizer" or "lr_scheduler".

    Raises:
        HQDMError: If the body raises an exception.
    """
    try:
        yield
    except HQDMError:
        raise
    except Exception as error:
        raise HQDMError(
            f"the {key} cannot be used ({type(error).__name__}: {first_line(error)}): correct its "
            "options"
        ) from error


def check_rates(optimizer: Optimizer, scheduler: LRScheduler | ReduceLROnPlateau | None) -> None:
    """Take one update of a schedule, and check that some learning rate is positive.

    Args:
        optimizer: An optimiser for this check only, since its learning rates change.
        scheduler: Its schedule, or None.

    Raises:
        HQDMError: If the update fails, a learning rate is not finite, or all of them are zero at
            the start and after the update.
    """
    # A learning rate that is a tensor may belong to a second optimiser, too.
    shared = [group["lr"] for group in optimizer.param_groups]
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    rates += [float(group.get("initial_lr", 0)) for group in optimizer.param_groups]
    with warnings.catch_warnings(), explained("lr_scheduler"):
        warnings.simplefilter("ignore")  # the optimiser has taken no step
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(1.0)
        elif scheduler is not None and not any(isinstance(rate, Tensor) for rate in shared):
            scheduler.step()
    rates += [float(group["lr"]) for group in optimizer.param_groups]
    if not all(map(math.isfinite, rates)) or max(rates) <= 0:
        raise HQDMError(
            f"the optimizer {type(optimizer).__name__} has the learning rate {rates[0]:g}, which "
            "trains nothing: expected a positive number"
        )


def check_validations(scheduler: LRScheduler | ReduceLROnPlateau, trainer: Trainer) -> None:
    """Check that a trainer computes the validation loss that a schedule reads.

    Raises:
        HQDMError: If it does not, or not at the ends of epochs, or the schedule reads another
            number.
    """
    if not isinstance(scheduler, ReduceLROnPlateau):
        return
    monitor = getattr(scheduler, "monitor", VAL_LOSS)  # of Lightning's class
    if monitor != VAL_LOSS:
        raise HQDMError(f"ReduceLROnPlateau reads {VAL_LOSS}, got monitor={monitor!r}")
    validates = trainer.limit_val_batches and trainer.check_val_every_n_epoch is not None
    if not validates:
        raise HQDMError(
            "ReduceLROnPlateau reads the validation loss at the ends of epochs: set "
            "trainer.limit_val_batches and trainer.check_val_every_n_epoch to 1 or more"
        )


def check_length(scheduler: LRScheduler | ReduceLROnPlateau, steps: float) -> None:
    """Check that a schedule of a fixed number of steps does not end before the training.

    Raises:
        HQDMError: If it does; torch reports it at the first step too many.
    """
    if isinstance(scheduler, OneCycleLR) and steps > scheduler.total_steps:
        raise HQDMError(
            f"OneCycleLR has {scheduler.total_steps} steps and the training {steps}: set its "
            f"total_steps to {steps}, or trainer.max_steps to {scheduler.total_steps}"
        )
