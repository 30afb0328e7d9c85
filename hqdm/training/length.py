"""The length of a run: a limit of steps that resumes exactly, and the limits that hold together."""

import math
from dataclasses import dataclass
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer


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


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """The callbacks of a trainer, an attribute that Lightning does not declare."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set when used
    return callbacks


@dataclass(frozen=True)
class Length:
    """The length of a run, infinite where it has no limit.

    Attributes:
        steps: Largest number of optimiser steps.
        epochs: Number of epochs that are begun.
    """

    steps: float
    epochs: float

    @classmethod
    def of(cls, trainer: Trainer, batches: float) -> "Length":
        """The length that follows from the limits of a trainer.

        Args:
            trainer: The trainer, possibly with a `StepLimit`.
            batches: Training batches per epoch; infinite if unknown.
        """
        limits = [
            callback.max_steps
            for callback in callbacks_of(trainer)
            if isinstance(callback, StepLimit)
        ]
        limits += [trainer.max_steps] if trainer.max_steps >= 0 else []
        steps: float = min(limits, default=math.inf)
        unlimited = trainer.max_epochs is None or trainer.max_epochs < 0
        epochs: float = math.inf if unlimited else trainer.max_epochs or 0
        if not 0 < batches < math.inf:
            return cls(steps, epochs)
        per_epoch = math.ceil(batches / trainer.accumulate_grad_batches)
        steps = min(steps, epochs * per_epoch)
        return cls(steps, min(epochs, math.ceil(steps / per_epoch)) if steps < math.inf else epochs)


def seconds_to_limit(trainer: Trainer) -> float:
    """Seconds that `max_time` leaves to the training; infinite without it."""
    left = [timer.time_remaining() for timer in callbacks_of(trainer) if isinstance(timer, Timer)]
    return min((seconds for seconds in left if seconds is not None), default=math.inf)
