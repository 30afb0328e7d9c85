"""Images for training and validation, in the batches of `hqdm.data.batches`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor

from hqdm.data.batches import BatchDataModule, ShuffledBatches
from hqdm.data.images import canonical_name, load_images
from hqdm.data.sets import ImageSet
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError, check_names
from hqdm.utils.memory import to_device
from hqdm.utils.pixels import to_float, to_uint8
from hqdm.utils.seeds import generator
from hqdm.utils.tables import counted

FLIP_STREAM = 1

Batch = tuple[Tensor, Tensor | None]
"""Images `(B, C, H, W)` in [-1, 1] and labels `(B,)` or None."""


class ImageBatches:
    """A loader of whole batches of an image set, see `hqdm.data.batches.Loader`.

    The images are in memory, so that processes that load them would gain nothing.

    Args:
        images: The images.
        labelled: Whether batches have labels.
        order: The rows of each batch, for this process.
    """

    def __init__(
        self, images: ImageSet, labelled: bool, order: ShuffledBatches | Sequence[Tensor]
    ) -> None:
        self.images = images
        self.labels = images.labels if labelled else None
        self.order = order

    def __len__(self) -> int:
        """Number of batches per epoch."""
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        """The images and labels of each batch."""
        for rows in self.order:
            labels = None if self.labels is None else self.labels[rows]
            yield to_float(self.images.images[rows]), labels


class ImageDataModule(BatchDataModule):
    """A data set for training and validation.

    Args:
        name: Name of a data set, see `hqdm.data.load_images`.
        size: Side of the square images.
        channels: 1 (grey) or 3 (RGB).
        batch_size: Images per batch over all processes.
        limit: Maximum number of training images.
        val_limit: Maximum number of validation images.
        labelled: Whether batches have labels, for class-conditional models.
        flip: Mirror training images horizontally with probability 1/2.
        offline: Do not access the network.
        seed: Random seed of the order and the mirroring of the training images.
        split: Split of the training images, or a slice of it, see `load_images`.
        val_split: Split of the validation images, or a slice; see `load_images` for data sets
            without `test`.
        skip_bad: Leave out images that cannot be read, with a warning that lists them.
        classes: The classes whose images are taken, see `hqdm.data.load_images`; None takes all.

    Raises:
        HQDMError: If a number is out of range.
    """

    train_set: ImageSet
    val_set: ImageSet

    def __init__(
        self,
        name: str = "digits",
        size: int = 8,
        channels: int = 1,
        batch_size: int = 128,
        limit: int | None = None,
        val_limit: int | None = 1024,
        labelled: bool = False,
        flip: bool = False,
        offline: bool = False,
        seed: int = 0,
        split: str = "train",
        val_split: str = "test",
        skip_bad: bool = False,
        classes: list[int] | None = None,
    ) -> None:
        super().__init__(batch_size, seed)
        whole("size", size, 1)
        for option, limited in (("limit", limit), ("val_limit", val_limit)):
            if limited is not None:
                whole(option, limited, 1)
        if channels not in (1, 3):
            raise HQDMError(f"channels={channels}: expected 1 (grey), 3 (RGB)")
        self.name: str = name
        self.size = size
        self.channels = channels
        self.limit = limit
        self.val_limit = val_limit
        self.labelled = labelled
        self.flip = flip
        self.offline = offline
        self.split = split
        self.val_split = val_split
        self.skip_bad = skip_bad
        self.classes = classes

    @classmethod
    def from_images(
        cls,
        images: Tensor,
        labels: Tensor | None = None,
        *,
        val_images: Tensor | None = None,
        val_labels: Tensor | None = None,
        name: str = "tensor",
        **options: Any,
    ) -> Self:
        """A data module of images in memory.

        Args:
            images: Square training images `(N, C, S, S)`, uint8 or floats in [-1, 1], with 1
                (grey) or 3 (RGB) channels.
            labels: Classes of the training images `(N,)`, integers from 0, or None.
            val_images: Validation images; by default the last tenth of `images`.
            val_labels: Classes of the validation images; only with `val_images`.
            name: A name for messages and checkpoints.
            **options: `batch_size`, `flip` and `seed`.

        Raises:
            HQDMError: If shapes or types do not match, or an option is invalid.
        """
        known = ("batch_size", "flip", "seed")
        check_names("option of ImageDataModule.from_images", options, known)
        if val_images is None:
            if val_labels is not None:
                raise HQDMError("val_labels are the classes of val_images: give both, or neither")
            train, val = _split(_image_set(name, "train", images, labels))
        else:
            train = _image_set(name, "train", images, labels)
            val = _image_set(name, "test", val_images, val_labels)
        if (train.labels is None) != (val.labels is None):
            raise HQDMError("labels are needed for the training and the validation images, or none")
        if train.images.shape[1:] != val.images.shape[1:]:
            raise HQDMError(
                f"val_images of shape {tuple(val.images.shape)}: expected that of images, "
                f"(N, {', '.join(map(str, train.images.shape[1:]))})"
            )
        train = replace(train, classes=max(train.classes, val.classes, key=len))
        _, channels, size, _ = train.images.shape
        labelled = train.labels is not None
        module = cls(name, size, channels, labelled=labelled, **options)
        module.train_set, module.val_set = train, val
        module._check_sets()
        return module

    def setup(self, stage: str | None = None) -> None:
        """Load both splits, once.

        Raises:
            HQDMError: If there are fewer images than in a batch, or labels are missing.
        """
        if hasattr(self, "train_set"):
            return
        self.train_set = self._load(self.split, self.limit)
        self.val_set = self._load(self.val_split, self.val_limit)
        self._check_sets()

    def _check_sets(self) -> None:
        if len(self.train_set) < self.batch_size:
            raise HQDMError(
                f"data set {self.name!r} has {counted(len(self.train_set), 'training image')}, "
                f"fewer than batch_size {self.batch_size}: use a smaller batch_size"
            )
        if self.labelled and self.train_set.labels is None:
            raise HQDMError(
                f"data set {self.name!r} has no labels: set labelled to false and n_classes to null"
            )

    @property
    def n_classes(self) -> int:
        """Number of classes of the data set; 0 if it has no labels."""
        return len(self.train_set.classes)

    @property
    def identity(self) -> dict[str, Any]:
        """The properties that must not change for a resumed run to see the same batches."""
        return {
            "name": canonical_name(self.name),
            "images": len(self.train_set),
            "batch_size": self.batch_size,
            "flip": self.flip,
            **({} if self.classes is None else {"classes": list(self.classes)}),
        }

    def _load(self, split: str, limit: int | None) -> ImageSet:
        return load_images(
            self.name,
            split,
            size=self.size,
            channels=self.channels,
            limit=limit,
            classes=self.classes,
            offline=self.offline,
            skip_bad=self.skip_bad,
        )

    def loader(self, samples: ImageSet, order: ShuffledBatches | Sequence[Tensor]) -> ImageBatches:
        """See `BatchDataModule`."""
        return ImageBatches(samples, self.labelled, order)

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Copy a batch to a device, without waiting for a GPU."""
        x, y = batch
        return to_device(x, device), None if y is None else to_device(y, device)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Mirror training images at random, as a function of the seed and the batch index."""
        trainer = self.trainer
        if not self.flip or trainer is None or not trainer.training:
            return batch
        x, y = batch
        coins = torch.rand(
            self.batch_size,
            generator=generator(self.seed, self._batches_seen(), FLIP_STREAM),
            dtype=torch.float32,
        )
        share = coins.chunk(trainer.world_size)[trainer.global_rank]
        flipped = to_device(share < 0.5, x.device)[:, None, None, None]
        mirrored = torch.where(flipped, x.flip(-1), x)
        return mirrored, y


def _split(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """All images but the last tenth, of one image or more, and that tenth.

    Raises:
        HQDMError: If there is a single image.
    """
    kept = len(images) - max(1, len(images) // 10)
    if not kept:
        raise HQDMError("a single image cannot be split: give val_images")
    parts = (slice(None, kept), "train"), (slice(kept, None), "test")
    labels = images.labels
    train, val = (
        replace(
            images,
            images=images.images[rows],
            labels=None if labels is None else labels[rows],
            split=split,
        )
        for rows, split in parts
    )
    return train, val


_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def _check_tensor(what: str, value: object) -> None:
    if not isinstance(value, Tensor) or not value.ndim:
        raise HQDMError(
            f"{what} of type {type(value).__name__}: expected a torch.Tensor with an axis over "
            "the images (torch.from_numpy makes one of an array)"
        )


def _image_set(name: str, split: str, images: Tensor, labels: Tensor | None) -> ImageSet:
    """A split of images in memory.

    Raises:
        HQDMError: If shapes or types do not match.
    """
    _check_tensor("images", images)
    if images.ndim != 4 or images.shape[2] != images.shape[3] or not len(images):
        raise HQDMError(
            f"images of shape {tuple(images.shape)}: expected square ones, (N, C, S, S)"
        )
    if images.is_floating_point():
        if not (images.isfinite().all() and images.abs().max() <= 1):
            raise HQDMError("float images need finite values in [-1, 1]: scale them first")
        images = to_uint8(images)
    if images.dtype != torch.uint8:
        raise HQDMError(f"images of type {images.dtype}: expected uint8 or floats in [-1, 1]")
    classes: tuple[str, ...] = ()
    if labels is not None:
        _check_tensor("labels", labels)
        whole_numbers = labels.dtype in _WHOLE
        if labels.shape != images.shape[:1] or not whole_numbers or labels.min() < 0:
            raise HQDMError(
                f"labels of shape {tuple(labels.shape)} and type {labels.dtype} for {len(images)} "
                "images: expected whole numbers from 0, (N,)"
            )
        labels = labels.long()
        classes = tuple(map(str, range(int(labels.max()) + 1)))
    return ImageSet(images, labels, classes, name, split)
