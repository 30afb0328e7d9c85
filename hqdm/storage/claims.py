"""Claims of output folders: one command at a time, and no file replaced without permission.

    with claim(out, ("grid.png", "sample.json"), overwrite=False):
        ...  # compute and write

A lock file names the process that holds the folder,

    {"pid": 4711, "host": "name", "started": "8123456", "since": "2026-01-31 12:00:00"}

where `started` is the start time of the process, which tells it from a later one with the same pid.
The lock of a process that has ended is taken over.
"""

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from hqdm.utils.errors import HQDMError
from hqdm.utils.files import check_replaceable, remove_parts

LOCK_FILE = ".hqdm-lock"
_BEGIN = b'{"pid": '  # of a lock file; its writer may have been killed at it
SHOWN = 5  # names of files in a message


@contextmanager
def claim(
    folder: Path, names: Sequence[str], overwrite: bool, lock: str = LOCK_FILE
) -> Iterator[None]:
    """Hold a folder for files that are about to be written.

    Args:
        folder: The folder; created if there is none.
        names: Names of the files, relative to the folder.
        overwrite: Permit that files of these names are replaced.
        lock: Name of the lock file; `lock_of` gives that of a single file.

    Raises:
        HQDMError: If one of the files exists and `overwrite` is false or the file is read-only,
            another process holds the folder, or the folder is not writable.
    """
    with hold(folder, lock):
        present = [name for name in names if (folder / name).exists()]
        if present and not overwrite:
            more = f" and {len(present) - SHOWN} more" if len(present) > SHOWN else ""
            raise HQDMError(
                f"{folder} already holds {', '.join(present[:SHOWN])}{more}: "
                "--overwrite replaces, --out names another folder"
            )
        for name in names:
            check_replaceable(folder / name)
        remove_parts(*(folder / name for name in names))
        yield


def lock_of(path: Path) -> str:
    """Name of the lock file of one file, in a folder that other commands may write to."""
    return f".{path.name}.hqdm-lock"


@contextmanager
def hold(folder: Path, lock: str = LOCK_FILE) -> Iterator[None]:
    """Create a folder and lock it; after an error remove it again if it is new and empty.

    Raises:
        HQDMError: If another process holds it, or it is not writable.
    """
    new: list[Path] = []
    try:
        with _writable(folder):
            new += (each for each in (folder, *folder.parents) if not each.exists())
            folder.mkdir(parents=True, exist_ok=True)
        _acquire(folder, folder / lock)
        try:
            yield
        finally:
            _release(folder / lock)
    except BaseException:
        for each in new:
            with suppress(OSError):  # it holds files
                each.rmdir()
        raise


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except HQDMError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or error
        raise HQDMError(
            f"cannot write to {str(folder)!r} ({reason}): name another folder with --out"
        ) from None


def _acquire(folder: Path, lock: Path) -> None:
    """Write the lock file of this process, unless a living one has written it."""
    with _writable(folder), _alone(lock) as file:
        content = os.read(file, 4096)
        if not (content.startswith(_BEGIN) or _BEGIN.startswith(content)):
            raise HQDMError(
                f"{lock} is no lock of hqdm: move it, or name another folder with --out"
            )
        holder = _parsed(content)
        if holder is not None and _lives(holder):
            raise HQDMError(
                f"{folder} is in use by process {holder['pid']} on {holder['host']} since "
                f"{holder.get('since')}: wait for its end, or name another folder with --out "
                f"(if there is no such process, remove {lock})"
            )
        own = {
            "pid": os.getpid(),
            "host": platform.node(),
            "started": _start_time(os.getpid()),
            "since": datetime.now().isoformat(sep=" ", timespec="seconds"),
        }
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps(own).encode(), 0)
        except OSError:
            lock.unlink()
            raise


def _release(lock: Path) -> None:
    """Remove the lock file of this process."""
    with suppress(OSError), _alone(lock) as file:
        holder = _parsed(os.read(file, 4096))
        if holder is not None and holder["pid"] == os.getpid():
            lock.unlink()


@contextmanager
def _alone(lock: Path) -> Iterator[int]:
    """Open a lock file while no other process reads or changes it.

    The system's lock is held for this moment only: for the duration of a command it would outlive
    a killed process in the children that inherited it.
    """
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock_file(file)
            try:
                same = os.path.samestat(os.fstat(file), lock.stat())
            except FileNotFoundError:  # removed by its holder while this process waited
                same = False
            if same:
                yield file
                return
        finally:
            os.close(file)


def _lock_file(file: int) -> None:
    """Wait for the system's lock of a file, where there is one."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return
    with suppress(OSError):  # some network file systems have none
        fcntl.flock(file, fcntl.LOCK_EX)


def _parsed(text: bytes) -> Mapping[str, Any] | None:
    """The content of a lock file; None if its writer was killed at it."""
    try:
        holder = json.loads(text)
    except ValueError:
        return None
    whole = isinstance(holder, dict) and type(holder.get("pid")) is int and "host" in holder
    return holder if whole else None


def _lives(holder: Mapping[str, Any]) -> bool:
    """True if the process of a lock file lives; assumed for one of another machine."""
    if holder["host"] != platform.node():
        return True
    started = _start_time(holder["pid"])
    return started is not None and (not started or holder.get("started") in ("", started))


def _start_time(pid: int) -> str | None:
    """The start time of a process of this machine in ticks of its clock.

    Returns:
        None if there is no such process; an empty text if the system does not tell.
    """
    if not 0 < pid < 2**31:  # 0 and below are groups of processes
        return None
    if os.name == "posix":  # elsewhere the call would end the process
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
    try:
        # The name, in brackets, may hold spaces; the state and 19 numbers further on follow it.
        state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    return None if state in "ZX" else numbers[18]  # ended, but not yet waited for by its parent
