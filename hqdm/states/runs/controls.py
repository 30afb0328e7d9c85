r"""Controls of a model of quantum states that need no training.

    identity    the fidelity of the prior of the channel to the average state of the data
    Petz        that of the state which the Petz chain makes, the exact reverse of the channel
    bound       the largest one of a model that follows the path of the channel

See `hqdm.states.petz` and `hqdm.states.majorisation`. The last two are of channels of density
matrices with a closed form, and the bound is of auxiliary qubits that are traced out: a measurement
may make pure states of mixed ones.
"""

from dataclasses import dataclass

from torch import Tensor

from hqdm.states.channels import DampingChannel
from hqdm.states.distances import average, fidelity, mixed_fidelity
from hqdm.states.majorisation import path_bound
from hqdm.states.models.denoiser import StateDenoiser
from hqdm.states.petz import petz_chain
from hqdm.utils.tables import Sheet, counted

FOR_DENSITY = "does not apply to a channel of kets"
FOR_TRACED = "does not apply to measured auxiliary qubits"
CLOSED_FORM = "does not apply to a channel without a closed form"


@dataclass(frozen=True)
class Controls:
    """Fidelities to the average state of the data, see the module.

    Attributes:
        identity: That of the prior; the prior of a channel of kets is taken as Haar-random.
        petz: That of the Petz chain, or the reason why there is none.
        bound: The bound, or the reason why there is none.
        n_auxiliary: Number of auxiliary qubits of the bound.
    """

    identity: float
    petz: float | str
    bound: float | str
    n_auxiliary: int

    @classmethod
    def of(cls, model: StateDenoiser, states: Tensor) -> "Controls":
        """The controls of a model.

        Args:
            model: The model; its angles have no effect.
            states: States of the data, kets `(B, d)` or density matrices `(B, d, d)`.

        Raises:
            HQDMError: If a path takes more than the memory limit of `hqdm.states.density`.
        """
        channel, network = model.channel, model.network
        if channel.pure:
            identity = float(mixed_fidelity(states))
            return cls(identity, FOR_DENSITY, FOR_DENSITY, network.n_auxiliary)
        rho = average(states)
        identity = float(fidelity(channel.prior(1, model.n_qubits)[0], rho))
        if not isinstance(channel, DampingChannel):
            return cls(identity, CLOSED_FORM, CLOSED_FORM, network.n_auxiliary)
        petz = float(fidelity(petz_chain(channel, rho)[0], rho))
        traced = not network.collapses
        bound = float(path_bound(channel, rho, network.n_auxiliary)[0]) if traced else FOR_TRACED
        return cls(identity, petz, bound, network.n_auxiliary)


def control_sheet(controls: Controls) -> Sheet:
    """The controls as a table."""
    auxiliary = counted(controls.n_auxiliary, "auxiliary qubit")
    rows = (
        ("identity map: the prior", controls.identity),
        ("Petz chain: the exact reverse", controls.petz),
        (f"bound on the path, {auxiliary}", controls.bound),
    )
    title = "without training: fidelity to the average state of the data"
    cells = [(name, value if isinstance(value, str) else f"{value:.4f}") for name, value in rows]
    return Sheet(title, ("control", "F"), cells)
