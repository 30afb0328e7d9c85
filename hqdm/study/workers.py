"""Workers of a study: this process, or several processes of this machine.

A process ends when the one that started it closes its pipe or is killed: it sends itself SIGTERM,
at which a training saves a checkpoint and stops.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from queue import Empty
from typing import Any

import torch

from hqdm.data.sets import keep_images
from hqdm.study.cells import Cell, Store
from hqdm.study.work import Fit, Stepped, complete
from hqdm.utils.errors import HQDMError
from hqdm.utils.plugins import load_plugin


@dataclass
class InThisProcess:
    """Completes each cell when it is submitted.

    Attributes:
        store: The files.
        fit: Trains.
        stepped: Receives cells with the training steps that they have taken.
    """

    store: Store
    fit: Fit
    stepped: Callable[[Cell, int], None] = field(default=lambda cell, step: None)

    def submit(self, cell: Cell) -> "Future[None]":
        """Complete a cell."""
        complete(cell, self.store, self.fit, lambda step: self.stepped(cell, step))
        future: Future[None] = Future()
        future.set_result(None)
        return future

    def steps(self) -> Iterable[tuple[str, int]]:
        """Nothing: they were received."""
        return ()


@dataclass
class Processes:
    """Completes cells in processes of this machine.

    Attributes:
        store: The files.
        fit: Trains; a function of a module.
    """

    store: Store
    fit: Fit
    _pool: ProcessPoolExecutor
    _reports: "Queue[tuple[str, int]]"

    def submit(self, cell: Cell) -> "Future[None]":
        """Queue a cell."""
        return self._pool.submit(_complete, cell, self.store, self.fit)

    def steps(self) -> Iterable[tuple[str, int]]:
        """The steps since the last call."""
        while True:
            try:
                yield self._reports.get_nowait()
            except Empty:
                return


@contextmanager
def processes(n: int, store: Store, fit: Fit, plugins: Sequence[str] = ()) -> Iterator[Processes]:
    """Start processes, which share the threads of this one.

    Args:
        n: Number of processes.
        store: The files.
        fit: Trains; a function of a module.
        plugins: Python files that they load.

    Raises:
        HQDMError: If one of them was killed.
    """
    context = get_context("spawn")  # a fork of a process with threads may hang
    ours, theirs = context.Pipe()
    reports: Queue[tuple[str, int]] = context.Queue()
    threads = max(1, torch.get_num_threads() // n)
    start = theirs, reports, threads, tuple(plugins)
    pool = ProcessPoolExecutor(n, context, _start, start)
    try:
        yield Processes(store, fit, pool, reports)
    except BrokenProcessPool:
        raise HQDMError(
            "a process of the study was killed, or its memory was full: start the study again, "
            "which keeps what is complete, or with fewer --processes"
        ) from None
    finally:
        ours.close()
        pool.shutdown(wait=True, cancel_futures=True)


_reports: "Queue[tuple[str, int]] | None" = None  # of this process, if it is a worker
_ended = threading.Event()  # its parent


def _start(
    parent: Connection, reports: "Queue[tuple[str, int]]", threads: int, plugins: Sequence[str]
) -> None:
    """Set a worker process up."""
    global _reports
    _reports = reports
    reports.cancel_join_thread()  # unread steps do not keep the process
    torch.set_num_threads(threads)
    keep_images()
    for plugin in plugins:
        load_plugin(plugin)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    """Stop this process, by SIGTERM, when the pipe of its parent is closed."""
    try:
        parent.recv()
    except (EOFError, OSError):
        _ended.set()
        os.kill(os.getpid(), signal.SIGTERM)


def _complete(cell: Cell, store: Store, fit: Fit) -> None:
    """Complete a cell; without its parent, the process takes no further one from the queue."""
    try:
        complete(cell, store, fit, _stepped(cell))
    finally:
        if _ended.is_set():
            os._exit(0)


def _stepped(cell: Cell) -> Stepped:
    """Reports the steps of a cell to the parent."""

    def report(step: int) -> None:
        if _reports is not None:
            _reports.put((cell.name, step))

    return report
