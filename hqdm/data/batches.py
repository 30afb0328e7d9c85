"""Training batches that do not change if a run is interrupted and resumed.

Batch `k` of a run (counted from 0 over all epochs) is a function of the seed and `k` only: its
epoch is `k // batches_per_epoch`, the order of the epoch is a permutation seeded by
`(seed, epoch)`, and process `r` of a distributed run takes the r-th part of each batch. A
checkpoint thus needs to store `k` only.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Any, Protocol, cast

import torch
from lightning import LightningDataModule
from torch import Tensor

from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import generator


class Loader(Protocol):
    """Batches of the samples of one split.

    It is no `DataLoader`: a trainer replaces the order of samples of those by one of its own, which
    is not that of whole batches and cannot be resumed.
    """

    def __len__(self) -> int:
        """Number of batches per epoch."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """The batches."""
        ...


class ShuffledBatches:
    """The rows of each batch of an epoch, for one process.

    Args:
        n: Number of samples; an incomplete last batch of an epoch is dropped.
        batch_size: Samples per batch over all processes.
        seed: Random seed of the order.
        position: Returns the number of batches that the run has seen; called at the start of each
            epoch.
        rank: Index of this process.
        world_size: Number of processes.
        repeated: Number of batches of the first epoch that are all batches of every epoch; None
            for all batches, in another order in each epoch.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int,
        position: Callable[[], int],
        rank: int = 0,
        world_size: int = 1,
        repeated: int | None = None,
    ) -> None:
        self.n = n
        self.batch_size = batch_size
        self.seed = seed
        self.position = position
        self.rank = rank
        self.world_size = world_size
        self.repeated = repeated

    def __len__(self) -> int:
        """Number of batches in all samples."""
        return self.n // self.batch_size

    def __iter__(self) -> Iterator[Tensor]:
        """The remaining batches of the current epoch."""
        n_batches = len(self) if self.repeated is None else min(self.repeated, len(self))
        epoch, first = divmod(self.position(), n_batches)
        seeds = (self.seed, epoch if self.repeated is None else 0)
        order = torch.randperm(self.n, generator=generator(*seeds))
        share = self.batch_size // self.world_size
        for k in range(first, n_batches):
            start = k * self.batch_size + self.rank * share
            yield order[start : start + share]


class BatchDataModule(LightningDataModule):
    """Samples in memory for training and validation.

    Args:
        batch_size: Samples per batch over all processes.
        seed: Random seed of the order of the training samples.

    Attributes:
        train_set: The training samples, after `setup`.
        val_set: The validation samples, after `setup`.
        labelled: Whether batches have labels.
        name: A name for messages and records.

    Raises:
        HQDMError: If a number is out of range.
    """

    train_set: Sized
    val_set: Sized
    labelled: bool = False
    name: str

    def __init__(self, batch_size: int, seed: int) -> None:
        super().__init__()
        self.batch_size = whole("batch_size", batch_size, 1)
        self.seed = whole("seed", seed)

    @abstractmethod
    def setup(self, stage: str | None = None) -> None:
        """Load both splits, once."""

    @abstractmethod
    def loader(self, samples: Any, order: "ShuffledBatches | Sequence[Tensor]") -> Loader:
        """The batches of a split.

        Args:
            samples: `train_set` or `val_set`.
            order: The rows of each batch, for this process.
        """

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """The properties that must not change for a resumed run to see the same batches."""

    @property
    def n_classes(self) -> int:
        """Number of classes of the samples; 0 without labels."""
        return 0

    @property
    def batches_per_epoch(self) -> int:
        """Number of training batches per epoch; an incomplete last one is dropped."""
        return len(self.train_set) // self.batch_size

    def state_dict(self) -> dict[str, Any]:
        """The state of the data module in a checkpoint."""
        return self.identity

    def _rank_and_world_size(self) -> tuple[int, int]:
        """Index and number of processes; without a trainer, there is one."""
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)

    def train_dataloader(self) -> Loader:
        """The training batches of this process, from the current position of the run.

        Without a trainer, those of the first epoch; with the trainer's option `overfit_batches`,
        the first batches of the first epoch in every epoch.

        Raises:
            HQDMError: If a batch cannot be split over the processes, or as in `setup`.
        """
        self.setup()
        rank, world_size = self._rank_and_world_size()
        self.check_processes(world_size)
        order = ShuffledBatches(
            len(self.train_set),
            self.batch_size,
            self.seed,
            self._batches_seen,
            rank,
            world_size,
            self._repeated(),
        )
        return self.loader(self.train_set, order)

    def _repeated(self) -> int | None:
        """Number of batches that the trainer's `overfit_batches` repeats; None without it."""
        limit = getattr(self.trainer, "overfit_batches", 0)
        share = isinstance(limit, float)
        return (int(limit * self.batches_per_epoch) if share else limit) or None

    def check_processes(self, world_size: int) -> None:
        """Check that a batch can be split over processes.

        Raises:
            HQDMError: If it cannot.
        """
        if self.batch_size % world_size:
            raise HQDMError(
                f"batch_size {self.batch_size} cannot be split over {world_size} "
                f"processes: use a multiple of {world_size}"
            )

    def val_dataloader(self) -> Loader:
        """This process's part of each validation batch, in order; raises as `setup`."""
        self.setup()
        rank, world = self._rank_and_world_size()
        n = len(self.val_set)
        # Up to `world - 1` samples are dropped, since all processes need equally many batches; of
        # fewer samples than processes some are used twice.
        rows = torch.arange(n // world * world or world) % n
        batches = [batch.chunk(world)[rank] for batch in rows.split(self.batch_size)]
        return self.loader(self.val_set, batches)

    def test_dataloader(self) -> Loader:
        """The validation batches."""
        return self.val_dataloader()

    def predict_dataloader(self) -> Loader:
        """The validation batches."""
        return self.val_dataloader()

    def _batches_seen(self) -> int:
        """Number of training batches so far, counted by the module or else by the trainer."""
        if self.trainer is None:
            return 0
        seen = getattr(self.trainer.lightning_module, "batches_seen", None)
        return cast(int, self.trainer.fit_loop.total_batch_idx + 1 if seen is None else seen)
