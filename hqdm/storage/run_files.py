"""The files of a run: a manifest of what hqdm wrote, and the run that is being replaced.

    .hqdm-manifest.json     {"format_version": 1, "files": ["config.yaml", "last.ckpt", ...]}
    .hqdm-previous/         the replaced run, until the new one has saved its first last.ckpt

Only files in the manifest are ever removed. Folders of earlier versions have none; of a folder with
a readable `last.ckpt` the files are recognised that have exactly the names that hqdm gives.

A run that is replaced stays in place with `config.yaml`, `last.ckpt` and users' definitions, which
get a second name, and moves aside with all other files. The first checkpoint of the new run
replaces it (`settle`); if there is none, it is put back (`restore`), at once or after a kill when
the folder is claimed again. Each function can be interrupted between any two renames and is then
completed by `recover`: as long as files are moved there is no manifest in place, and without one no
file is removed.
"""

import filecmp
import json
import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePath

import yaml

from hqdm.storage.checkpoint import LAST, read_checkpoint
from hqdm.storage.formats import MANIFEST_VERSION, check_version
from hqdm.utils.errors import HQDMError
from hqdm.utils.files import write_file, writing_to

CONFIG, BEST, LOSS = "config.yaml", "best.ckpt", "loss.png"
PROVENANCE = "provenance.json"
MANIFEST = ".hqdm-manifest.json"
PREVIOUS = ".hqdm-previous"
_DISCARDED = ".hqdm-discarded"
_KEPT = re.compile(r"config\.yaml|last\.ckpt|[^/]+\.py")

_PICTURE = r"step_\d{7,}\.png"
_NAMES = re.compile(
    rf"config\.yaml|last\.ckpt|best\.ckpt|loss\.png|samples/{_PICTURE}|"
    r"csv/version_\d+/(metrics\.csv|hparams\.yaml)|"
    r"tensorboard/version_\d+/(events\.out\.tfevents\.[^/]+|hparams\.yaml)"
)


