r"""The concatenated circuit of unitary single sampling, for devices and in OpenQASM.

    |x>|0>  ->  U  ->  reset of the ancilla  ->  U  ->  ...  ->  measurement of the image's qubits

The ancilla is fresh in every step. A simulator of density matrices resets it by a channel; another
device measures it midway, which PennyLane defers to one more wire per reset.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pennylane as qml
import torch
from pennylane.operation import Channel, Operator, StatePrepBase
from torch import Tensor

from hqdm.circuits.openqasm import openqasm
from hqdm.circuits.operations import measures
from hqdm.nn.amplitude.states import StateNetwork
from hqdm.utils.checks import finite
from hqdm.utils.errors import HQDMError, unknown

DENSITY_MATRICES = ("default.mixed",)
"""Devices that simulate density matrices, which have 4^n entries."""

SEEDED = ("default.mixed", "default.qubit", "lightning.qubit")
"""Devices whose random numbers are those of an option `seed`."""


@dataclass(frozen=True)
class ConcatenatedCircuit:
    """A number of steps of a network, one after the other.

    Attributes:
        network: The network.
        steps: Number of steps, 1 or more.
        y: The class label, or None.
    """

    network: StateNetwork
    steps: int
    y: int | None = None

    def operations(self, state: Tensor, density: bool = False) -> list[Operator]:
        """The gates, after the preparation of a state.

        Args:
            state: Amplitudes of the image, of norm one, `(d,)`.
            density: Reset the ancilla by a channel, as on simulators of density matrices.

        Raises:
            HQDMError: If the state has another length, or is zero.
        """
        network = self.network
        if tuple(state.shape) != (network.dim,) or not state.any():
            raise HQDMError(
                f"the circuit needs {network.dim} amplitudes that are not all zero, got "
                f"{'zeros' if tuple(state.shape) == (network.dim,) else tuple(state.shape)}"
            )
        ancilla = network.n_wires - 1
        with qml.queuing.AnnotatedQueue() as queue:
            amplitudes = state.detach().cpu().to(torch.complex128)
            amplitudes = amplitudes / torch.linalg.vector_norm(amplitudes)
            qml.StatePrep(amplitudes.numpy(), wires=range(network.n_qubits))
            for step in range(self.steps):
                if step and network.has_ancilla:
                    if density:
                        qml.QubitChannel(_RESET, wires=ancilla)
                    else:
                        qml.measure(ancilla, reset=True)
                network.queue(self.y)
        tape = qml.tape.QuantumScript.from_queue(queue)
        return [gate for operation in tape.operations for gate in _gates(operation)]

    def probabilities(
        self,
        state: Tensor,
        device: str | qml.devices.Device = "default.qubit",
        shots: int | None = None,
        noise: qml.NoiseModel | None = None,
        seed: int = 0,
    ) -> Tensor:
        """The probabilities of the pixels on a PennyLane device, `(d,)` in float64.

        Args:
            state: Amplitudes of the image, of norm one, `(d,)`.
            device: PennyLane's name of a device, or a device.
            shots: Number of shots; None for exact probabilities.
            noise: A noise model, for devices that simulate density matrices, see `depolarising`.
            seed: Random seed of the shots, for the devices in `SEEDED` given by name.

        Raises:
            HQDMError: If there is no such device, or it does not simulate noise.
        """
        name = check_device(device, noise)
        operations = self.operations(state, density=name in DENSITY_MATRICES)
        if isinstance(device, str):
            n_resets = sum(map(measures, operations))
            device = _device(device, self.network.n_wires + n_resets, seed)

        def program() -> Any:
            for operation in operations:
                qml.apply(operation)
            return qml.probs(wires=range(self.network.n_qubits))

        midway = {"mcm_method": "deferred"} if any(map(measures, operations)) else {}
        node = qml.QNode(program, device, diff_method=None, shots=shots, **midway)
        if noise is not None:
            node = qml.add_noise(node, noise)
        return torch.as_tensor(node(), dtype=torch.float64)

    def to_openqasm(self, state: Tensor, version: str = "2.0") -> str:
        """The circuit in OpenQASM, measuring every wire; the ancilla is the last one.

        Args:
            state: Amplitudes of the image, of norm one, `(d,)`.
            version: "2.0" or "3.0".

        Raises:
            HQDMError: If the version is unknown.
        """
        return openqasm(self.operations(state), self.network.n_wires, version)


_RESET = (np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 1.0], [0.0, 0.0]]))
"""Kraus operators of a reset to |0>."""


def _gates(operation: Operator) -> Iterator[Operator]:
    """The gates of a template, on which a noise model acts one by one; others as they are."""
    if operation.has_matrix or not operation.has_decomposition or _is_no_gate(operation):
        yield operation
        return
    with qml.QueuingManager.stop_recording():
        parts = operation.decomposition()
    for part in parts:
        yield from _gates(part)


def _is_no_gate(operation: Operator) -> bool:
    """True for channels, preparations of states and measurements."""
    return isinstance(operation, Channel | StatePrepBase) or measures(operation)


def check_device(device: str | qml.devices.Device, noise: qml.NoiseModel | None) -> str:
    """The name of a PennyLane device.

    Args:
        device: PennyLane's name of a device, or a device.
        noise: A noise model, or None.

    Raises:
        HQDMError: If there is no such device, or it does not simulate noise.
    """
    name = device if isinstance(device, str) else getattr(device, "name", None)
    if name is None:
        raise HQDMError(f"expected a PennyLane device or its name, got {device!r}")
    if isinstance(device, str) and name not in qml.plugin_devices:
        raise unknown("PennyLane device", name, qml.plugin_devices)
    if noise is not None and name not in DENSITY_MATRICES:
        raise HQDMError(f"{name} does not simulate noise: use one of {', '.join(DENSITY_MATRICES)}")
    return str(name)


def _device(name: str, n_wires: int, seed: int) -> qml.devices.Device:
    """A PennyLane device."""
    options = {"seed": seed} if name in SEEDED else {}
    return qml.device(name, wires=n_wires, **options)


def depolarising(gate: float, readout: float = 0.0) -> qml.NoiseModel:
    """A noise model: depolarising of every wire after every gate, and errors of the readout.

    Args:
        gate: Probability of a depolarising error per wire of a gate, in [0, 1].
        readout: Probability that the outcome of a wire is flipped, in [0, 1].

    Raises:
        HQDMError: If a probability is out of range.
    """
    for name, value in (("depolarising", gate), ("readout", readout)):
        if not 0 <= finite(name, value) <= 1:
            raise HQDMError(f"{name} needs a probability in [0, 1], got {value}")
    is_gate = qml.BooleanFn(lambda operation: not _is_no_gate(operation))
    return qml.NoiseModel(
        {is_gate: _on_every_wire(qml.DepolarizingChannel, gate)},
        {qml.noise.meas_eq(qml.probs): _on_every_wire(qml.BitFlip, readout)},
    )


def _on_every_wire(channel: type[Channel], p: float) -> Callable[..., None]:
    """A function that queues a channel on every wire of a gate or measurement."""

    def queue(at: Any, **_: Any) -> None:
        for wire in at.wires:
            channel(p, wires=wire)

    queue.__name__ = f"{channel.__name__}({p})"  # in the text of the noise model
    return queue
