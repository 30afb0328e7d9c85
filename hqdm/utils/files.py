"""Files written whole: beside the old file first, then renamed over it.

Every file that hqdm writes goes through `write_file`, so that at every moment the file under the
final name is the old one or the new one, also on a full disk and after a kill.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from secrets import token_hex

from hqdm.utils.errors import HQDMError

Observer = Callable[[Path], None]

_group: ContextVar[list[tuple[Path, Path]] | None] = ContextVar("_group", default=None)
_observers: ContextVar[tuple[Observer, ...]] = ContextVar("_observers", default=())

NAME_LENGTH = 200  # of at most 255 bytes, which leaves room for the rest of a part's name


def write_file(path: str | Path, content: bytes | str) -> None:
    """Write a file, and its folder if there is none; text in UTF-8.

    Raises:
        HQDMError: If it cannot be written; a file that was there before is unchanged.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))  # a link stays one
    part = target.with_name(f".{target.name[:NAME_LENGTH]}.{token_hex(4)}.hqdm-part")
    data = content.encode() if isinstance(content, str) else content
    try:
        with writing_to(path):
            check_replaceable(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # some file systems report a full disk only here
            if target.exists():
                shutil.copymode(target, part)
    except BaseException:
        _discard(part)
        raise
    group = _group.get()
    if group is None:
        _put(part, path)
    else:
        group.append((part, path))


def _put(part: Path, path: Path) -> None:
    """Rename a written file to its final name."""
    try:
        report(path)
        with writing_to(path):
            part.replace(os.path.realpath(path))
    except BaseException:
        _discard(part)
        raise


@contextmanager
def together() -> Iterator[None]:
    """Replace all files that are written inside at the end, or none of them after an error."""
    if _group.get() is not None:  # part of a larger group
        yield
        return
    parts: list[tuple[Path, Path]] = []
    token = _group.set(parts)
    try:
        try:
            yield
        finally:
            _group.reset(token)
        while parts:
            _put(*parts.pop(0))
    finally:
        for part, _ in parts:  # those left after an error
            _discard(part)


def _discard(part: Path) -> None:
    """Remove an unfinished file, if there is one; the error that ended its writing is reported."""
    with suppress(OSError):
        part.unlink()


@contextmanager
def observing(observer: Observer) -> Iterator[None]:
    """Call a function with the path of every file that is written inside, before it is replaced."""
    token = _observers.set((*_observers.get(), observer))
    try:
        yield
    finally:
        _observers.reset(token)


def report(path: Path) -> None:
    """Tell the observers of a file; for files that other libraries write."""
    for observer in _observers.get():
        observer(path)


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Convert errors of the file system.

    Raises:
        HQDMError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise HQDMError(
            f"cannot write to {path} ({error.strerror or error}): existing files are unchanged; "
            "free space or permit writing, or name another folder"
        ) from None


def check_replaceable(path: Path) -> None:
    """Check that a file of this name may be replaced, if there is one.

    Raises:
        HQDMError: If it is a folder, its folder is a file, or it is protected against writing.
            Renaming would replace it all the same, since that needs a writable folder only.
    """
    above = next((folder for folder in path.parents if folder.exists()), path.parent)
    if above.exists() and not above.is_dir():
        raise HQDMError(f"{above} is a file, not a folder: move it, or name another folder")
    if path.is_dir():
        raise HQDMError(f"{path} is a folder: move it, or name another folder")
    if path.exists() and not (path.stat().st_mode & 0o222 and os.access(path, os.W_OK)):
        raise HQDMError(f"{path} is read-only: make it writable, or name another folder")


def remove_parts(*paths: Path) -> None:
    """Remove unfinished files that killed processes left beside files.

    No other process may be writing the files, see `hqdm.storage.claims`.
    """
    names: dict[Path, set[str]] = {}
    for path in paths:
        names.setdefault(path.parent, set()).add(path.name[:NAME_LENGTH])
    for folder, own in names.items():  # each folder is listed once, for thousands of files
        _remove_parts(folder, own.__contains__)


def remove_parts_like(folder: Path, names: str) -> None:
    """Remove unfinished files, as `remove_parts`, of all names that match a regular expression."""
    _remove_parts(folder, lambda name: re.fullmatch(names, name) is not None)


def _remove_parts(folder: Path, chosen: Callable[[str], bool]) -> None:
    """Remove the unfinished files in a folder of the final names for which `chosen` is true."""
    for file in folder.iterdir() if folder.is_dir() else ():
        part = re.fullmatch(r"\.(.+)\.[0-9a-f]{8}\.hqdm-part", file.name, re.DOTALL)
        if part and chosen(part[1]):
            file.unlink()
