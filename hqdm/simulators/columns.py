r"""Columns of the unitaries of circuits, and states after them.

    U(w)|i>,    i among N basis states;        U(w)|psi>,    psi among N states

The gates of the circuit must not depend on the inputs; its embedding is not applied. U is linear,
so that the real and the imaginary part of psi are two samples of the simulator. On the CPU the
compiled kernels run, on other devices the torch state vector.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from hqdm.circuits import AmplitudeEmbedding, Circuit
from hqdm.simulators.compiled.cpu import is_supported, plan, work_bytes
from hqdm.simulators.program.base import is_differentiated_forward, refuse_memory
from hqdm.simulators.program.statevector import StatevectorSimulator

MEMORY_LIMIT = 2**30
"""Memory limit in bytes of the states of all threads, and of the results."""


@dataclass(frozen=True)
class _Given(AmplitudeEmbedding):
    """The features as amplitudes, of any norm."""

    def amplitudes(self, x: Tensor) -> Tensor:
        """See `AmplitudeEmbedding`."""
        return x


@lru_cache(maxsize=256)
def _of_given_states(circuit: Circuit) -> Circuit:
    """The same gates after given amplitudes."""
    return replace(circuit, embedding=_Given(circuit.n_wires))


def columns(circuit: Circuit, basis: Tensor, weights: Tensor) -> Tensor:
    """Columns of the unitaries of several circuits of one kind, differentiable in the weights.

    Args:
        circuit: The circuit: an amplitude embedding, and gates that depend on the weights only,
            measured as "state".
        basis: Indices of the basis states `(N,)`.
        weights: Angles in radians `(n_circuits, *weights_shape)`, float32 or float64.

    Returns:
        U|i> for each circuit and basis state i, complex `(n_circuits, N, 2**n_wires)`.

    Raises:
        HQDMError: If the states exceed the memory limit.
    """
    each = torch.arange(2**circuit.n_wires, device=weights.device)
    states = (basis[:, None] == each).to(weights.dtype)
    return _evolved(circuit, states.expand(len(weights), -1, -1), weights)


def evolved(circuit: Circuit, states: Tensor, weights: Tensor) -> Tensor:
    """States after the unitaries of several circuits of one kind, differentiable in all tensors.

    Args:
        circuit: See `columns`.
        states: Complex `(n_circuits, N, 2**n_wires)`, of any norm.
        weights: See `columns`.

    Returns:
        U|psi> for each circuit and its states, of the shape of `states`.

    Raises:
        HQDMError: If the states exceed the memory limit.
    """
    parts = torch.cat([states.real, states.imag], 1).to(weights.dtype)
    real, imag = _evolved(circuit, parts, weights).chunk(2, 1)
    return real + 1j * imag


def _evolved(circuit: Circuit, states: Tensor, weights: Tensor) -> Tensor:
    """As `evolved`, for real states."""
    what = f"the states of {circuit.n_wires} qubits"
    refuse_memory(what, 2 * states.element_size() * states.numel(), MEMORY_LIMIT)
    circuit = _of_given_states(circuit)
    in_torch = weights.device.type != "cpu" or is_differentiated_forward(states, weights)
    if in_torch or not is_supported(circuit):
        return StatevectorSimulator(MEMORY_LIMIT).states(circuit, states, weights)
    refuse_memory(what, work_bytes(circuit, weights.element_size()), MEMORY_LIMIT)
    ready = plan(circuit, weights.dtype)
    phases = ready.phases.of_weights(states, weights)
    none = states.new_empty(len(weights), 0, states.shape[1])
    parts = ready.evaluate(phases, none, states.mT).mT
    return torch.view_as_complex(parts.unflatten(-1, (-1, 2)).contiguous())
