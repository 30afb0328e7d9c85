"""SHA-256 digests in the files that hqdm writes; without them damage in numbers goes unnoticed.

    checkpoint           the comment at the end of the zip archive, over all bytes before it
    model folder         {"sha256": {"model.safetensors": ..., "denoiser": ...}} in config.json
    Carleman fit         the key "sha256" of the header, over the header and the tensors
    grid, sample record  the key "sha256"

Files of earlier versions have none and are read all the same; of their archives the checksums that
the zip format has are verified.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from hqdm.utils.errors import HQDMError

_MARK = b"hqdm sha256 "
_COMMENT = len(_MARK) + 64
_END = b"PK\x05\x06"  # signature of the last record of an archive, of 22 bytes without comment


def sealed(archive: bytes) -> bytes:
    """A zip archive without comment, with its digest as the comment."""
    body = archive[:-2] + _COMMENT.to_bytes(2, "little")
    return body + _MARK + digest(body).encode()


def check_archive(data: bytes, source: object) -> None:
    """Check the digest of a zip archive, or else its checksums; other data are accepted.

    Raises:
        HQDMError: If bytes differ from those written.
    """
    body, comment = data[:-_COMMENT], data[-_COMMENT:]
    if comment.startswith(_MARK) or body[-22:-18] == _END:
        whole = comment == _MARK + digest(body).encode()
    else:
        whole = _has_checksums(data)
    if not whole:
        raise damaged(source)


def _has_checksums(data: bytes) -> bool:
    """True if the members of an archive have the checksums that it states."""
    file = io.BytesIO(data)
    if not zipfile.is_zipfile(file):
        return True
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError):
        return False


def digest(content: bytes) -> str:
    """The digest in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digest_of(plain: object, arrays: Mapping[str, np.ndarray] | None = None) -> str:
    """The digest of plain values, as JSON holds them, and of arrays."""
    whole = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for name, array in sorted((arrays or {}).items()):
        whole.update(f"{name} {array.dtype} {array.shape}".encode())
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


def check_digest(stated: object, found: str, source: object) -> None:
    """Compare a digest that a file states, if any, with that of its content.

    Raises:
        HQDMError: If they differ.
    """
    if stated is not None and stated != found:
        raise damaged(source)


def plain_digest(header: Mapping[str, Any]) -> str:
    """The digest of a JSON object without its own key "sha256"."""
    return digest_of({key: value for key, value in header.items() if key != "sha256"})


def damaged(source: object) -> HQDMError:
    """The error for content that differs from what was written."""
    return HQDMError(
        f"{source} is damaged (its content does not match its checksum): use another copy, or "
        "write it again"
    )
