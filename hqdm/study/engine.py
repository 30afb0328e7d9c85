"""Runs the chains of a study on workers, with one display of the progress.

A worker takes a cell and completes it in the store. Nothing else is exchanged, so that workers can
be processes of this machine or of others that share the folder of the study.
"""

from collections import deque
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Protocol

from hqdm.study.cells import Cell
from hqdm.study.chains import Chain, Plan
from hqdm.utils.progress import Progress

POLL = 0.5  # seconds between updates of the progress
STUDY = "study"


class Workers(Protocol):
    """Completes cells."""

    def submit(self, cell: Cell) -> "Future[None]":
        """Begin a cell, or queue it."""

    def steps(self) -> Iterable[tuple[str, int]]:
        """Names of cells and the training steps that they have taken, since the last call."""


class Steps:
    """Shows the training steps of the whole study, and of the cells at work.

    Args:
        progress: The display.
        total: Training steps left.
    """

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total = progress, total
        self._completed, self._active = 0, dict[str, int]()
        self._show()

    def step(self, cell: Cell, done: int) -> None:
        """A cell has taken some of its steps."""
        if done < cell.steps:
            self._active[cell.name] = done
            self._progress(cell.name, done, cell.steps)
            self._show()

    def complete(self, cell: Cell) -> None:
        """A cell is complete."""
        if self._active.pop(cell.name, None) is not None:
            self._progress(cell.name, cell.steps, cell.steps)
        self._completed += cell.steps
        self._show()

    def _show(self) -> None:
        done = self._completed + sum(self._active.values())
        self._progress(STUDY, min(done, self._total), self._total)


class Engine:
    """Runs the chains of a plan.

    Args:
        plan: The plan.
        workers: Complete the cells.
        progress: The display.

    Attributes:
        steps: The steps, for workers in this process.
    """

    def __init__(self, plan: Plan, workers: Workers, progress: Progress) -> None:
        self.plan, self.workers = plan, workers
        self._chains: list[Chain] = [plan.chain(*pair) for pair in plan.pairs]
        self._waiting: dict[int, set[str]] = {}  # chains, and the cells without which they stop
        self._queue: deque[Cell] = deque()
        self._futures: dict[Future[None], Cell] = {}
        self._skipped = 0
        for i in range(len(self._chains)):
            self._advance(i)
        self.steps = Steps(progress, plan.steps - self._skipped)

    def run(self) -> None:
        """Complete all cells.

        Raises:
            HQDMError: If a cell cannot be trained; those that are complete are kept.
        """
        while self._queue or self._futures:
            if self._queue:
                self._submit(self._queue.popleft())
            seconds = 0 if self._queue else POLL
            done, _ = wait(self._futures, timeout=seconds, return_when=FIRST_COMPLETED)
            active = {cell.name: cell for cell in self._futures.values()}
            for name, step in self.workers.steps():
                if name in active:
                    self.steps.step(active[name], step)
            for future in done:
                self._finish(self._futures.pop(future), future)

    def _advance(self, i: int) -> None:
        """Go on in a chain to the next cells that are not complete, and queue them."""
        for cells in self._chains[i]:
            left = [cell for cell in cells if not self.plan.store.complete(cell)]
            self._skipped += sum(cell.steps for cell in cells if cell not in left)
            if left:
                self._waiting[i] = {cell.key for cell in left}
                self._queue.extend(left)
                return

    def _submit(self, cell: Cell) -> None:
        """Give a cell to the workers, unless one of the same configuration is or was with them."""
        waited_for = any(cell.key in keys for keys in self._waiting.values())
        if waited_for and cell.key not in {other.key for other in self._futures.values()}:
            self._futures[self.workers.submit(cell)] = cell

    def _finish(self, cell: Cell, future: "Future[None]") -> None:
        """Go on in the chains that waited for a cell."""
        future.result()
        for i, keys in list(self._waiting.items()):
            if cell.key in keys:
                self.steps.complete(cell)
                keys.discard(cell.key)
            if not keys:
                del self._waiting[i]
                self._advance(i)
