r"""The denoiser of quantum states: a backward model with its channel and objective.

    rho_T ~ prior of the channel,    rho_{t-1} = step_t(rho_t),    t = T, ..., 1

It is what a `Denoiser` is for images: it has the loss of training and generates samples, and is
saved and loaded in the same files.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Self

import torch
from torch import Tensor

from hqdm.diffusion.model import KIND, Model, main_dtype, parts_of, register_model
from hqdm.states.channels import Channel, build_channel, channel_config
from hqdm.states.density import refuse_density, refuse_kets
from hqdm.states.models.backward import BACKWARD, Backward
from hqdm.states.models.objectives import (
    OfOneState,
    Position,
    StateObjective,
    build_state_objective,
    state_objective_config,
)
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError

STATES = "states"


@register_model(STATES)
class StateDenoiser(Model):
    """A backward model, the forward channel, and the objective.

    Args:
        network: The backward model, of as many steps as the channel.
        channel: The forward process.
        objective: The objective.

    Raises:
        HQDMError: If the three do not fit together.
    """

    noun = "a model of quantum states"
    usage = """import torch

from hqdm.states.models import StateDenoiser

states = StateDenoiser.from_pretrained(".").generate(16, torch.Generator())"""
    network: Backward

    def __init__(self, network: Backward, channel: Channel, objective: StateObjective) -> None:
        super().__init__()
        if network.n_steps != channel.n_steps:
            raise HQDMError(
                f"the backward model has {network.n_steps} steps and the channel "
                f"{channel.n_steps}: give both the same number"
            )
        one_state = isinstance(objective, OfOneState)
        if one_state and (network.collapses or channel.pure):
            raise HQDMError(
                f"the objective {objective.name!r} is of one density matrix: use a network that "
                "traces the auxiliary qubits out (TracedCircuit) and a channel of density "
                "matrices, or the objective layerwise"
            )
        if channel.pure and not network.collapses:
            raise HQDMError(
                "a channel of kets needs a network that measures the auxiliary qubits "
                "(MeasuredCircuit): tracing them out leaves no kets"
            )
        self.network = network
        self.channel = channel
        self.objective = objective
        self.discriminator = objective.discriminator(network.n_qubits)

    @property
    def n_qubits(self) -> int:
        """Number of qubits of the states."""
        return self.network.n_qubits

    @property
    def pure(self) -> bool:
        """True if the states are kets."""
        return self.channel.pure

    @property
    def dtype(self) -> torch.dtype:
        """The complex dtype of the states."""
        real = main_dtype(self.parameters()) or torch.float32
        return torch.promote_types(real, torch.float32).to_complex()

    def refuse_states(self, n: int) -> None:
        """Refuse n states that take more than the memory limit of `hqdm.states.density`.

        Raises:
            HQDMError: If they take more.
        """
        refuse = refuse_kets if self.pure else refuse_density
        refuse(n, self.n_qubits, self.dtype)

    @property
    def config(self) -> dict[str, Any]:
        """See `Model`.

        Raises:
            HQDMError: If the network, the channel or the objective is not registered.
        """
        return {
            KIND: STATES,
            "network": {"name": BACKWARD.saved_name(self.network), **self.network.config},
            "channel": channel_config(self.channel),
            "objective": state_objective_config(self.objective),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """See `Model`."""
        network, channel, objective = parts_of(config, ("network", "channel", "objective"))
        options = dict(network)
        return cls(
            BACKWARD[options.pop("name")].from_config(options),
            build_channel(**channel),
            build_state_objective(objective),
        )

    def loss(self, data: Tensor, draws: torch.Generator, position: Position) -> Tensor:
        """The training loss of a batch.

        Args:
            data: States of the data, kets `(B, d)` or density matrices `(B, d, d)`.
            draws: Generator of the random numbers of the batch.
            position: The place of the batch in the training.
        """
        data = data.to(self.dtype)
        return self.objective.loss(
            self.network, self.channel, data, draws, position, self.discriminator
        )

    def distance(self, data: Tensor, draws: torch.Generator) -> Tensor:
        """The distance of generated states to the data, by the distance of the objective.

        Args:
            data: States of the data, kets `(B, d)` or density matrices `(B, d, d)`.
            draws: Generator of the generated states, as many as the target has.
        """
        target = self.objective.target(data.to(self.dtype))
        return self.objective.measure(self.generate(len(target), draws), target).mean()

    @torch.no_grad()
    def generate(self, n: int, draws: torch.Generator) -> Tensor:
        """Generate states.

        Args:
            n: Number of states.
            draws: Generator of the prior and of the outcomes.

        Returns:
            Kets `(n, d)` or density matrices `(n, d, d)`; those of QGDM are all equal.

        Raises:
            HQDMError: If n is not a whole number from 1, or the states take more than the memory
                limit of `hqdm.states.density`.
        """
        ((_, states),) = deque(self.steps(n, draws), maxlen=1)
        return states

    def denoising(self, n: int, draws: torch.Generator) -> list[Tensor]:
        """The states of one generation at the steps T, ..., 0, see `generate`."""
        return [states for _, states in self.steps(n, draws)]

    @torch.no_grad()
    def steps(self, n: int, draws: torch.Generator) -> Iterator[tuple[int, Tensor]]:
        """The steps T, ..., 0 of one generation with the states at each, see `generate`."""
        self.refuse_states(whole("n", n, 1))
        device = next(self.parameters()).device
        prior = self.channel.prior(n, self.n_qubits, draws).to(device, self.dtype)
        yield self.channel.n_steps, prior
        yield from self.network.chain(prior, draws)
