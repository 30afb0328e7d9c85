"""The pictures of one split before and after decoding.

A picture is decoded upright (EXIF orientation), on a white background where it is transparent, and
scaled so that its shorter side is `size`.
"""

import io
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from hqdm.utils.errors import HQDMError, first_line
from hqdm.utils.memory import check_memory
from hqdm.utils.pictures import GREY_MODES, decoded
from hqdm.utils.progress import Progress, silent

REPORTED = 500  # pictures between reports of the progress

# A file's bytes, its path, a pixel array, or None if a row has no image.
Picture = bytes | str | np.ndarray | None


@dataclass(frozen=True)
class Rows:
    """One split before decoding.

    Attributes:
        pictures: The pictures.
        labels: Indices into `classes`, one per picture; None if there are no labels.
        classes: Class names.
        names: A name of each picture for messages, such as its path below the data set's folder.
    """

    pictures: Sequence[Picture]
    labels: Sequence[int] | None
    classes: tuple[str, ...]
    names: Sequence[str] = field(repr=False)

    def __len__(self) -> int:
        return len(self.pictures)

    def take(self, indices: Iterable[int]) -> "Rows":
        """The rows at the given indices, in the given order."""
        indices = list(indices)
        return Rows(
            [self.pictures[i] for i in indices],
            None if self.labels is None else [self.labels[i] for i in indices],
            self.classes,
            [self.names[i] for i in indices],
        )


def decode(
    rows: Rows,
    data_set: str,
    size: int | None,
    channels: int | None,
    skip_bad: bool,
    progress: Progress = silent,
) -> tuple[Tensor, Tensor | None]:
    """Decode the pictures of a split.

    Args:
        rows: The rows.
        data_set: Name of the data set, for messages.
        size: Side of the square images; None keeps the stored size.
        channels: 1, 3, or None for grey if all pictures are grey, else RGB.
        skip_bad: Leave out pictures that cannot be decoded, with a warning, instead of refusing the
            data set.
        progress: Reports the pictures.

    Returns:
        The images, uint8 `(N, C, H, W)`, and their labels, int64 `(N,)` or None.

    Raises:
        HQDMError: If pictures cannot be decoded, have several sizes, or do not fit into memory.
    """
    if size is not None:
        what = f"{len(rows)} images of size {size} of data set {data_set!r}"
        n_bytes = 2 * len(rows) * (channels or 3) * size**2  # the pictures, then one tensor
        check_memory(what, n_bytes, "use a smaller size or limit")
    arrays, good, bad = [], [], []
    for i, picture in enumerate(rows.pictures):
        if i % REPORTED == 0:
            progress("reading images", i, len(rows))
        try:
            arrays.append(_pixels(picture, size, channels))
            good.append(i)
        except Exception as error:  # Pillow's plugins raise errors of any type on damaged files
            bad.append(f"{rows.names[i]} ({first_line(error)})")
    progress("reading images", len(rows), len(rows))
    if bad:
        _report(bad, data_set, len(rows), skip_bad)
        rows = rows.take(good)
    labels = None if rows.labels is None else torch.tensor(rows.labels, dtype=torch.int64)
    return _stacked(arrays, data_set), labels


def _report(bad: Sequence[str], data_set: str, n: int, skip_bad: bool) -> None:
    message = f"{len(bad)} of {n} images of data set {data_set!r} cannot be read: {', '.join(bad)}"
    if not skip_bad or len(bad) == n:
        skip = "" if len(bad) == n else ", or pass skip_bad to leave them out"
        raise HQDMError(f"{message}; replace or remove them{skip}")
    warnings.warn(f"{message}; they are left out", UserWarning, stacklevel=4)


def _stacked(arrays: list[np.ndarray], data_set: str) -> Tensor:
    """Images `(C, H, W)`, of one or three channels, as one tensor."""
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        sizes = ", ".join(f"{h}x{w}" for h, w in sorted(shapes)[:3])
        raise HQDMError(
            f"the images of data set {data_set!r} have {len(shapes)} sizes ({sizes}, ...): "
            "pass size=N to make all of them N x N"
        )
    if len({len(array) for array in arrays}) > 1:
        arrays = [np.broadcast_to(array, (3, *array.shape[1:])) for array in arrays]
    return torch.from_numpy(np.stack(arrays))


def _pixels(picture: Picture, size: int | None, channels: int | None) -> np.ndarray:
    """One picture as uint8 `(C, H, W)`, with C = 1 or 3."""
    if picture is None:
        raise ValueError("this row has no image")
    if isinstance(picture, np.ndarray):
        image = Image.fromarray(picture)
    else:
        image = decoded(io.BytesIO(picture) if isinstance(picture, bytes) else picture)
    grey = channels == 1 or (channels is None and image.mode in GREY_MODES)
    image = image.convert("L" if grey else "RGB")
    if size is not None and image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if grey else pixels.transpose(2, 0, 1)
