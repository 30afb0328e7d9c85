r"""Objectives: the states that a backward model is trained on, and the distance of the loss.

With the exact states rho_t of the channel and the model's own chain rho~_T = rho_T, ..., rho~_0:

    teacher    mean over t of D(step_t(rho_t), rho_{t-1})
    own        mean over t of D(rho~_{t-1}, rho_{t-1})
    final      D(rho~_0, rho_0)
    layerwise  step T first: D(step_t(inputs), ensemble at t - 1), the inputs being samples of the
               finished steps after t

The first three are of one density matrix, the average of the data (QGDM); the identity map is close
to the minimum of `teacher`, and a model whose only auxiliary qubit carries the time ends there.
`layerwise` is of ensembles (QuDDPM, MSQuDDPM). Distances of two states are 1 - superfidelity and
the squared Hilbert-Schmidt norm; those of two ensembles are the MMD and the 1-Wasserstein distance
with the kernels of `hqdm.states.distances`. For T = 1, `layerwise` is QuDDPM's control QDT (quantum
direct transport): one circuit from Haar-random kets to the ensemble.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from hqdm.states.channels import Channel
from hqdm.states.density import as_density
from hqdm.states.distances import (
    average,
    hilbert_schmidt,
    mmd,
    superfidelity,
    wasserstein,
)
from hqdm.states.models.backward import Backward
from hqdm.utils.checks import check_fields, whole
from hqdm.utils.errors import HQDMError, unknown
from hqdm.utils.registry import Registry
from hqdm.utils.seeds import generator

Distance = Callable[[Tensor, Tensor], Tensor]

OF_STATES: dict[str, Distance] = {
    "superfidelity": lambda a, b: 1 - superfidelity(a, b),
    "hilbert_schmidt": hilbert_schmidt,
}
"""Distances of two density matrices by name."""

OF_ENSEMBLES: dict[str, Distance] = {"mmd": mmd, "wasserstein": wasserstein}
"""Distances of two ensembles by name."""

INPUT_STREAM = 5


class Position(NamedTuple):
    """The place of a batch in a training.

    Attributes:
        batch: Number of batches before it.
        seed: Random seed of the run.
    """

    batch: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class StateObjective(ABC):
    """The loss of a backward model.

    Attributes:
        distance: Name of the distance.

    Raises:
        HQDMError: If the distance is unknown.
    """

    name: ClassVar[str]
    distances: ClassVar[Mapping[str, Distance]]

    distance: str

    def __post_init__(self) -> None:
        if self.distance not in self.distances:
            raise unknown(f"distance of the objective {self.name!r}", self.distance, self.distances)

    @property
    def measure(self) -> Distance:
        """The distance as a function."""
        return self.distances[self.distance]

    def n_batches(self, n_steps: int) -> int | None:
        """The number of batches of a whole training of T steps; None for any number."""
        return None

    @property
    def largest_batch(self) -> int | None:
        """Largest number of states per batch; None for any number."""
        return None

    def check_batch(self, size: int) -> None:
        """Refuse a number of states per batch.

        Raises:
            HQDMError: If it is above `largest_batch`.
        """
        if self.largest_batch is not None and size > self.largest_batch:
            raise HQDMError(
                f"predict_options.inputs is {self.largest_batch}, fewer than the {size} states of "
                "a batch: use more inputs, or a smaller data.batch_size"
            )

    def discriminator(self, n_qubits: int) -> nn.Module | None:
        """A new module of the loss whose parameters are trained, too; none unless overridden."""
        return None

    @abstractmethod
    def loss(
        self,
        network: Backward,
        channel: Channel,
        data: Tensor,
        draws: torch.Generator,
        position: Position,
        discriminator: nn.Module | None = None,
    ) -> Tensor:
        """The loss of a batch.

        Args:
            network: The backward model.
            channel: The forward process.
            data: States of the data, kets `(B, d)` or density matrices `(B, d, d)`.
            draws: Generator of the random numbers of the batch.
            position: The place of the batch.
            discriminator: The module of `discriminator`.
        """

    def target(self, data: Tensor) -> Tensor:
        """The states with which those of the model are compared; the data unless overridden."""
        return data


STATE_OBJECTIVES: Registry[type[StateObjective]] = Registry("objective of states")
"""Objectives by name."""

ObjectiveType = TypeVar("ObjectiveType", bound=type[StateObjective])


def register_state_objective(cls: ObjectiveType) -> ObjectiveType:
    """Class decorator: make an objective available by its `name`."""
    STATE_OBJECTIVES.register(cls.name, cls)
    return cls


@dataclass(frozen=True, kw_only=True)
class OfOneState(StateObjective):
    """An objective of one density matrix, the average of the data."""

    distances = OF_STATES

    distance: str = "superfidelity"

    def target(self, data: Tensor) -> Tensor:
        """The average of the data, `(1, d, d)`."""
        return average(as_density(data))[None]

    def loss(
        self,
        network: Backward,
        channel: Channel,
        data: Tensor,
        draws: torch.Generator,
        position: Position,
        discriminator: nn.Module | None = None,
    ) -> Tensor:
        """See `StateObjective`."""
        exact = channel.path(self.target(data)[0], draws)
        states = self.states(network, exact, draws)
        return self.measure(states, exact[: len(states)]).mean()

    @abstractmethod
    def states(self, network: Backward, exact: Tensor, draws: torch.Generator) -> Tensor:
        """The states of the model whose distance to the exact ones is the loss.

        Args:
            network: The backward model.
            exact: The states rho_0, ..., rho_T, `(T + 1, d, d)`.
            draws: Generator of the outcomes.

        Returns:
            States at the steps 0, 1, ..., `(t, d, d)`.
        """


@register_state_objective
@dataclass(frozen=True, kw_only=True)
class Teacher(OfOneState):
    """Teacher forcing: every step on the exact state before it."""

    name = "teacher"

    def states(self, network: Backward, exact: Tensor, draws: torch.Generator) -> Tensor:
        """See `OfOneState`."""
        return network.each(exact[1:], draws)


@register_state_objective
@dataclass(frozen=True, kw_only=True)
class Own(OfOneState):
    """The model's own states after every step."""

    name = "own"

    def states(self, network: Backward, exact: Tensor, draws: torch.Generator) -> Tensor:
        """See `OfOneState`."""
        return torch.cat([after for _, after in network.chain(exact[-1:], draws)]).flip(0)


