"""States of an ensemble for training and validation, in the batches of `hqdm.data.batches`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_type_hints

from torch import Tensor

from hqdm.data.batches import BatchDataModule, ShuffledBatches
from hqdm.states.density import as_density, maximally_mixed
from hqdm.states.ensembles import build_ensemble
from hqdm.storage.checkpoint import Checkpoint
from hqdm.utils.checks import check_types, whole
from hqdm.utils.errors import HQDMError, check_names
from hqdm.utils.seeds import generator

TRAIN_STREAM, VAL_STREAM, TEST_STREAM = 6, 7, 8


class StateBatches:
    """A loader of whole batches of states, see `hqdm.data.batches.Loader`.

    Args:
        states: Kets `(N, d)` or density matrices `(N, d, d)`.
        order: The rows of each batch, for this process.
    """

    def __init__(self, states: Tensor, order: ShuffledBatches | Sequence[Tensor]) -> None:
        self.states = states
        self.order = order

    def __len__(self) -> int:
        """Number of batches per epoch."""
        return len(self.order)

    def __iter__(self) -> Iterator[Tensor]:
        """The states of each batch."""
        return (self.states[rows] for rows in self.order)


def data_of_run(checkpoint: Checkpoint) -> "StateDataModule":
    """The data of the run that wrote a checkpoint.

    Args:
        checkpoint: A training checkpoint of a model of quantum states.

    Raises:
        HQDMError: If it does not hold them, or a file of states is not there any more.
    """
    saved = checkpoint.contents.get(StateDataModule.__qualname__)
    if not isinstance(saved, Mapping):
        raise HQDMError(
            f"{checkpoint.source} does not name the ensemble of its run: name the configuration of "
            "the run with --data"
        )
    hints = get_type_hints(StateDataModule.__init__)
    source = f"{checkpoint.source}: data."
    check_names(f"option of {source.rstrip('.')}", saved, hints)
    check_types(saved, hints, source)
    return StateDataModule(**saved, seed=checkpoint.seed)


class StateDataModule(BatchDataModule):
    """Samples of an ensemble.

    Args:
        ensemble: Name of a registered ensemble, see `hqdm.states.ensembles`.
        n_qubits: Number of qubits of its states.
        options: Further options of the ensemble.
        n_states: Number of training states.
        n_val: Number of validation states.
        batch_size: States per batch.
        as_density: Whether kets become density matrices, for channels of those.
        depolarised: Share of 1 / d that is mixed into density matrices, as MSQuDDPM does.
        seed: Random seed of the states and of their order.

    Raises:
        HQDMError: If a number is out of range, or the ensemble has another number of qubits.
    """

    train_set: Tensor
    val_set: Tensor

    def __init__(
        self,
        ensemble: str = "cluster",
        n_qubits: int = 1,
        options: dict[str, Any] | None = None,
        n_states: int = 1000,
        n_val: int = 1000,
        batch_size: int = 100,
        as_density: bool = False,
        depolarised: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        self.n_states = whole("n_states", n_states, 1)
        self.n_val = whole("n_val", n_val, 1)
        self.n_qubits = whole("n_qubits", n_qubits, 1)
        if not 0 <= depolarised <= 1:
            raise HQDMError(f"data.depolarised needs a share in [0, 1], got {depolarised}")
        if depolarised and not as_density:
            raise HQDMError("data.depolarised is of density matrices: set data.as_density to true")
        self.name = ensemble
        self.options = dict(options or {})
        self.ensemble = build_ensemble(ensemble, n_qubits=n_qubits, **self.options)
        self.as_density, self.depolarised = as_density, depolarised

    def setup(self, stage: str | None = None) -> None:
        """Draw both splits, once.

        Raises:
            HQDMError: If there are fewer states than in a batch.
        """
        if hasattr(self, "train_set"):
            return
        if self.n_states < self.batch_size:
            raise HQDMError(
                f"data.n_states is {self.n_states}, fewer than batch_size {self.batch_size}: use a "
                "smaller batch_size"
            )
        self.train_set = self._drawn(self.n_states, TRAIN_STREAM)
        self.val_set = self._drawn(self.n_val, VAL_STREAM)

    def fresh(self, n: int, seed: int, part: int = 0) -> Tensor:
        """States for tests, independent of those of training and validation.

        The states of a finite ensemble, such as that of a file, are drawn with replacement and
        may be those of training.

        Args:
            n: Number of states.
            seed: Random seed of the test.
            part: Number of the sample, of several independent ones.

        Returns:
            Kets `(n, d)` or density matrices `(n, d, d)`, see `pure`.

        Raises:
            HQDMError: If they take more than the memory limit of `hqdm.states.density`.
        """
        return self._drawn(n, seed, part, TEST_STREAM)

    def _drawn(self, n: int, *key: int) -> Tensor:
        states = self.ensemble.sample(n, generator(self.seed, *key))
        if not self.as_density:
            return states
        mixed = as_density(states)
        noise = maximally_mixed(self.n_qubits)
        return (1 - self.depolarised) * mixed + self.depolarised * noise

    @property
    def pure(self) -> bool:
        """True if the states are kets."""
        return self.ensemble.pure and not self.as_density

    @property
    def identity(self) -> dict[str, Any]:
        """See `BatchDataModule`."""
        return {
            **{"ensemble": self.name, "n_qubits": self.n_qubits, "options": self.options},
            **{"n_states": self.n_states, "batch_size": self.batch_size},
            **{"as_density": self.as_density, "depolarised": self.depolarised},
        }

    def loader(self, samples: Tensor, order: ShuffledBatches | Sequence[Tensor]) -> StateBatches:
        """See `BatchDataModule`."""
        return StateBatches(samples, order)
