r"""Backward models: one step of the reverse process as a unitary on data and auxiliary qubits.

    K_z(t) = <z|_aux U(theta) |a_t>_aux           (d x d, one for each of the Z = 2^m outcomes z)

    traced      rho -> sum_z K_z rho K_z^dagger                      (QGDM, RE-QGDM)
    measured    psi -> K_z psi / sqrt(p_z),    p_z = |K_z psi|^2     (QuDDPM)
                rho -> K_z rho K_z^dagger / p_z                      (MSQuDDPM)

The m auxiliary qubits stand before the n data qubits, the most significant first. Their initial
state |a_t> depends on the model. All samples share U, whose columns are computed once per step by
the compiled simulator; the rest are matrix products of dimension d. Few kets of many qubits are
simulated one by one instead, as trajectories (`MeasuredCircuit`).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar, get_type_hints

import torch
from torch import Tensor, nn

from hqdm.circuits import AmplitudeEmbedding, Circuit
from hqdm.circuits.ansatz import build_ansatz
from hqdm.states.density import refuse_density
from hqdm.utils.checks import check_types, positive, whole
from hqdm.utils.errors import HQDMError
from hqdm.utils.registry import Registry

MAX_WIRES = 20
"""Largest number of data and auxiliary qubits: a ket then has 8 MB."""


class Circuits(nn.Module):
    """Circuits of one kind on all wires, and columns of their unitaries.

    Args:
        ansatz: Name of a registered ansatz.
        n_wires: Number of qubits.
        n_layers: Number of layers.
        n_circuits: Number of circuits, each with its own angles.
        angle_std: Standard deviation of the initial angles in radians.
        options: Further options of the ansatz.

    Attributes:
        theta: The angles of each circuit in radians, a list, since a stage of training may change
            those of one circuit only.

    Raises:
        HQDMError: If there are too many qubits, or the ansatz or an option is unknown.
    """

    def __init__(
        self,
        ansatz: str,
        n_wires: int,
        n_layers: int,
        n_circuits: int,
        angle_std: float,
        options: Mapping[str, Any],
    ) -> None:
        super().__init__()
        whole("the number of data and auxiliary qubits", n_wires, 1, MAX_WIRES)
        built = build_ansatz(ansatz, n_wires, n_layers, **options)
        self.circuit = Circuit(AmplitudeEmbedding(n_wires), built, measure="state")
        self.angle_std = positive("angle_std", angle_std)
        shape = self.circuit.weights_shape
        self.theta = nn.ParameterList(torch.empty(shape) for _ in range(n_circuits))
        self.reset_parameters()

    def quantum_parameters(self) -> Iterator[nn.Parameter]:
        """See `hqdm.nn.parts.QuantumModule`."""
        return iter(self.theta)

    def reset_parameters(self) -> None:
        """Draw the angles anew, from N(0, angle_std^2)."""
        for angles in self.theta:
            nn.init.normal_(angles, std=self.angle_std)

    def columns(self, which: Sequence[int], basis: Tensor) -> Tensor:
        """Columns of the unitaries, differentiable in the angles.

        Args:
            which: Indices of the circuits.
            basis: Indices of the basis states `(N,)`.

        Returns:
            U|i> for each circuit and basis state i, complex `(len(which), N, 2^n_wires)`.
        """
        from hqdm.simulators.columns import columns  # imports PennyLane

        angles = self._angles(which)
        return columns(self.circuit, basis.to(angles.device), angles)

    def evolved(self, which: int, states: Tensor) -> Tensor:
        """States after a circuit, differentiable in states and angles.

        Args:
            which: Index of the circuit.
            states: Complex `(B, 2^n_wires)`.

        Returns:
            Of the same shape.
        """
        from hqdm.simulators.columns import evolved  # imports PennyLane

        return evolved(self.circuit, states[None], self._angles([which]))[0]

    def _angles(self, which: Sequence[int]) -> Tensor:
        angles = torch.stack([self.theta[i] for i in which])
        return angles.to(torch.promote_types(angles.dtype, torch.float32))


class Backward(nn.Module, ABC):
    """A backward model of n data qubits and T steps.

    Args:
        n_qubits: Number n of data qubits.
        n_steps: Number T of steps.

    Attributes:
        dim: d = 2^n.
        collapses: Whether a step measures the auxiliary qubits.

    Raises:
        HQDMError: If a size is not a whole number from 1.
    """

    collapses: bool

    def __init__(self, n_qubits: int, n_steps: int) -> None:
        super().__init__()
        self.n_qubits = whole("n_qubits", n_qubits, 1)
        self.n_steps = whole("n_steps", n_steps, 1)
        self.dim = 2**n_qubits

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the model that `config` describes, with fresh angles.

        Raises:
            HQDMError: If an option is unknown or has another type than its argument.
        """
        hints = get_type_hints(cls.__init__)
        check_types(config, hints, "network.")
        return cls(**config)

    @property
    @abstractmethod
    def n_auxiliary(self) -> int:
        """Number m of auxiliary qubits."""

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The plain configuration from which `from_config` rebuilds the model."""

    @property
    @abstractmethod
    def parts(self) -> Mapping[str, nn.Module]:
        """The circuits by name."""

    @abstractmethod
    def kraus(self, steps: Sequence[int]) -> Tensor:
        """The Kraus operators of some steps, computed together.

        Args:
            steps: Steps from 1 to T.

        Returns:
            Complex operators, those of each step along the first axis, `(d, d)` along the last two.
        """

    def maps(self, steps: Sequence[int]) -> Tensor:
        """The argument of `after` for each of some steps: the Kraus operators unless overridden."""
        return self.kraus(steps)

    @abstractmethod
    def after(self, states: Tensor, maps: Tensor, draws: torch.Generator) -> Tensor:
        """States after one step.

        Args:
            states: Kets `(B, d)` or density matrices `(B, d, d)`.
            maps: That of the step, see `maps`.
            draws: Generator of the outcomes.
        """

    def parameters_of(self, until: int) -> Iterator[nn.Parameter]:
        """The parameters on which the steps T, ..., `until` depend; all unless overridden."""
        return self.parameters()

    def step(self, states: Tensor, t: int, draws: torch.Generator) -> Tensor:
        """States at step t - 1 from states at step t.

        Args:
            states: Kets `(B, d)` or density matrices `(B, d, d)`.
            t: The step, from T down to 1.
            draws: Generator of the outcomes.

        Raises:
            HQDMError: If the states do not fit the model, or there is no such step.
        """
        self.check(states)
        return next(self.moved(states, [whole("t", t, 1, self.n_steps)], draws))

    def each(self, states: Tensor, draws: torch.Generator) -> Tensor:
        """States at the steps 0, ..., T - 1, each from one state at the step after it.

        Args:
            states: States at the steps 1, ..., T, kets `(T, d)` or density matrices `(T, d, d)`.
            draws: Generator of the outcomes.

        Raises:
            HQDMError: If the states do not fit the model.
        """
        self.check(states)
        every = self.maps(range(1, self.n_steps + 1))
        pairs = zip(states, every, strict=True)
        return torch.cat([self.after(state[None], maps, draws) for state, maps in pairs])

    def chain(
        self, states: Tensor, draws: torch.Generator, until: int = 0
    ) -> Iterator[tuple[int, Tensor]]:
        """The states after each step back from step T, with the number of the step.

        Args:
            states: States at step T.
            draws: Generator of the outcomes.
            until: The step of the last states.

        Raises:
            HQDMError: If the states do not fit the model.
        """
        self.check(states)
        steps = range(self.n_steps, until, -1)
        if steps:
            for t, after in zip(steps, self.moved(states, steps, draws), strict=True):
                yield t - 1, after

    def moved(
        self, states: Tensor, steps: Sequence[int], draws: torch.Generator
    ) -> Iterator[Tensor]:
        """The states after each of some steps, one after the other.

        Args:
            states: The states before them.
            steps: The steps, one or more.
            draws: Generator of the outcomes.
        """
        for maps in self.maps(steps):
            states = self.after(states, maps, draws)
            yield states

    def check(self, states: Tensor) -> None:
        """Refuse states that the model does not take.

        Raises:
            HQDMError: If they are of another dimension.
        """
        if states.shape[-1] != self.dim or states.ndim not in (2, 3):
            raise HQDMError(
                f"the model is of states of dimension {self.dim}: expected kets (B, {self.dim}) or "
                f"density matrices (B, {self.dim}, {self.dim}), got shape {tuple(states.shape)}"
            )


BACKWARD: Registry[type[Backward]] = Registry("backward model")
"""Backward models by class name."""

BackwardType = TypeVar("BackwardType", bound=type[Backward])


def register_backward(cls: BackwardType) -> BackwardType:
    """Class decorator: make a backward model available by its class name."""
    BACKWARD.register(cls.__name__, cls)
    return cls


def refuse_kraus(n_steps: int, n_qubits: int, n_auxiliary: int, dtype: torch.dtype) -> None:
    """Refuse Kraus operators that do not fit into the memory limit of density matrices.

    Raises:
        HQDMError: If they do not fit.
    """
    refuse_density(n_steps * 2**n_auxiliary, n_qubits, dtype.to_complex())
