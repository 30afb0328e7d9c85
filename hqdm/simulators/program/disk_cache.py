"""Results about deep circuits that are computed once on a machine and kept on disk.

    CACHE/programs/KEY.npz

CACHE is that of the compiled code, see `hqdm.simulators.program.cache_folder`. A file consists of
arrays of numbers and text and of a digest of its bytes; one that was damaged, or that cannot be
read, is computed anew. So is everything where no folder can be written. There are at most
`MAX_FILES` files of `MAX_BYTES`, of which the oldest are removed; all may be removed at any time.
"""

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import pennylane as qml
import torch

from hqdm.simulators.program.cache_folder import cache_folder
from hqdm.simulators.program.sources import sources_digest
from hqdm.utils.errors import HQDMError
from hqdm.utils.files import write_file

FOLDER = "programs"
MAX_FILES = 128
MAX_BYTES = 2**22
DIGEST_BYTES = 32

Arrays = Mapping[str, np.ndarray]

T = TypeVar("T")


def stamp(module: str) -> str:
    """A text that changes with the sources of a module and with the libraries that it calls.

    A module takes it when it is imported: its file may be edited while the old code runs on.
    """
    versions = f"{qml.__version__} {np.__version__} {torch.__version__}"
    return f"{versions} {sources_digest(module)}"


def arrays_key(stated: str, arrays: Arrays) -> str:
    """The key of a result of arrays and of what a text states."""
    whole = hashlib.sha256(stated.encode())
    for name, array in sorted(arrays.items()):
        whole.update(f"\n{name} {array.dtype} {array.shape} ".encode())
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


def remembered(
    key: str | None,
    compute: Callable[[], T],
    pack: Callable[[T], Arrays | None],
    unpack: Callable[[Arrays], T],
) -> T:
    """The result that is kept under a key, or else computed, and kept if it can be packed.

    Args:
        key: The key; None computes without keeping.
        compute: Computes the result.
        pack: The result as arrays; None does not keep it.
        unpack: The inverse of `pack`.
    """
    folder = cache_folder(FOLDER) if key else None
    if folder is None:
        return compute()
    file = folder / f"{key}.npz"
    arrays = _read(file)
    if arrays is not None:
        with suppress(KeyError, ValueError, IndexError, TypeError, RuntimeError):  # other arrays
            return unpack(arrays)
    result = compute()
    arrays = pack(result)
    if arrays is not None:
        with suppress(HQDMError, OSError):  # such as a full disk
            _write(file, arrays)
    return result


def _read(file: Path) -> Arrays | None:
    """The arrays in a file; None if there is none, or its bytes are not those written."""
    try:
        content = file.read_bytes()
        body, stated = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
        if hashlib.sha256(body).digest() != stated:
            return None
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _write(file: Path, arrays: Arrays) -> None:
    """Write arrays, unless they are too large, and remove the oldest files of too many."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    body = buffer.getvalue()
    if len(body) > MAX_BYTES:
        return
    write_file(file, body + hashlib.sha256(body).digest())
    files = sorted(file.parent.glob("*.npz"), key=lambda other: other.stat().st_mtime)
    for old in files[:-MAX_FILES]:
        old.unlink(missing_ok=True)
