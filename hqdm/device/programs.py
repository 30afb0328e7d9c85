"""Sequences of operations as programs of the simulators, cached by their structure.

    |psi_out> = U(inputs, weights) |psi_in>

for all samples at once. If |psi_in> = |a> + i |b> is complex, U runs on the real |a> and |b> and
the results are added, which the measurements other than the state do not allow.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pennylane as qml
import torch
from torch import Tensor

from hqdm.circuits import Circuit
from hqdm.device.arrays import as_real
from hqdm.device.gates import Layout, Step, queued
from hqdm.device.recent import Recent
from hqdm.simulators import Simulator
from hqdm.simulators.program.decomposition import HINT
from hqdm.simulators.program.tracing import trace
from hqdm.utils.errors import HQDMError, first_line
from hqdm.utils.memory import check_memory

MAX_PROGRAMS = 128
LARGE = 2**26  # bytes, below which the memory is not checked in every call

Readout = tuple[str, tuple[int, ...] | None]
"""Measurement and measured wires of a circuit, see `hqdm.circuits.Circuit`."""

STATE: Readout = ("state", None)

programs: Recent[Circuit] = Recent(MAX_PROGRAMS)


def circuit_of(
    steps: Sequence[Step], layout: Layout, n_wires: int, prepares: bool, readout: Readout
) -> Circuit:
    """The circuit of some operations, from the cache if there is one of the same structure."""
    key = layout.key(steps), n_wires, prepares, readout
    return programs.get(key, lambda: _built(steps, layout, n_wires, prepares, readout))


def _built(
    steps: Sequence[Step], layout: Layout, n_wires: int, prepares: bool, readout: Readout
) -> Circuit:
    """A circuit that queues the operations; a program needs one gate and one input at least.

    Raises:
        HQDMError: If an operation is not unitary, or has neither a matrix nor a decomposition.
    """
    with qml.QueuingManager.stop_recording():
        idle = qml.PhaseShift(0.0, wires=0)
    fn = partial(queued, [*(operation for operation, _ in steps), idle], [*layout.slots, None])
    circuit = Circuit.from_qfunc(
        fn,
        n_wires=n_wires,
        n_inputs=max(layout.n_inputs, 1) + (2**n_wires if prepares else 0),
        weights_shape=(layout.n_weights,),
        measure=readout[0],
        wires=readout[1],
        prepares=prepares,
    )
    try:
        trace(circuit)  # before the circuit is kept
    except ValueError as error:  # also of PennyLane, for operations on other systems than qubits
        reason = first_line(error).removesuffix(HINT).rstrip(" :;")
        raise HQDMError(f"hqdm.qubit cannot run this circuit: {reason}") from error
    return circuit


def run(
    simulator: Simulator,
    steps: Sequence[Step],
    n_wires: int,
    initial: Tensor | None,
    n_samples: int,
    dtype: torch.dtype,
    device: torch.device,
    readout: Readout,
) -> Tensor:
    """Run operations on a batch.

    Args:
        simulator: The simulator.
        steps: Operations on wires `0..n_wires-1`, and their parameters.
        n_wires: Number of wires.
        initial: The initial state, `(B or 1, 2**n_wires)`, complex for `STATE`; None for |0...0>.
        n_samples: The number of samples B.
        dtype: The real dtype of the computation.
        device: The device of the computation.
        readout: What is measured.

    Returns:
        The outputs of the circuit, `(B, n_outputs)`; for `STATE` complex amplitudes.
    """
    layout = Layout(steps)
    circuit = circuit_of(steps, layout, n_wires, initial is not None, readout)
    inputs = _inputs(layout, n_samples, dtype, device)
    weights = _joined(layout.weights, dtype, device)
    check_states(n_wires, n_samples, dtype, readout)
    parts = [inputs]
    if initial is not None:
        initial = initial.expand(n_samples, -1)
        columns = [initial.real, initial.imag] if initial.is_complex() else [initial]
        parts = [torch.cat([inputs, column.to(dtype)], 1) for column in columns]
    samples = torch.cat(parts)
    values = simulator(circuit, samples[None], weights[None])[0]
    if readout != STATE:
        return values
    states = torch.view_as_complex(values.reshape(len(values), -1, 2).contiguous())
    if len(parts) == 1:
        return states
    real, imag = states.split(n_samples)
    return real + 1j * imag


def check_states(n_wires: int, n_samples: int, dtype: torch.dtype, readout: Readout) -> None:
    """Refuse states that do not fit into memory.

    Raises:
        HQDMError: If they do not.
    """
    n_bytes = 2 * dtype.itemsize * 2**n_wires
    if readout == STATE:
        n_bytes *= 4 * n_samples  # the outputs, their gradient and those of a measurement
    if n_bytes > LARGE:
        what = (
            f"states of {n_wires} qubits"
            if n_samples == 1
            else f"{n_samples} states of {n_wires} qubits"
        )
        check_memory(what, n_bytes, "use fewer wires or samples")


def _inputs(layout: Layout, n_samples: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The batched parameters, `(B, n_inputs)`; a zero if there are none."""
    if not layout.inputs:
        return torch.zeros(n_samples, 1, dtype=dtype, device=device)
    columns = [as_real(number, dtype, device).reshape(n_samples, -1) for number in layout.inputs]
    return torch.cat(columns, 1)


def _joined(numbers: list[Any], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Parameters as one vector."""
    if any(isinstance(number, Tensor) for number in numbers):
        return torch.cat([as_real(number, dtype, device).reshape(-1) for number in numbers])
    flat = np.concatenate([np.zeros(0), *(np.asarray(number).reshape(-1) for number in numbers)])
    return as_real(flat, dtype, device)
