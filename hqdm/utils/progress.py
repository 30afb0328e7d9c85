"""Progress of long computations, reported to a function.

`progress_bar` yields one that shows a bar per task on a terminal and prints lines elsewhere. Both
have the remaining time of a task, if its further steps take as long as those before.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

from rich import progress as rich_progress
from rich.console import Console
from rich.text import Text

Progress = Callable[[str, int, int], None]
"""Called with the name of a task, the number of steps completed, and their total number."""

LINE_SECONDS = 20.0
"""Seconds between lines where there is no terminal."""


def silent(task: str, done: int, total: int) -> None:
    """Ignore the progress."""


def stepwise(progress: Progress, task: str, total: int) -> Callable[..., None]:
    """Begin a task of equal steps.

    Args:
        progress: Receives the start and every step.
        task: Name of the task.
        total: Number of steps.

    Returns:
        A function to call after each step. It ignores its arguments, such as those that a sampler
        passes to a callback.
    """
    numbers = count(1)
    progress(task, 0, total)
    return lambda *_: progress(task, next(numbers), total)


@dataclass
class Task:
    """A task in progress, with the clock `time.monotonic`.

    Attributes:
        total: Number of steps.
        done: Number of completed steps.
        started: Time of the start.
        latest: Time of the last completed step.
    """

    total: int
    done: int = 0
    started: float = field(init=False)
    latest: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.latest = time.monotonic()

    def advance(self, done: int) -> None:
        """Record that `done` steps are completed."""
        if done != self.done:
            self.done, self.latest = done, time.monotonic()

    @property
    def remaining(self) -> float | None:
        """The estimated number of seconds to the end; None before the first completed step."""
        if self.done == 0:
            return None
        per_step = (self.latest - self.started) / self.done
        passed = time.monotonic() - self.latest
        return max(0.0, per_step * (self.total - self.done) - passed)

    @property
    def remaining_text(self) -> str:
        """The remaining time in hours, minutes and seconds."""
        seconds = self.remaining
        return "-:--:--" if seconds is None else str(timedelta(seconds=round(seconds)))


class _Remaining(rich_progress.ProgressColumn):
    """The remaining time of the `Task` under "clock".

    The column of Rich considers the last 30 seconds only, which may be less than one step.
    """

    def render(self, task: rich_progress.Task) -> Text:
        return Text(task.fields["clock"].remaining_text, style="progress.remaining")


class _Lines:
    """Prints a line about the active tasks to standard error every `LINE_SECONDS`."""

    def __init__(self) -> None:
        self.active: dict[str, Task] = {}
        self.printed = time.monotonic()

    def __call__(self, task: str, done: int, total: int) -> None:
        self.active.setdefault(task, Task(total)).advance(done)
        now = time.monotonic()
        if now - self.printed >= LINE_SECONDS:
            self.printed = now
            parts = [self._part(name, clock) for name, clock in self.active.items()]
            print(", ".join(parts), file=sys.stderr, flush=True)
        if done >= total:
            del self.active[task]

    @staticmethod
    def _part(name: str, clock: Task) -> str:
        left = "" if clock.remaining is None else f" ({clock.remaining_text} left)"
        return f"{name} {clock.done}/{clock.total}{left}"


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show one bar per active task, or print lines if the output is not a terminal."""
    console = Console()
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        _Remaining(),
    )
    shown: dict[str, rich_progress.TaskID] = {}
    clocks: dict[str, Task] = {}
    with rich_progress.Progress(*columns, console=console, transient=True) as bars:

        def show(task: str, done: int, total: int) -> None:
            if task not in shown:
                clocks[task] = Task(total)
                shown[task] = bars.add_task(task, total=total, clock=clocks[task])
            clocks[task].advance(done)
            bars.update(shown[task], completed=done)
            if done >= total:
                bars.remove_task(shown.pop(task))

        yield show
