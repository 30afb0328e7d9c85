"""Workers of a study on the machines of a Ray cluster, which share the folder of the study.

A task that is lost with its machine is begun again on another one, where the training continues
from its last checkpoint.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch

from hqdm.data.sets import keep_images
from hqdm.storage.claims import LOCK_FILE
from hqdm.study.cells import Cell, Store
from hqdm.study.work import Fit, complete
from hqdm.utils.errors import HQDMError, Interrupted
from hqdm.utils.plugins import load_plugin

RETRIES = 5  # of a cell whose machine or process was lost


@dataclass
class OnRay:
    """Completes cells on the machines of a cluster.

    Attributes:
        store: The files, which all machines share.
        fit: Trains; a function of a module.
        plugins: Python files that are loaded first.
    """

    store: Store
    fit: Fit
    plugins: tuple[str, ...]
    _task: Any

    def submit(self, cell: Cell) -> "Future[None]":
        """Queue a cell."""
        future: Future[None] = Future()

        def finish(done: "Future[str | None]") -> None:
            error: BaseException | None = done.exception()
            if error is None and (message := done.result()) is not None:
                error = HQDMError(message)
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        reference = self._task.remote(cell, self.store, self.fit, self.plugins)
        reference.future().add_done_callback(finish)
        return future

    def steps(self) -> Iterable[tuple[str, int]]:
        """Nothing: machines report complete cells only."""
        return ()


@contextmanager
def ray_cluster(
    address: str, store: Store, fit: Fit, plugins: Sequence[str] = ()
) -> Iterator[OnRay]:
    """Connect to a cluster.

    Args:
        address: Its address, or "auto" for the one that runs on this machine.
        store: The files, in a folder that all machines share.
        fit: Trains; a function of a module.
        plugins: Python files that are loaded first, at the same path on all machines.

    Raises:
        HQDMError: If Ray is not installed, or there is no such cluster.
    """
    ray = _ray()
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise HQDMError(f"there is no Ray cluster at {address!r} ({error}): `ray start`") from None
    lost = {"max_retries": RETRIES, "retry_exceptions": [Interrupted]}
    try:
        yield OnRay(store, fit, tuple(plugins), ray.remote(num_cpus=1, **lost)(_complete))
    finally:
        ray.shutdown()


def _ray() -> Any:
    """The module Ray.

    Raises:
        HQDMError: If it is not installed.
    """
    try:
        import ray
    except ImportError:
        raise HQDMError("--ray needs Ray: pip install 'hqdm[ray]'") from None
    return ray


def _complete(cell: Cell, store: Store, fit: Fit, plugins: Sequence[str]) -> str | None:
    """Complete a cell on a machine of the cluster; a user error is returned as its message."""
    torch.set_num_threads(1)  # a cell has one processor
    keep_images()
    for plugin in plugins:
        load_plugin(plugin)
    alive = {node["NodeManagerHostname"] for node in _ray().nodes() if node["Alive"]}
    release_lost(cell, store, alive)
    try:
        complete(cell, store, fit, lambda step: None)
    except HQDMError as error:
        return str(error)
    return None


def release_lost(cell: Cell, store: Store, alive: set[str]) -> None:
    """Remove the lock of a run whose machine is no longer in the cluster.

    Args:
        cell: The cell.
        store: The files.
        alive: Host names of the machines of the cluster.
    """
    lock = store.run(cell) / LOCK_FILE
    with suppress(OSError, ValueError, KeyError, TypeError):
        if json.loads(lock.read_bytes())["host"] not in alive:
            lock.unlink()