class RunFiles:
    """The files of a run in its folder.

    Args:
        folder: The folder of the run, held by this process.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._manifest = folder / MANIFEST
        self._previous = folder / PREVIOUS
        self._discarded = folder / _DISCARDED

    def pictures(self) -> set[str]:
        """The pictures of samples in the folder, by the names that a run gives them."""
        files = (self.folder / "samples").glob("*.png")
        return {f"samples/{file.name}" for file in files if re.fullmatch(_PICTURE, file.name)}

    def listed(self) -> set[str] | None:
        """The names in the manifest, relative to the folder; None if there is no manifest.

        Raises:
            HQDMError: If the manifest is damaged, or names a file outside the folder.
        """
        if not self._manifest.exists():
            return None
        try:
            content = json.loads(self._manifest.read_text())
            names = content["files"]
            inside = all(_inside(name) for name in names) and isinstance(names, list)
        except (OSError, ValueError, KeyError, TypeError):
            inside = False
        if not inside:
            raise HQDMError(
                f"{self._manifest} is damaged: move {self.folder}, or name another folder with "
                "--out"
            )
        check_version(content, MANIFEST_VERSION, self._manifest)
        return set(names)

    def own(self) -> set[str]:
        """The names of the files that a run wrote: listed, or recognised if there is no list."""
        listed = self.listed()
        return self._recognised() if listed is None else listed

    def _recognised(self) -> set[str]:
        """The files of a run of an earlier version: a checkpoint, and a configuration of `fit`."""
        try:
            read_checkpoint(self.folder / LAST)
            config = yaml.safe_load((self.folder / CONFIG).read_text(encoding="utf-8"))
        except (HQDMError, OSError, ValueError, yaml.YAMLError):
            return set()
        if not isinstance(config, dict) or not {"model", "data", "trainer"} <= set(config):
            return set()
        files = (file for file in self.folder.rglob("*") if file.is_file())
        names = {file.relative_to(self.folder).as_posix() for file in files}
        return {name for name in names if _NAMES.fullmatch(name)}

    def record(self, path: Path) -> None:
        """Add a file to the manifest, unless it is outside the folder."""
        try:
            name = path.absolute().relative_to(self.folder.absolute()).as_posix()
        except ValueError:
            return
        if name != MANIFEST:
            self.add([name])

    def add(self, names: Iterable[str]) -> None:
        """Add names to the manifest."""
        listed = self.listed()
        together = (listed or set()) | set(names)
        if together != listed:
            content = {"format_version": MANIFEST_VERSION, "files": sorted(together)}
            write_file(self._manifest, json.dumps(content, indent=2) + "\n")

    @property
    def replacing(self) -> bool:
        """True if a run is set aside that no checkpoint has replaced."""
        return self._previous.exists()

    def set_aside(self, targets: Iterable[str]) -> None:
        """Set the run in the folder aside, with other files that are about to be replaced.

        Args:
            targets: The names of those files.
        """
        names = self.own() | set(targets)
        if not names and not self._manifest.exists():
            return
        with writing_to(self.folder):
            self._previous.mkdir()
            if self._manifest.exists():
                self._manifest.replace(self._previous / MANIFEST)
            for name in sorted(name for name in names if (self.folder / name).is_file()):
                _move(self.folder / name, self._previous / name, keep=bool(_KEPT.fullmatch(name)))
            self._remove_empty(names)

    def settle(self) -> None:
        """Remove the run that was set aside, if any: a checkpoint has replaced it."""
        if self.replacing:
            with writing_to(self.folder):
                self._previous.replace(self._discarded)
                shutil.rmtree(self._discarded)

    def restore(self) -> None:
        """Remove what the new run wrote, and put back the run that was set aside, if any."""
        if not self.replacing:
            return
        with writing_to(self.folder):
            aside = self._aside()
            written = self.listed() or set()
            for name in written - set(aside):
                (self.folder / name).unlink(missing_ok=True)
            self._remove_empty(written)
            self._manifest.unlink(missing_ok=True)
            for name in aside:
                _move(self._previous / name, self.folder / name)
            if (self._previous / MANIFEST).exists():
                (self._previous / MANIFEST).replace(self._manifest)
            shutil.rmtree(self._previous)

    def recover(self) -> None:
        """Complete what a killed process began."""
        with writing_to(self.folder):
            if self._discarded.exists():
                shutil.rmtree(self._discarded)
            if self.replacing and not any(f.is_file() for f in self._previous.rglob("*")):
                shutil.rmtree(self._previous)
        if not self.replacing:
            return
        last, before = self.folder / LAST, self._previous / LAST
        replaced = last.exists() and not (before.exists() and filecmp.cmp(last, before, False))
        if replaced and self._manifest.exists():
            self.settle()
        else:
            self.restore()

    def _aside(self) -> list[str]:
        """The names of the files that are set aside."""
        files = (file for file in self._previous.rglob("*") if file.is_file())
        names = (file.relative_to(self._previous).as_posix() for file in files)
        return sorted(name for name in names if name != MANIFEST)

    def _remove_empty(self, names: Iterable[str]) -> None:
        """Remove the folders of removed files that are empty, below the first level."""
        for name in sorted(names, reverse=True):
            for folder in list(PurePath(name).parents)[:-2]:
                with suppress(OSError):  # it holds other files
                    (self.folder / folder).rmdir()


def _inside(name: object) -> bool:
    """True if a name stays inside the folder."""
    path = PurePath(name) if isinstance(name, str) else PurePath("..")
    return not path.is_absolute() and ".." not in path.parts and bool(path.parts)


def _move(source: Path, target: Path, keep: bool = False) -> None:
    """Move a file, or give it a second name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not keep:
        source.replace(target)
        return
    try:
        os.link(source, target)
    except OSError:  # not on every file system
        write_file(target, source.read_bytes())
