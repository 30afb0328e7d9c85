"""Images as one uint8 tensor: registered data sets, Hugging Face data sets, local folders.

A name is searched in this order: registered data sets, such as the embedded `digits`; sub-folders
of `HQDM_DATA_DIR`; a local folder of that path; the Hugging Face hub (offline, its cache).
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hqdm.data.folders import read_folder
from hqdm.data.rows import Rows, decode
from hqdm.data.sets import ImageSet, kept_or_loaded
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError, first_line, unknown
from hqdm.utils.progress import Progress, silent
from hqdm.utils.registry import Registry

HUB_NAMES = {
    "mnist": "ylecun/mnist",
    "fashion_mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
}
"""Hub names by short name."""

DATA_DIR_VARIABLE = "HQDM_DATA_DIR"
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
HOLD_OUT_FRACTION = 0.1
DIGITS_TEST_FRACTION = 0.2
SPLIT_SEED = 0

_SLICE = re.compile(r"(?P<name>[^\[\]]+)\[(?P<start>-?\d*):(?P<stop>-?\d*)\]")
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def canonical_name(name: str) -> str:
    """The short name of a data set if it has one, else the name itself."""
    return {hub: short for short, hub in HUB_NAMES.items()}.get(name, name)


def load_images(
    name: str,
    split: str = "train",
    *,
    size: int | None = None,
    channels: int | None = None,
    limit: int | None = None,
    classes: Sequence[int] | None = None,
    offline: bool = False,
    skip_bad: bool = False,
    progress: Progress = silent,
) -> ImageSet:
    """Load and decode one split of an image data set.

    The name of a data set is one of:

    * A name registered by `register_data`.
    * `"digits"`: the 1,797 8x8 digits of scikit-learn, pixels 0..16 scaled to 0..255, in a fixed
      stratified split of 80 % `train` and 20 % `test`.
    * `"mnist"`, `"fashion_mnist"`, `"cifar10"`: short names of `HUB_NAMES`.
    * Any other hub name (`owner/name`), a local folder in the hub's layout (parquet files, such as
      `data/train-*.parquet`), or a folder of image files in one sub-folder per class, with or
      without `train/`, `test/` and `validation/` above (see `hqdm.data.folders`).

    If a set has a single split of another name than `test` and `validation`, that is `train`, and a
    random tenth of it (with a fixed seed) is removed from it and becomes `test`. If it has `train`
    and `validation` only, `validation` is also `test`. Images are turned upright by their EXIF
    orientation, and transparent ones are put on white. The folder `HQDM_DATA_DIR` is searched
    first, for the short name, the last part of the hub name, and the hub name.

    Args:
        name: Name of the data set.
        split: Name of the split, or a slice of its images in their order, such as
            `"train[:-5000]"` and `"train[-5000:]"`.
        size: Side of the square images returned: the shorter side is resized to it, bilinearly with
            antialiasing, and the longer side is cropped to the centre. None keeps the stored size.
        channels: 1 (grey) or 3 (RGB). None keeps grey if all images are
            grey, else RGB.
        limit: Maximum number of images, evenly spaced over the split, since class folders are
            sorted by class.
        classes: The classes whose images are taken, which get the labels 0, 1, ... in this order;
            None takes all.
        offline: Do not access the network, as with `HF_HUB_OFFLINE=1` or `HF_DATASETS_OFFLINE=1`.
        skip_bad: Leave out images that cannot be read, with a warning that lists them.
        progress: Reports the images.

    Returns:
        The images, with labels if the set has them.

    Raises:
        HQDMError: If an argument is invalid, a data set or split is missing or cannot be read, the
            images have several sizes and `size` is None, or a slice is one of images sorted by
            class.
    """
    if channels not in (None, 1, 3):
        raise HQDMError(f"channels={channels}: expected 1 (grey), 3 (RGB) or None (as stored)")
    for argument, value in {"size": size, "limit": limit}.items():
        if value is not None and value < 1:
            raise HQDMError(f"{argument}={value}: expected a whole number of at least 1, or None")
    name = canonical_name(name)
    offline = offline or _environment_says_offline()
    chosen = None if classes is None else tuple(classes)
    key = name, split, size, channels, limit, chosen, offline, skip_bad, _folders(name)

    def load() -> ImageSet:
        rows = _rows(name, split, classes, limit, offline)
        images, labels = decode(rows, name, size, channels, skip_bad, progress)
        return ImageSet(images, labels, rows.classes, name, split)

    return kept_or_loaded(key, load)


def _rows(
    name: str, split: str, classes: Sequence[int] | None, limit: int | None, offline: bool
) -> Rows:
    """The rows of a split, not decoded yet, see `load_images`."""
    whole_split, part = split_part(split)
    rows = _registered(name, whole_split) if name in DATA else _stored(name, whole_split, offline)
    if part != slice(None):
        rows = _slice(rows, part, name, split)
    if not len(rows):
        raise HQDMError(
            f"data set {name!r} has no images in split {split!r}: expected at least one"
        )
    if classes is not None:
        rows = _of_classes(rows, classes, name)
    if limit is not None and limit < len(rows):
        rows = rows.take([i * len(rows) // limit for i in range(limit)])
    return rows


def split_part(split: str) -> tuple[str, slice]:
    """The name of a split and the slice of its images: "train[:-9]" is ("train", slice(None, -9)).

    Args:
        split: See `load_images`.
    """
    found = _SLICE.fullmatch(split)
    if found is None:
        return split, slice(None)
    start, stop = (int(found[end]) if found[end] else None for end in ("start", "stop"))
    return found["name"], slice(start, stop)


def _slice(rows: Rows, part: slice, name: str, split: str) -> Rows:
    """Some of the rows.

    Raises:
        HQDMError: If the rows are sorted by class, so that classes would be missing.
    """
    labels = rows.labels or []
    if labels and min(labels) < max(labels) and labels == sorted(labels):
        raise HQDMError(
            f"the images of data set {name!r} are sorted by class, and {split} would be some "
            "classes only: make a split of its own, such as a folder validation/"
        )
    return rows.take(range(len(rows))[part])


def _of_classes(rows: Rows, classes: Sequence[int], name: str) -> Rows:
    """The rows of some classes, with their places in `classes` as labels.

    Raises:
        HQDMError: If the rows have no labels or none of a class, or a class does not exist or
            stands twice.
    """
    if rows.labels is None:
        raise HQDMError(f"data set {name!r} has no labels: leave classes out")
    if not classes or len(set(classes)) < len(classes):
        raise HQDMError(f"classes={list(classes)}: expected different classes, at least one")
    for label in classes:
        whole("a class", label, 0, len(rows.classes) - 1)
    places = {label: place for place, label in enumerate(classes)}
    kept = rows.take(i for i, label in enumerate(rows.labels) if label in places)
    if missing := set(classes) - set(kept.labels or ()):
        raise HQDMError(f"data set {name!r} has no images of class {min(missing)}")
    return replace(
        kept,
        labels=[places[label] for label in kept.labels or ()],
        classes=tuple(rows.classes[label] for label in classes),
    )


DataLoader = Callable[[str], tuple[Tensor, Tensor | None]]

DATA: Registry[DataLoader] = Registry("data set")
"""Registered data sets by name; they take precedence over folders and the hub."""


def register_data(name: str) -> Callable[[DataLoader], DataLoader]:
    """Decorator: make a data set available by a name.

    The function takes the name of a split ("train" or "test") and returns uint8 images
    `(N, C, H, W)` with C of 1 or 3, and int64 labels `(N,)` or None.
    """
    return DATA.decorator(name)


def _registered(name: str, split: str) -> Rows:
    """The rows of a registered data set.

    Raises:
        HQDMError: If the function does not return valid images and labels.
    """
    images, labels = DATA[name](split)
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise HQDMError(
            f"data set {name!r} returned {images.dtype} images of shape {tuple(images.shape)}: "
            "expected uint8 of shape (N, 1 or 3, H, W)"
        )
    if labels is not None and (labels.shape != images.shape[:1] or labels.is_floating_point()):
        raise HQDMError(
            f"data set {name!r} returned labels of shape {tuple(labels.shape)} for {len(images)} "
            "images: expected whole numbers of shape (N,)"
        )
    pixels = images.permute(0, 2, 3, 1).numpy()
    pictures = [picture.squeeze(-1) if images.shape[1] == 1 else picture for picture in pixels]
    classes = () if labels is None else tuple(map(str, range(int(labels.max()) + 1)))
    return Rows(pictures, None if labels is None else labels.tolist(), classes, _numbered(pictures))


@register_data("digits")
def digits(split: str) -> tuple[Tensor, Tensor]:
    """The embedded digits, in a fixed stratified split."""
    # Imported here, since scikit-learn takes a second to import.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    all_digits = load_digits()
    train, test = train_test_split(
        np.arange(len(all_digits.target)),
        test_size=DIGITS_TEST_FRACTION,
        stratify=all_digits.target,
        random_state=SPLIT_SEED,
    )
    parts = {"train": train, "test": test}
    _check_split("digits", split, parts)
    rows = np.sort(parts[split])
    pixels = np.round(all_digits.images * (255 / 16)).astype(np.uint8)
    return torch.from_numpy(pixels[rows])[:, None], torch.from_numpy(all_digits.target[rows])


def _stored(name: str, split: str, offline: bool) -> Rows:
    """One split of a data set from a folder or the hub."""
    folders = _folders(name)
    folder = next((folder for folder in folders if folder.is_dir()), None)
    with _network(not offline):
        if folder is None:
            return _choose(name, split, _open_hub(name, folders))
        try:
            splits = read_folder(name, folder)
        except OSError as error:
            raise _unreadable(name, error) from error
        if splits is not None:
            return _choose(name, split, splits)
        with tempfile.TemporaryDirectory() as scratch:
            return _choose(name, split, _open_folder(name, folder, scratch))


def _open_folder(name: str, folder: Path, scratch: str) -> Mapping[str, Any]:
    """The splits of a local folder, opened but not read."""
    # Imported here, since the library takes a second to import.
    from datasets import load_dataset

    try:
        # Streaming reads in place; otherwise the library copies everything into its cache.
        return load_dataset(str(folder), streaming=True, cache_dir=scratch)
    except Exception as error:  # of the library and of its parsers of tables and of YAML
        raise _unreadable(name, error) from error


def _open_hub(name: str, searched: Sequence[Path]) -> Mapping[str, Any]:
    """The splits of a data set of the hub, downloaded or from the library's cache."""
    from datasets import config, load_dataset

    hub_name = HUB_NAMES.get(name, name)
    known = {*DATA, *HUB_NAMES}
    if get_close_matches(name, known - {name}, n=1):
        raise unknown("data set", name, known)
    if not _HUB_NAME.fullmatch(hub_name):
        raise HQDMError(
            f"no data set {name!r}: searched {_listed(searched)}; expected a short name "
            f"({_listed(sorted(known))}), a hub name (owner/name) or an existing folder"
        )
    try:
        return load_dataset(hub_name)
    except Exception as error:
        hub = "the cache of the hub (offline)" if config.HF_HUB_OFFLINE else "the hub"
        raise HQDMError(
            f"no data set {name!r}: searched {_listed([*searched, hub])} ({first_line(error)}); "
            f"to get it, `hf download {hub_name} --repo-type dataset "
            f"--local-dir DIR/{_last_part(hub_name)}` and set {DATA_DIR_VARIABLE}=DIR"
        ) from error


