r"""Adversarial training: a discriminator in place of a distance (QuGAN).

    p(rho) = (1 + tr(O rho)) / 2,    O = <0| V(phi)^dagger Z_0 V(phi) |0>,   |0> of the ancillas

    discriminator    phi that maximises g = E p(data) - E p(generated), the generator fixed
    generator        theta that minimises g, the discriminator fixed

p is the probability with which the discriminator takes a state for one of the data: V acts on
ancillas and on the state, the ancillas first, and qubit 0 is measured. Over all -1 <= O <= 1, which
one ancilla suffices for, the maximum of g is the trace distance of the average states of data and
generator (Helstrom 1969); without an ancilla half of the eigenvalues of O are 1 and half -1. As the
MMD of kets, g depends on the averages only.

The two take turns. A parameter of the one that waits has no gradient, and optimisers skip it; a
reversed gradient with a factor in common steps would not do, as Adam's steps do not depend on a
factor of the gradient.

Source: the control QGAN of Zhang et al., PRL 132, 100602, of one turn each in every round.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from hqdm.states.channels import Channel
from hqdm.states.distances import average
from hqdm.states.models.backward import Backward, Circuits
from hqdm.states.models.objectives import (
    OF_ENSEMBLES,
    Position,
    StateObjective,
    register_state_objective,
)
from hqdm.utils.checks import whole


class Discriminator(nn.Module):
    """The discriminator, see the module.

    Args:
        n_qubits: Number of qubits of the states.
        n_ancillas: Number of ancillas in |0>.
        n_layers: Layers of the circuit V of RX, RY and CZ.

    Raises:
        HQDMError: If there are too many qubits.
    """

    def __init__(self, n_qubits: int, n_ancillas: int, n_layers: int) -> None:
        super().__init__()
        self.dim = 2**n_qubits
        self.circuits = Circuits("RotationCZ", n_ancillas + n_qubits, n_layers, 1, 1.0, {})

    def observable(self) -> Tensor:
        """The observable O, complex `(d, d)`."""
        (columns,) = self.circuits.columns([0], torch.arange(self.dim))  # V|0, j>, (d, all)
        up, down = columns.chunk(2, dim=1)
        return up.conj() @ up.mT - down.conj() @ down.mT


def probability(observable: Tensor, states: Tensor) -> Tensor:
    """The mean of p, in [0, 1].

    Args:
        observable: The observable O, `(d, d)`.
        states: Kets `(B, d)` or density matrices `(B, d, d)`.
    """
    return (1 + (observable * average(states).mT).sum().real) / 2


@register_state_objective
@dataclass(frozen=True, kw_only=True)
class Adversarial(StateObjective):
    """Turns of a discriminator and of the generator, the model from its prior to step 0.

    Of a model of one step, the generator is one circuit on states of the prior, as in the public
    code of QuDDPM.

    Attributes:
        distance: "mmd" or "wasserstein", of generated states in validation.
        n_ancillas: Ancillas of the discriminator.
        n_layers: Layers of the discriminator.
        discriminator_batches: Batches of a turn of the discriminator, which is the first.
        generator_batches: Batches of a turn of the generator.

    Raises:
        HQDMError: If a number is out of range, or the distance is unknown.
    """

    name = "adversarial"
    distances = OF_ENSEMBLES

    distance: str = "mmd"
    n_ancillas: int = 1
    n_layers: int = 4
    discriminator_batches: int = 1
    generator_batches: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("predict_options.n_ancillas", self.n_ancillas)
        for name in ("n_layers", "discriminator_batches", "generator_batches"):
            whole(f"predict_options.{name}", getattr(self, name), 1)

    def discriminator(self, n_qubits: int) -> Discriminator:
        """See `StateObjective`."""
        return Discriminator(n_qubits, self.n_ancillas, self.n_layers)

    def of_generator(self, batch: int) -> bool:
        """True for a batch of the generator's turn."""
        turns = self.discriminator_batches + self.generator_batches
        return batch % turns >= self.discriminator_batches

    def loss(
        self,
        network: Backward,
        channel: Channel,
        data: Tensor,
        draws: torch.Generator,
        position: Position,
        discriminator: nn.Module | None = None,
    ) -> Tensor:
        """See `StateObjective`: g of the generator's turn, else -g."""
        of_generator = self.of_generator(position.batch)
        prior = channel.prior(len(data), network.n_qubits, draws).to(data)
        with torch.set_grad_enabled(of_generator):
            (*_, (_, generated)) = network.chain(prior, draws)
        with torch.set_grad_enabled(not of_generator):
            observable = cast(Discriminator, discriminator).observable()
        gap = probability(observable, data) - probability(observable, generated)
        return gap if of_generator else -gap
