r"""QuDDPM and MSQuDDPM: a unitary of which the auxiliary qubits are measured.

    psi_{t-1} = K_z psi_t / sqrt(p_z),               p_z = |K_z psi_t|^2
    rho_{t-1} = K_z rho_t K_z^dagger / p_z,          p_z = tr(K_z rho_t K_z^dagger)

The outcome z is drawn and none is discarded; every step has angles of its own. The auxiliary qubits
start in |0>, except the first one with `haar`: a random state of one qubit for each sample, without
which all samples of MSQuDDPM would start alike, from 1/d. It needs a second ancilla: the Haar
average of a lone one is 1/2, so that the average of all samples stays 1/d. The derivative is that
of the states after the drawn outcomes; their probabilities' own derivative is left out, as in the
public codes.

Sources: Zhang et al., PRL 132, 100602 (QuDDPM); Kwun et al., PRA 111, 032610 (MSQuDDPM).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from hqdm.states.density import MAX_STATE_BYTES, density_bytes, haar_kets, normalised
from hqdm.states.models.backward import Backward, Circuits, refuse_kraus, register_backward
from hqdm.utils.checks import check_types, whole


@register_backward
class MeasuredCircuit(Backward):
    """The backward model of QuDDPM and MSQuDDPM, see the module.

    Args:
        n_qubits: Number n of data qubits.
        n_steps: Number T of steps.
        n_ancillas: Number of auxiliary qubits.
        n_layers: Layers of the circuit of each step.
        haar: Whether the first auxiliary qubit starts in a Haar-random state.
        ansatz: Name of the registered ansatz.
        ansatz_options: Its further options.
        angle_std: Standard deviation of the initial angles in radians.

    Raises:
        HQDMError: If a size is out of range.
    """

    collapses = True

    def __init__(
        self,
        n_qubits: int,
        n_steps: int,
        n_ancillas: int = 1,
        n_layers: int = 4,
        haar: bool = False,
        ansatz: str = "RotationCZ",
        ansatz_options: dict[str, Any] | None = None,
        angle_std: float = 1.0,
    ) -> None:
        super().__init__(n_qubits, n_steps)
        check_types({"haar": haar}, {"haar": bool}, "network.")
        whole("n_ancillas", n_ancillas, 1)
        whole("n_layers", n_layers, 1)
        self.n_ancillas, self.haar = n_ancillas, haar
        self._config = {
            **{"n_qubits": n_qubits, "n_steps": n_steps, "n_ancillas": n_ancillas},
            **{"n_layers": n_layers, "haar": haar, "ansatz": ansatz},
            **{"ansatz_options": ansatz_options, "angle_std": angle_std},
        }
        self.circuits = Circuits(
            ansatz, n_qubits + n_ancillas, n_layers, n_steps, angle_std, ansatz_options or {}
        )

    @property
    def config(self) -> dict[str, Any]:
        """See `Backward`."""
        return dict(self._config)

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """See `Backward`."""
        return {"circuits": self.circuits}

    @property
    def n_auxiliary(self) -> int:
        """See `Backward`."""
        return self.n_ancillas

    def parameters_of(self, until: int) -> Iterator[nn.Parameter]:
        """See `Backward`: the angles of these steps."""
        return iter(self.circuits.theta[until - 1 :])

    def kraus(self, steps: Sequence[int]) -> Tensor:
        """See `Backward`: <z|U|a> for each initial state a of the first auxiliary qubit.

        That is |0> only without `haar`, A = 1; complex `(len(steps), A, 2^m, d, d)`.
        """
        n_auxiliary = self.n_ancillas + self.haar
        refuse_kraus(len(steps), self.n_qubits, n_auxiliary, self.circuits.theta[0].dtype)
        starts = torch.arange(1 + self.haar) << (self.n_ancillas - 1 + self.n_qubits)
        basis = (starts[:, None] + torch.arange(self.dim)).flatten()
        columns = self.circuits.columns([t - 1 for t in steps], basis)
        by_outcome = columns.reshape(len(steps), len(starts), self.dim, -1, self.dim)
        return by_outcome.permute(0, 1, 3, 4, 2)

    def after(self, states: Tensor, maps: Tensor, draws: torch.Generator) -> Tensor:
        """See `Backward`."""
        if not self.haar:
            return collapsed(states, maps[0], draws)
        first = haar_kets(len(states), 1, draws).to(maps)
        return collapsed(states, torch.einsum("ba,azij->bzij", first, maps), draws)

    def moved(
        self, states: Tensor, steps: Sequence[int], draws: torch.Generator
    ) -> Iterator[Tensor]:
        """See `Backward`; kets that are few beside the columns of U are simulated one by one."""
        if not self.is_direct(states):
            yield from super().moved(states, steps, draws)
            return
        for t in steps:
            after = self.circuits.evolved(t - 1, self._with_auxiliary(states, draws))
            states = measured(after.unflatten(1, (-1, self.dim)), draws)
            yield states

    def is_direct(self, states: Tensor) -> bool:
        """True if kets are simulated one by one.

        Each takes the time of two columns of U; of many qubits the columns of all steps do not fit
        into memory.
        """
        few = 2 * len(states) < (1 + self.haar) * self.dim
        n_operators = self.n_steps * 2 ** (self.n_ancillas + self.haar)
        dtype = self.circuits.theta[0].dtype.to_complex()
        too_large = density_bytes(n_operators, self.n_qubits, dtype) > MAX_STATE_BYTES
        return states.ndim == 2 and (few or too_large)

    def _with_auxiliary(self, kets: Tensor, draws: torch.Generator) -> Tensor:
        """Kets `(B, d)` with the auxiliary qubits before them, `(B, 2^m d)`."""
        if not self.haar:
            return pad(kets, (0, (2**self.n_ancillas - 1) * self.dim))
        first = haar_kets(len(kets), 1, draws).to(kets)
        both = first[:, :, None] * kets[:, None]
        return pad(both, (0, (2 ** (self.n_ancillas - 1) - 1) * self.dim)).flatten(1)


def collapsed(states: Tensor, kraus: Tensor, draws: torch.Generator) -> Tensor:
    """Measure: draw an outcome for each state, and the normalised state after it.

    Args:
        states: Kets `(B, d)` or density matrices `(B, d, d)`.
        kraus: Operators of the outcomes `(Z, d, d)`, or `(B, Z, d, d)` of each state.
        draws: Generator of the outcomes.
    """
    if states.ndim == 2:
        return measured(_after_each(states, kraus), draws)
    weights = torch.einsum("...zij,bjk,...zik->bz", kraus, states, kraus.conj()).detach().real
    z, rows = outcomes(weights, draws), torch.arange(len(states))
    chosen = kraus[z] if kraus.ndim == 3 else kraus[rows, z]
    after = chosen @ states @ chosen.mH
    return after / torch.einsum("bii->b", after).real[:, None, None]


def measured(branches: Tensor, draws: torch.Generator) -> Tensor:
    """Draw an outcome for each ket, and return its branch, normalised.

    Args:
        branches: K_z psi for each ket and outcome, `(B, Z, d)`.
        draws: Generator of the outcomes.

    Returns:
        Kets `(B, d)`.
    """
    weights = torch.view_as_real(branches.detach()).square().sum((-2, -1))
    # Rows of a matrix: the gradient of an index of two axes takes several times as long.
    first = torch.arange(0, weights.numel(), weights.shape[1], device=branches.device)
    chosen = branches.flatten(0, 1).index_select(0, first + outcomes(weights, draws))
    return normalised(chosen)


def _after_each(kets: Tensor, kraus: Tensor) -> Tensor:
    """K_z psi for each ket and outcome, `(B, Z, d)`; one matrix product for common operators."""
    if kraus.ndim == 3:
        return (kets @ kraus.flatten(0, 1).mT).unflatten(1, (len(kraus), -1))
    return (kraus @ kets[:, None, :, None])[..., 0]


def outcomes(weights: Tensor, draws: torch.Generator) -> Tensor:
    """One outcome for each row of probabilities `(B, Z)`, up to a common factor of a row."""
    edges = weights.double().clamp_min(0).cumsum(-1)  # in float32 u may round to 1
    u = torch.rand(len(weights), generator=draws, dtype=torch.float64).to(edges.device)
    return (u[:, None] * edges[:, -1:] >= edges[:, :-1]).sum(-1)