@register_state_objective
@dataclass(frozen=True, kw_only=True)
class Final(OfOneState):
    """The model's own state after the last step."""

    name = "final"

    def states(self, network: Backward, exact: Tensor, draws: torch.Generator) -> Tensor:
        """See `OfOneState`."""
        (*_, (_, last)) = network.chain(exact[-1:], draws)
        return last


@register_state_objective
@dataclass(frozen=True, kw_only=True)
class Layerwise(StateObjective):
    """One step of the model after the other, from step T to step 1.

    Attributes:
        distance: "mmd" or "wasserstein".
        batches: Number of batches for each step.
        inputs: Number of samples of the finished steps, drawn once for each step, of which every
            batch takes as many as it has states.

    Raises:
        HQDMError: If a number is below 1, or the distance is unknown.
    """

    name = "layerwise"
    distances = OF_ENSEMBLES

    distance: str = "mmd"
    batches: int = 2000
    inputs: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("predict_options.batches", self.batches, 1)
        whole("predict_options.inputs", self.inputs, 1)

    def n_batches(self, n_steps: int) -> int:
        """See `StateObjective`."""
        return n_steps * self.batches

    @property
    def largest_batch(self) -> int:
        """See `StateObjective`: a batch takes as many inputs as it has states."""
        return self.inputs

    def trained_step(self, n_steps: int, batch: int) -> int:
        """The step t that a batch trains."""
        return max(n_steps - batch // self.batches, 1)

    def loss(
        self,
        network: Backward,
        channel: Channel,
        data: Tensor,
        draws: torch.Generator,
        position: Position,
        discriminator: nn.Module | None = None,
    ) -> Tensor:
        """See `StateObjective`.

        Raises:
            HQDMError: If a batch has more states than there are inputs.
        """
        self.check_batch(len(data))
        t = self.trained_step(network.n_steps, position.batch)
        inputs = self._inputs(network, channel, data, t, position.seed)
        rows = torch.randperm(self.inputs, generator=draws)[: len(data)]
        after = network.step(inputs[rows.to(inputs.device)], t, draws)
        return self.measure(after, channel.at(data, t - 1, draws).to(after))

    @torch.no_grad()
    def _inputs(
        self, network: Backward, channel: Channel, data: Tensor, t: int, seed: int
    ) -> Tensor:
        """Samples of the model after its steps T, ..., t + 1.

        They follow from the random seed and the angles of these steps, and are kept until one of
        them changes.
        """
        kept: tuple[object, Tensor, Tensor] | None = getattr(network, "_inputs_of_step", None)
        key = t, seed, self.inputs, data.dtype, data.device
        angles = [parameter.flatten() for parameter in network.parameters_of(t + 1)]
        finished = torch.cat(angles) if angles else data.new_zeros(0)
        if kept is not None and kept[0] == key and torch.equal(kept[1], finished):
            return kept[2]
        own = generator(seed, t, INPUT_STREAM)
        states = channel.prior(self.inputs, network.n_qubits, own).to(data)
        for _, after in network.chain(states, own, until=t):
            states = after
        network._inputs_of_step = (key, finished, states)  # type: ignore[assignment]
        return states


def build_state_objective(config: Mapping[str, Any]) -> StateObjective:
    """Build an objective from its fields and its `name`.

    Raises:
        HQDMError: If the name or an option is unknown, or an option is not of its type.
    """
    options = {key: value for key, value in config.items() if key != "name"}
    cls = STATE_OBJECTIVES[config["name"]]
    check_fields(f"option of the objective {cls.name!r}", options, cls, "predict_options.")
    return cls(**options)


def state_objective_config(objective: StateObjective) -> dict[str, Any]:
    """The plain configuration from which `build_state_objective` rebuilds an objective.

    Raises:
        HQDMError: If its class is not registered.
    """
    return {"name": STATE_OBJECTIVES.saved_name(objective), **asdict(objective)}
