"""Progress of training: a line on the terminal, or lines in a file.

The remaining time follows from the mean rate r of the steps since the start (or resumption),
validations included, and the limit that is reached first:

    min((steps - step) / r, max_time - elapsed)
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar as Bar
from rich.table import Table
from rich.text import Text

from hqdm.training.length import Length, seconds_to_limit
from hqdm.training.optim import VAL_LOSS
from hqdm.utils.progress import stepwise

REFRESH = 0.2  # seconds between changes on a terminal
LINE_EVERY = 30.0  # seconds between lines in a file
GAP = "  "
LEAST_BAR, LARGEST_BAR, TASK_BAR = 10, 40, 20  # columns
SHORT = {"train_loss": "loss", VAL_LOSS: "val"}


@dataclass(frozen=True)
class Status:
    """The state of a training run.

    Attributes:
        epoch: Number of the current epoch, from 1.
        step: Optimiser steps of the run so far.
        length: The length of the run.
        rate: Steps per second; NaN before two steps.
        left: Seconds to the end; infinite if unknown.
        metrics: Values by name.
    """

    epoch: int
    step: int
    length: Length
    rate: float
    left: float
    metrics: dict[str, float]

    def parts(self) -> list[str]:
        """The texts of the line, the most important first."""
        parts = [
            f"Epoch {_of(self.epoch, self.length.epochs)}",
            f"step {_of(self.step, self.length.steps)}",
        ]
        if self.left < math.inf:
            parts.append(f"{duration(self.left)} left")
        metrics = [f"{SHORT.get(name, name)} {x:.4g}" for name, x in self.metrics.items()]
        rate = [] if math.isnan(self.rate) else [speed(self.rate)]
        return [*parts, *metrics[:1], *rate, *metrics[1:]]

    def line(self) -> str:
        """The whole state in one line."""
        return GAP.join(self.parts())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The parts that fit into the terminal, with a bar if there is room for one."""
        parts, width = self.parts(), options.max_width
        shown = fitting(parts, width - LEAST_BAR - len(GAP))
        if math.isinf(self.length.steps) or len(shown) < min(4, len(parts)):
            yield Text(GAP.join(fitting(parts, width)), no_wrap=True, overflow="crop")
            return
        first, rest = GAP.join(shown[:2]), "".join(GAP + part for part in shown[2:])
        room = width - len(first) - len(GAP) - len(rest)
        yield row(first + GAP, self.step, self.length.steps, min(room, LARGEST_BAR), rest)


def row(before: str, done: float, total: float, width: int, after: str) -> Table:
    """A bar of `width` columns between two texts."""
    line = Table.grid(padding=0)
    line.add_row(
        Text(before, no_wrap=True), Bar(total, done, width=width), Text(after, no_wrap=True)
    )
    return line


def fitting(parts: Sequence[str], width: int) -> list[str]:
    """The first texts that fit into a line with gaps between them, at least one."""
    shown = list(parts[:1])
    for part in parts[1:]:
        if len(GAP.join([*shown, part])) > width:
            break
        shown.append(part)
    return shown


def _of(number: int, total: float) -> str:
    return f"{number}/{total:.0f}" if total < math.inf else str(number)


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds."""
    minutes, rest = divmod(math.ceil(max(seconds, 0)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def speed(rate: float) -> str:
    """Steps per second, or seconds per step if that is the larger number."""
    return f"{rate:.3g} steps/s" if rate >= 1 else f"{1 / rate:.3g} s/step"


class TrainingProgress(ProgressBar):
    """Shows the progress of training in a terminal; otherwise prints a line every 30 seconds.

    Args:
        console: Where it is shown; None is the standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self._console = console or Console()
        self._enabled = True
        self._live: Live | None = None
        self._length = Length(math.inf, math.inf)
        self._origin: tuple[int, float] | None = None
        self._updated = self._shown = -math.inf
        self._epoch = 1
        self._status: Status | None = None
        self._tasks: dict[str, tuple[int, int]] = {}
        self._validated: Callable[..., None] | None = None

    def enable(self) -> None:
        """Show the progress."""
        self._enabled = True

    def disable(self) -> None:
        """Show nothing."""
        self._enabled = False

    def report(self, task: str, done: int, total: int) -> None:
        """Show a bar of a part of the run below the line; see `hqdm.utils.progress.Progress`."""
        self._tasks[task] = done, total
        if done >= total:
            del self._tasks[task]
        if time.monotonic() - self._shown >= REFRESH:
            self._show()

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the first validation."""
        self._begin()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the training."""
        self._begin()
        self._origin = None
        self._epoch = trainer.current_epoch + 1
        self._length = Length.of(trainer, trainer.num_training_batches)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the epochs from 1."""
        self._epoch = trainer.current_epoch + 1

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Count the steps, from the end of the first one, which may compile kernels."""
        if self._origin is None:
            self._origin = trainer.global_step, time.monotonic()
        self._update(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the bar of a validation."""
        sanity = trainer.sanity_checking
        batches = trainer.num_sanity_val_batches if sanity else trainer.num_val_batches
        total = sum(batches) if isinstance(batches, list) else batches
        finite = 0 < total < math.inf
        self._validated = stepwise(self.report, "validation", int(total)) if finite else None

    def on_validation_batch_end(self, *_: Any) -> None:
        """Advance the bar of the validation."""
        if self._validated is not None:
            self._validated()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar of a validation, also if it ended early."""
        self._tasks.pop("validation", None)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the last state."""
        self._update(trainer, last=True)
        self._end()

    def on_exception(self, *_: Any) -> None:
        """Leave the terminal as it is."""
        self._end()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the terminal as it is."""
        self._end()

    def _begin(self) -> None:
        if self._enabled and self._live is None and self._console.is_interactive:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()

    def _end(self) -> None:
        self._tasks.clear()
        if self._live is not None:
            self._show()
            self._live.stop()
            self._live = None

    def _update(self, trainer: Trainer, last: bool = False) -> None:
        """Take over the state of the trainer if a change is due, and show it."""
        now = time.monotonic()
        every = LINE_EVERY if self._live is None else REFRESH
        if not self._enabled or not (last or now - self._updated >= every):
            return
        self._updated = now
        first_step, since = self._origin or (trainer.global_step, now)
        steps, seconds = trainer.global_step - first_step, now - since
        rate = steps / seconds if steps and seconds else math.nan
        left = (self._length.steps - trainer.global_step) / rate if rate > 0 else math.inf
        self._status = Status(
            epoch=self._epoch,
            step=trainer.global_step,
            length=self._length,
            rate=rate,
            left=math.inf if last else min(seconds_to_limit(trainer), left),
            metrics={name: float(x) for name, x in trainer.progress_bar_metrics.items()},
        )
        if self._live is None:
            self._console.print(self._status.line(), soft_wrap=True, highlight=False)
            self._console.file.flush()
        else:
            self._show()

    def _show(self) -> None:
        """Draw the line and the bars below it."""
        if self._live is None:
            return
        self._shown = time.monotonic()
        tasks = [
            row(f"{task}{GAP}", done, total, TASK_BAR, f"{GAP}{done}/{total}")
            for task, (done, total) in self._tasks.items()
        ]
        lines = [] if self._status is None else [self._status]
        self._live.update(Group(*lines, *tasks), refresh=True)
