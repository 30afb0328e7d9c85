"""Folders of image files: one sub-folder per class, with or without splits above.

    folder/[train|test|validation/]class/.../picture.png

The class of a picture is the first folder below the split. Pictures without class folders have no
labels. Rows are ordered by path.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from hqdm.data.rows import Rows
from hqdm.utils.errors import HQDMError

SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing", "eval", "evaluation"),
    "validation": ("validation", "valid", "val", "dev"),
}
"""Names of folders, in lower case, by the name of their split."""

# Files that the `datasets` library reads; a folder that holds one has the layout of the hub.
_TABLES = (".parquet", ".arrow")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


@dataclass(frozen=True)
class _Tree:
    """The visible pictures and folders below a folder, as paths relative to it, sorted."""

    folder: Path
    pictures: tuple[str, ...]
    folders: tuple[str, ...]


def read_folder(name: str, folder: Path) -> Mapping[str, Rows] | None:
    """The pictures of a folder by split, not yet decoded.

    Args:
        name: Name of the data set, for messages.
        folder: The folder.

    Returns:
        Rows by split; None if the folder holds tables in the layout of the hub, or no pictures.

    Raises:
        HQDMError: If the folder's classes are ambiguous or empty, or splits have different ones.
    """
    tree = _tree(folder)
    if tree is None or not tree.pictures:
        return None
    tops = {path.split("/")[0] for path in tree.folders}
    kinds = {kind: sorted(t for t in tops if t.lower() in names) for kind, names in SPLITS.items()}
    split_folders = {top for found in kinds.values() for top in found}
    if tops and tops == split_folders:
        return _splits(name, tree, kinds)
    nested = sorted({path.split("/")[0] for path in tree.folders if "/" in path} & split_folders)
    if nested:
        others = sorted(tops - split_folders)
        raise HQDMError(
            f"data set {name!r} has the folder {others[0]!r} beside the folder {nested[0]!r} of a "
            f"split: move it into {nested[0]!r}, or remove it"
        )
    return {"train": _rows(name, tree, "")}


def _splits(name: str, tree: _Tree, kinds: Mapping[str, list[str]]) -> dict[str, Rows]:
    """The rows of each split's folder, with the classes of all splits together."""
    beside = [path for path in tree.pictures if "/" not in path]
    if beside:
        raise HQDMError(
            f"data set {name!r} has {beside[0]!r} beside the folders of its splits: move it into "
            "one of them, or remove it"
        )
    double = next((found for found in kinds.values() if len(found) > 1), None)
    if double:
        raise HQDMError(
            f"data set {name!r} has several folders for one split ({', '.join(double)}): keep one"
        )
    rows = {kind: _rows(name, tree, f"{found[0]}/") for kind, found in kinds.items() if found}
    classes = sorted({label for split in rows.values() for label in split.classes})
    unlabelled = [kind for kind, split in rows.items() if split.labels is None]
    if classes and unlabelled:
        raise HQDMError(
            f"data set {name!r} has class folders in some splits but not in {unlabelled[0]!r}: "
            "put the images of every split into class folders, or none"
        )
    return {kind: _relabelled(split, tuple(classes)) for kind, split in rows.items()}


def _relabelled(rows: Rows, classes: tuple[str, ...]) -> Rows:
    """The rows with indices into the classes of all splits."""
    if rows.labels is None:
        return rows
    labels = [classes.index(rows.classes[label]) for label in rows.labels]
    return Rows(rows.pictures, labels, classes, rows.names)


def _rows(name: str, tree: _Tree, below: str) -> Rows:
    """The pictures below one folder, labelled by their class folders.

    Args:
        name: Name of the data set.
        tree: All files.
        below: The folder of the split with a slash, or nothing.
    """
    names = [path for path in tree.pictures if path.startswith(below)]
    parts = [path.removeprefix(below).split("/") for path in names]
    folders = {path.removeprefix(below) for path in tree.folders if path.startswith(below)}
    classes = sorted(folder for folder in folders if folder and "/" not in folder)
    loose = next((path for path, part in zip(names, parts, strict=True) if len(part) == 1), None)
    if classes and loose is not None:
        raise HQDMError(
            f"data set {name!r} has the image {loose!r} beside class folders "
            f"({', '.join(classes[:3])}{', ...' if len(classes) > 3 else ''}): move it into a "
            "class folder, or remove it"
        )
    empty = set(classes).difference(part[0] for part in parts)
    if empty:
        raise HQDMError(
            f"data set {name!r} has no images in {below + min(empty)!r}: add images of this class, "
            "or remove the folder"
        )
    pictures = [str(tree.folder / path) for path in names]
    labels = [classes.index(part[0]) for part in parts] if classes else None
    return Rows(pictures, labels, tuple(classes), names)


def _tree(folder: Path) -> _Tree | None:
    """The visible pictures and folders below a folder; None if it holds tables."""
    pictures, folders = [], []
    for path, is_folder in _walk(folder, folder, frozenset()):
        suffix = os.path.splitext(path)[1].lower()
        if is_folder:
            folders.append(path)
        elif suffix in _TABLES or path.rsplit("/", 1)[-1] in _METADATA:
            return None
        elif suffix in _picture_suffixes():
            pictures.append(path)
    return _Tree(folder, tuple(sorted(pictures)), tuple(sorted(folders)))


def _walk(root: Path, folder: Path, above: frozenset[Path]) -> Iterator[tuple[str, bool]]:
    """Visible paths below a folder, and whether each is a folder; links are followed, once.

    Raises:
        HQDMError: If a link leads nowhere that might be one to a folder of images.
    """
    above |= {folder.resolve()}
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path, is_folder = Path(entry.path), entry.is_dir()
            if entry.name.startswith((".", "__")) or (is_folder and path.resolve() in above):
                continue
            if path.suffix.lower() not in _picture_suffixes() and not path.exists():
                raise HQDMError(f"{path} is a link that leads nowhere: mend it, or remove it")
            yield path.relative_to(root).as_posix(), is_folder
            if is_folder:
                yield from _walk(root, path, above)


@cache
def _picture_suffixes() -> frozenset[str]:
    """Suffixes of the formats that Pillow reads."""
    return frozenset(s for s, kind in Image.registered_extensions().items() if kind in Image.OPEN)
