"""The images of one split of a data set, and those that a process keeps in memory.

A study trains and scores many models on the same images, and decodes each set once per process.
Elsewhere nothing is kept: files may change between two calls of `hqdm.data.load_images`.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

KEPT_BYTES = 2**30


@dataclass(frozen=True)
class ImageSet:
    """The images of one split of a data set.

    Attributes:
        images: uint8 of shape `(N, C, H, W)`, 0 to 255.
        labels: int64 of shape `(N,)`, indices into `classes`; None if the set has no labels.
        classes: Class names; empty if the set has no labels.
        name: Short name, hub name or folder, as returned by `canonical_name`.
        split: Name of the split, such as `"train"`.
    """

    images: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]
    name: str
    split: str

    def __len__(self) -> int:
        return len(self.images)


class KeptImages:
    """Image sets by the arguments that they were loaded with.

    Args:
        limit: Maximum bytes of pixels; sets whose last use is the longest ago are dropped first.
    """

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self.limit = limit
        self._sets: dict[Hashable, ImageSet] = {}

    def get(self, key: Hashable, load: Callable[[], ImageSet]) -> ImageSet:
        """The set of a key.

        Args:
            key: The arguments.
            load: Loads the set if it is not kept.
        """
        found = self._sets.pop(key, None) or load()
        self._sets[key] = found  # as the last one
        while sum(kept.images.nbytes for kept in self._sets.values()) > self.limit:
            del self._sets[next(iter(self._sets))]
        return found


_kept: KeptImages | None = None  # of this process


def keep_images() -> None:
    """Keep the image sets that this process loads, until it ends."""
    global _kept
    _kept = _kept or KeptImages()


@contextmanager
def images_kept() -> Iterator[None]:
    """Within this context, keep the image sets that this process loads."""
    global _kept
    before = _kept
    keep_images()
    try:
        yield
    finally:
        _kept = before


def kept_or_loaded(key: Hashable, load: Callable[[], ImageSet]) -> ImageSet:
    """An image set, from memory if this process keeps them.

    Args:
        key: The arguments that it is loaded with.
        load: Loads it.
    """
    return load() if _kept is None else _kept.get(key, load)