def _choose(name: str, split: str, splits: Mapping[str, Any]) -> Rows:
    """The rows of a split; `test` may be held out of the only split, or be `validation`."""
    if len(splits) == 1 and split in ("train", "test") and not {"test", "validation"} & set(splits):
        (only,) = splits.values()
        return _held_out(_read(name, only), split)
    if split == "test" and split not in splits and set(splits) == {"train", "validation"}:
        split = "validation"
    _check_split(name, split, splits)
    return _read(name, splits[split])


def _held_out(rows: Rows, split: str) -> Rows:
    """A random tenth of the rows as `test`, or the others as `train`."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(SPLIT_SEED)).tolist()
    n_test = max(1, round(HOLD_OUT_FRACTION * len(rows)))
    return rows.take(sorted(order[:n_test] if split == "test" else order[n_test:]))


def _read(name: str, dataset: Any) -> Rows:
    """All rows of a split; the columns of a `datasets` split are identified by their contents."""
    from datasets import Image as ImageColumn

    if isinstance(dataset, Rows):
        return dataset
    features = dataset.features or {}
    image = next((c for c, f in features.items() if isinstance(f, ImageColumn)), None)
    if image is None:
        columns = f"only {_listed(features)}" if features else "or no columns at all"
        raise HQDMError(
            f"data set {name!r} has no column of images, {columns}: expected image files, or a "
            "table with a column of the type Image"
        )
    label = next((c for c, f in features.items() if _holds_labels(c, f)), None)
    try:
        rows = list(dataset.cast_column(image, ImageColumn(decode=False)))
    except Exception as error:  # see _open_folder
        raise _unreadable(name, error) from error
    cells = [row[image] or {} for row in rows]
    pictures = [cell.get("bytes") or cell.get("path") for cell in cells]
    paths = [cell.get("path") for cell in cells]
    names = [path or number for path, number in zip(paths, _numbered(rows), strict=True)]
    labels = [row[label] for row in rows] if label is not None else []
    # The hub's convention for a split whose labels are withheld is -1.
    missing = [value is None or value < 0 for value in labels]
    if all(missing):
        return Rows(pictures, None, (), names)
    if any(missing):
        raise HQDMError(
            f"data set {name!r} has no label for {names[missing.index(True)]} and "
            f"{sum(missing) - 1} more of {len(labels)} images: expected labels for all, or none"
        )
    classes = getattr(features[label], "names", range(max(labels) + 1))
    return Rows(pictures, labels, tuple(map(str, classes)), names)


def _numbered(rows: Sequence[object]) -> list[str]:
    """Names of rows without one."""
    return [f"image {i}" for i in range(len(rows))]


def _holds_labels(column: str, feature: Any) -> bool:
    """True if a column holds class indices: declared as such, or integers under a usual name."""
    from datasets import ClassLabel, Value

    integers = isinstance(feature, Value) and "int" in feature.dtype
    return isinstance(feature, ClassLabel) or (column in ("label", "labels") and integers)


def _folders(name: str) -> tuple[Path, ...]:
    """Possible local folders of a data set, in the order of the search."""
    hub_name = HUB_NAMES.get(name, name)
    root = os.environ.get(DATA_DIR_VARIABLE)
    parts = dict.fromkeys([name, _last_part(hub_name), hub_name]) if root else {}
    return tuple(
        dict.fromkeys([*(Path(str(root), part) for part in parts), Path(name).expanduser()])
    )


@contextmanager
def _network(allowed: bool) -> Iterator[None]:
    """Set the `datasets` library offline, or leave it unchanged."""
    from datasets import config

    before = config.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = before or not allowed
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = before


def _environment_says_offline() -> bool:
    return any(
        os.environ.get(v, "").upper() in ("1", "ON", "YES", "TRUE") for v in OFFLINE_VARIABLES
    )


def _check_split(name: str, split: str, splits: Iterable[str]) -> None:
    if split not in splits:
        raise HQDMError(f"data set {name!r} has no split {split!r}: it has {_listed(splits)}")


def _unreadable(name: str, error: Exception) -> HQDMError:
    return HQDMError(f"data set {name!r} cannot be read: {first_line(error)}")


def _last_part(name: str) -> str:
    return name.rstrip("/").rsplit("/", 1)[-1]


def _listed(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))
