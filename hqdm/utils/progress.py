"""Progress of long computations, reported to a function; `progress_bar` yields one with bars."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from rich import progress as rich_progress
from rich.console import Console

Progress = Callable[[str, int, int], None]
"""Called with the name of a task, the number of steps completed, and their total number."""


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


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show one bar per active task; `silent` if the output is not a terminal."""
    console = Console()
    if not console.is_terminal:
        yield silent
        return
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    shown: dict[str, rich_progress.TaskID] = {}
    with rich_progress.Progress(*columns, console=console, transient=True) as bars:

        def show(task: str, done: int, total: int) -> None:
            if task not in shown:
                shown[task] = bars.add_task(task, total=total)
            bars.update(shown[task], completed=done)
            if done >= total:
                bars.remove_task(shown.pop(task))

        yield show
