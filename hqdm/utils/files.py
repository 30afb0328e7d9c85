"""Output folders: created, checked for write access, and never silently overwritten."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hqdm.utils.errors import HQDMError

_created: list[Path] = []  # the deepest folders of each call first


def remove_unused_folders() -> None:
    """Remove the folders that `make_writable` created and that have remained empty."""
    for folder in _created:
        with suppress(OSError):  # it is in use, or gone
            folder.rmdir()
    _created.clear()


def make_writable(folder: Path) -> None:
    """Create a folder and check that files can be written to it.

    Raises:
        HQDMError: If they cannot.
    """
    fresh = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _created.extend(fresh)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise HQDMError(
            f"cannot write to {folder} ({error.strerror}): name another folder with --out"
        ) from None


def claim_files(folder: Path, names: Sequence[str], overwrite: bool) -> None:
    """Create a folder for files with the given names.

    Raises:
        HQDMError: If one of the files exists and `overwrite` is false, or the folder is not
            writable.
    """
    present = [name for name in names if (folder / name).exists()]
    if present and not overwrite:
        raise HQDMError(
            f"{folder} already holds {', '.join(present)}: "
            "--overwrite replaces, --out names another folder"
        )
    make_writable(folder)
