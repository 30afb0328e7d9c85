"""Folders to write to: made, proven writable, and never silently written over."""

from collections.abc import Sequence
from pathlib import Path

from hqdm.utils.errors import HQDMError


def make_writable(folder: Path) -> None:
    """Make a folder and see that files can be written there.

    Raises:
        HQDMError: If not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise HQDMError(
            f"cannot write to {folder} ({error.strerror}): name another folder with --out"
        ) from None


def claim_files(folder: Path, names: Sequence[str], overwrite: bool) -> None:
    """Make a folder for files of these names.

    Raises:
        HQDMError: If one of them is there and `overwrite` is false, or nothing can be written.
    """
    present = [name for name in names if (folder / name).exists()]
    if present and not overwrite:
        raise HQDMError(
            f"{folder} already holds {', '.join(present)}: "
            "--overwrite replaces, --out names another folder"
        )
    make_writable(folder)
