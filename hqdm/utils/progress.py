"""Progress of long work, told to a function: `progress_bar` yields one that draws bars."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from rich import progress as rich_progress
from rich.console import Console

Progress = Callable[[str, int, int], None]
"""Called with the name of a task, how much of it is done, and how much there is to do."""


def silent(task: str, done: int, total: int) -> None:
    """Show nothing."""


def stepwise(progress: Progress, task: str, total: int) -> Callable[..., None]:
    """Begin a task of equal steps.

    Args:
        progress: What is told of the start and of every step.
        task: Name of the task.
        total: Number of steps.

    Returns:
        To be called after each step; arguments, such as those of a sampler's callback, are ignored.
    """
    numbers = count(1)
    progress(task, 0, total)
    return lambda *_: progress(task, next(numbers), total)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on the terminal for each task under way; nothing where the output is no terminal."""
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
