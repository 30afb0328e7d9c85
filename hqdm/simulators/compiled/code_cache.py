"""Kernels: functions compiled for parallel threads, with a cache of the code on disk.

Numba compiles a kernel again if the kernel's own file changes, but not if a file that the kernel
imports does. The cached code is therefore kept in a folder named after a digest of all of them.

Processes compile a function for the same types in turn: the first one does, the others read what it
kept. They write the index of a folder in turn, too, since two that add to it at once may give two
functions the same file. None waits longer than `PATIENCE` for one that was stopped meanwhile.

Threads of GNU OpenMP do not survive a fork, and Numba ends a forked process that asks for them.
Such a process gets kernels without threads.
"""

import hashlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from traceback import walk_tb
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
import torch
from filelock import BaseFileLock, FileLock, Timeout
from numba import cfunc, njit
from numba.core import caching

from hqdm.simulators.program.cache_folder import cache_folder
from hqdm.simulators.program.sources import sources_digest

log = logging.getLogger(__name__)

DIGEST_LENGTH = 16
PATIENCE = 120.0  # seconds
SILENT_PATIENCE = 2.0  # seconds; reading the code takes less

# For functions that allocate nothing: the atomic reference counts of the arrays, for every group of
# samples, would take longer than running a circuit of a few qubits.
borrowing = njit(error_model="numpy", _nrt=False)


class Kernel:
    """A compiled function whose `prange` loops are threads, or plain loops in a forked process.

    Args:
        function: The Python function.
        parallel: False for a function without `prange`, which is compiled in a quarter of the time.
    """

    forked = False  # of a process in which threads of OpenMP had run

    def __init__(self, function: Callable[..., Any], parallel: bool = True) -> None:
        self.__doc__ = function.__doc__
        self.serial = _compiled(function, parallel=False)
        self.parallel = _compiled(function, parallel=True) if parallel else self.serial

    def __call__(self, *args: Any) -> Any:
        """Call the compiled function; compile it again if its files on disk are damaged."""
        kernel = self.serial if Kernel.forked else self.parallel
        return _repaired(lambda: kernel(*args), lambda: kernel.stats.cache_path)


def _repaired(task: Callable[[], Any], find_folder: Callable[[], str | Path | None]) -> Any:
    """Do a task that may read compiled code; again, without that code, if it is damaged."""
    try:
        return task()
    except Exception as error:
        modules = [frame.f_globals.get("__name__") for frame, _ in walk_tb(error.__traceback__)]
        folder = find_folder() if caching.__name__ in modules else None
        if folder is None:
            raise
        for file in Path(folder).rglob("*.nb[ic]"):
            file.unlink(missing_ok=True)
        return task()


def _after_fork() -> None:
    """Do without threads of OpenMP, ours and torch's, if they ran before the fork.

    Those of torch would be waited for endlessly.
    """
    try:
        started = numba.threading_layer() == "omp"
    except ValueError:  # no kernel ran
        return
    if started:
        Kernel.forked = True
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def serial(function: Callable[..., Any]) -> Kernel:
    """A kernel without threads."""
    return Kernel(function, parallel=False)


class FunctionPointer:
    """A compiled function that kernels call by its address.

    Args:
        function: The Python function.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.compiled: list[Any] = []  # whose code must not be freed

    def address(self, signature: Any) -> int:
        """The address of the function for a signature of Numba; compile it if necessary."""
        with _folder(self.function.__module__, "") as folder:
            options = {"error_model": "numpy", "cache": folder is not None}
            with _turn(folder, self.function.__name__):
                compiled = _repaired(
                    lambda: cfunc(signature, **options)(self.function), lambda: folder
                )
        self.compiled.append(compiled)
        return compiled.address


def _compiled(function: Callable[..., Any], parallel: bool) -> Any:
    """A function compiled at its first call, with the code kept on disk.

    Where no folder can be written, every process compiles anew.
    """
    options = {"error_model": "numpy", "parallel": parallel, "nogil": True}
    # Numba's own key does not have the threads.
    with _folder(function.__module__, "" if parallel else "-serial") as folder:
        compiled = njit(cache=folder is not None, **options)(function)
    if folder is not None:
        _take_turns(compiled, folder)
    return compiled


def _take_turns(compiled: Any, folder: Path) -> None:
    """Let processes compile a function for the same types, and write the index, in turn."""
    compile_for, save = compiled.compile, compiled._cache.save_overload
    name = compiled.py_func.__name__

    def compile_in_turn(signature: Any) -> Any:
        with _turn(folder, f"{name}-{_short_digest(str(signature))}"):
            return compile_for(signature)

    def save_in_turn(signature: Any, result: Any) -> None:
        with _turn(folder, name):
            save(signature, result)

    compiled.compile = compile_in_turn
    compiled._cache.save_overload = save_in_turn


@contextmanager
def _turn(folder: Path | None, name: str) -> Iterator[None]:
    """Hold the lock of a name in a folder, where there are locks."""
    held = ExitStack()
    if folder is not None:
        # Some file systems have none, which earlier versions of filelock call not implemented. The
        # exception at the end of the patience is an OSError, too.
        with suppress(OSError, NotImplementedError):
            held.enter_context(_acquired(FileLock(folder / f"{name}.lock")))
    with held:
        yield


def _acquired(lock: BaseFileLock) -> AbstractContextManager[BaseFileLock]:
    """Take a lock; say so if another process keeps it.

    Raises:
        Timeout: If it has not been released within `PATIENCE`.
    """
    with warnings.catch_warnings():
        # A file then takes the place of the lock of the system.
        warnings.filterwarnings("ignore", "flock not supported")
        try:
            return lock.acquire(timeout=min(SILENT_PATIENCE, PATIENCE))
        except Timeout:
            log.warning("waiting for another process that compiles the same kernel")
            return lock.acquire(timeout=PATIENCE)


@contextmanager
def _folder(module: str, suffix: str) -> Iterator[Path | None]:
    """Let Numba keep code in the folder for a module; None if there can be none."""
    folder = cache_folder(f"kernels-{digest(module)}{suffix}")
    before = numba.config.CACHE_DIR
    if folder is not None:
        numba.config.CACHE_DIR = str(folder)  # read when the cache is made, here
    try:
        yield folder
    finally:
        numba.config.CACHE_DIR = before


def digest(module: str) -> str:
    """A digest of everything that the functions of a module are compiled from.

    These are the sources of the module and of all modules of this package that it imports, the
    versions of the compiler, and the processor, on which the number of lanes depends.
    """
    parts = [numba.__version__, llvmlite.__version__, llvm.get_host_cpu_name()]
    parts += [llvm.get_host_cpu_features().flatten(), sources_digest(module)]
    return _short_digest("\n".join(parts))


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]
