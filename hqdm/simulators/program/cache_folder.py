"""Folders for what can be computed again, such as compiled code.

The first one that can be written of: `NUMBA_CACHE_DIR`, the `__pycache__` of the package, the
user's cache folder, a private folder among the temporary files.
"""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

NAME = "hqdm"


def cache_folder(name: str) -> Path | None:
    """A folder that can be written, or None if there is none.

    Args:
        name: Name of the folder.
    """
    for root in _roots():
        folder = root / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    return None


def _roots() -> Iterator[Path]:
    """The folders to try, in order."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(os.environ["NUMBA_CACHE_DIR"])
    yield Path(__file__).parents[2] / "__pycache__"
    yield Path(os.environ.get("XDG_CACHE_HOME") or Path(os.path.expanduser("~")) / ".cache") / NAME
    private = _private_folder()
    if private is not None:
        yield private


def _private_folder() -> Path | None:
    """A temporary folder of this user, or None if it belongs to another one.

    Others may write among the temporary files, and what is cached is run.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    try:
        folder = Path(tempfile.gettempdir()) / f"{NAME}-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    open_to_others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    private = found.st_uid == user and not open_to_others and stat.S_ISDIR(found.st_mode)
    return folder if private or not hasattr(os, "getuid") else None
