r"""Columns of the unitaries of circuits, by simulating basis states.

    U(w)|i>,    i among N basis states

The gates of the circuit must not depend on the inputs; its embedding is not applied. On the CPU the
compiled kernels run, on other devices the torch state vector.
"""

import torch
from torch import Tensor

from hqdm.circuits import Circuit
from hqdm.simulators.compiled.cpu import is_supported, plan, work_bytes
from hqdm.simulators.program.base import is_differentiated_forward, refuse_memory
from hqdm.simulators.program.statevector import StatevectorSimulator

MEMORY_LIMIT = 2**30
"""Memory limit in bytes of the states of all threads."""


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
    states = (basis[:, None] == each).to(weights.dtype).expand(len(weights), -1, -1)
    in_torch = weights.device.type != "cpu" or is_differentiated_forward(weights)
    if in_torch or not is_supported(circuit):
        return StatevectorSimulator(MEMORY_LIMIT).states(circuit, states, weights)
    n_bytes = work_bytes(circuit, weights.element_size())
    refuse_memory(f"the states of {circuit.n_wires} qubits", n_bytes, MEMORY_LIMIT)
    ready = plan(circuit, weights.dtype)
    phases = ready.phases.of_weights(states, weights)
    none = states.new_empty(len(weights), 0, len(basis))
    parts = ready.evaluate(phases, none, states.mT).mT
    return torch.view_as_complex(parts.unflatten(-1, (-1, 2)).contiguous())
