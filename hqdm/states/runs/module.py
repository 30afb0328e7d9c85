"""The Lightning module of models of quantum states, and how it is built from a configuration.

    model:
      network: {name: TracedCircuit, options: {n_time: 1, n_fresh: 1, n_layers: 6}}
      channel: depolarising
      channel_options: {n_steps: 30}
      predict: final

The number of qubits is set once, under `data`.
"""

import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from hqdm.states.channels import build_channel
from hqdm.states.density import is_kets
from hqdm.states.models.backward import BACKWARD
from hqdm.states.models.denoiser import StateDenoiser
from hqdm.states.models.objectives import Position, build_state_objective
from hqdm.training.base import TrainingModule
from hqdm.utils.errors import HQDMError


class StateModule(TrainingModule):
    """Trains a model of quantum states; batches are kets `(B, d)` or density matrices `(B, d, d)`.

    The loss of validation is the distance of generated states to those of the batch.
    """

    kind = StateDenoiser
    denoiser: StateDenoiser

    def check_run(self, data: Any, steps: float) -> None:
        """See `TrainingModule`; warns if the run is shorter than the objective needs.

        Raises:
            HQDMError: If the states of the data are of another kind than those of the channel, or
                the objective does not take as many in a batch.
        """
        model = self.denoiser
        if is_kets(model.objective.target(data.train_set[:1])) != model.pure:
            raise HQDMError(
                "the channel is of kets and the data are density matrices: set data.as_density to "
                "false, or use a channel of density matrices such as depolarising"
                if model.pure
                else "the channel is of density matrices and the data are kets: set "
                "data.as_density to true, or use the channel scrambling"
            )
        model.objective.check_batch(data.batch_size)
        needed = model.objective.n_batches(model.channel.n_steps)
        if needed is not None and steps < needed:
            warnings.warn(
                f"the objective {model.objective.name} trains one step after the other in {needed} "
                f"batches, and the run ends after {steps}: the last steps back stay untrained "
                "unless trainer.max_steps is larger",
                stacklevel=2,
            )

    def batch_loss(
        self, model: StateDenoiser, batch: Any, draws: torch.Generator, training: bool
    ) -> tuple[Tensor, int]:
        """See `TrainingModule`."""
        if not training:
            return model.distance(batch, draws), len(batch)
        return model.loss(batch, draws, Position(self.batches_seen, self.seed)), len(batch)


@dataclass
class BackwardConfig:
    """The backward model.

    Attributes:
        name: TracedCircuit, MeasuredCircuit, or a registered one.
        n_qubits: Number of qubits of the states; follows `data.n_qubits`.
        options: Its options; the number of steps is that of the channel.
    """

    name: str = "MeasuredCircuit"
    n_qubits: int = 1
    options: dict[str, Any] = field(default_factory=dict)


def build_state_module(
    network: BackwardConfig,
    channel: str = "depolarising",
    channel_options: dict[str, Any] | None = None,
    predict: str = "layerwise",
    predict_options: dict[str, Any] | None = None,
    lr: float | None = None,
    betas: tuple[float, float] | None = None,
    optimizer: OptimizerCallable | None = None,
    lr_scheduler: LRSchedulerCallable | None = None,
    ema_decay: float = 0.0,
    ema_every: int = 1,
    seed: int = 0,
) -> StateModule:
    """Build the module that trains a model of quantum states.

    Args:
        network: The backward model.
        channel: Forward process: "depolarising", "scrambling", "amplitude_damping", or a
            registered one.
        channel_options: Fields of the channel, such as n_steps.
        predict: Objective: "teacher", "own", "final", "layerwise", or a registered one.
        predict_options: Fields of the objective.
        lr: Learning rate of Adam, 0.001 by default.
        betas: Decay rates of Adam's moments, 0.9 and 0.99 by default.
        optimizer: An optimiser in place of Adam, with its learning rate.
        lr_scheduler: Learning-rate schedule, such as hqdm.training.WarmupCosine.
        ema_decay: Decay of the average of the weights at each update; 0 is no average.
        ema_every: Steps between updates of the average.
        seed: Random seed; follows `seed_everything`.

    Returns:
        The module.

    Raises:
        HQDMError: If an option is unknown or out of range, or the parts do not fit together.
    """
    for key in ("n_qubits", "n_steps"):
        if key in network.options:
            other = "data.n_qubits" if key == "n_qubits" else "model.channel_options.n_steps"
            raise HQDMError(f"model.network.options: {key} is set by {other}: leave it out")
    if "name" in (predict_options or {}):
        raise HQDMError("model.predict_options: name is model.predict: leave it out")
    forward = build_channel(channel, **(channel_options or {}))
    sizes = {"n_qubits": network.n_qubits, "n_steps": forward.n_steps}
    backward = BACKWARD[network.name].from_config({**sizes, **network.options})
    objective = build_state_objective({**(predict_options or {}), "name": predict})
    return StateModule(
        StateDenoiser(backward, forward, objective),
        lr=lr,
        betas=betas,
        ema_decay=ema_decay,
        ema_every=ema_every,
        ema_start=0,
        seed=seed,
        optimizer=optimizer,
        lr_scheduler=lr_scheduler,
    )
