"""Any PennyLane device, by name: one quantum node runs all circuits sequentially."""

from dataclasses import dataclass
from functools import lru_cache

import pennylane as qml
import torch
from torch import Tensor

from hqdm.circuits import AmplitudeEmbedding, Circuit, QuantumFunction
from hqdm.simulators.program.base import check_shapes, no_outputs, refuse_memory
from hqdm.utils.errors import HQDMError, unknown

PREFIX = "pennylane:"
DENSITY_MATRICES = ("default.mixed",)
"""Devices whose state has 4^n entries."""

COMPLEX_BYTES = 16


@dataclass(frozen=True)
class PennyLaneSimulator:
    """A PennyLane device as a `Simulator`.

    Gradients are computed by backpropagation on `default.qubit`, by the adjoint method on the
    Lightning devices if the measurement supports it, and by the parameter-shift rule otherwise.
    Without backpropagation, PennyLane returns expectation values to torch in single precision.

    Attributes:
        device: PennyLane's name of the device, such as "lightning.qubit".
        memory_limit: Memory limit of the states in bytes. A larger batch is computed in parts.

    Raises:
        HQDMError: If no installed plugin provides the device.
    """

    device: str
    memory_limit: int = 2**30

    def __post_init__(self) -> None:
        if self.device not in qml.plugin_devices:
            raise unknown("PennyLane device", self.device, qml.plugin_devices)

    @property
    def name(self) -> str:
        """The name of the simulator in `resolve_simulator`."""
        return PREFIX + self.device

    def __call__(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        """Evaluate the circuits; see `Simulator`.

        Raises:
            HQDMError: If the shapes do not match, the state of one sample exceeds the memory limit,
                or the device cannot compute a required gradient with respect to embedded
                amplitudes.
        """
        check_shapes(circuit, inputs, weights)
        if not inputs.shape[1]:
            return no_outputs(circuit, inputs, weights)
        if circuit.measure == "state" and self.device != "default.qubit":
            raise HQDMError(
                f"{self.device} does not return the state here: use simulator='statevector' or "
                "'pennylane:default.qubit'"
            )
        n_wires = n_wires_of(circuit)
        n_amplitudes = 2 ** (2 * n_wires if self.device in DENSITY_MATRICES else n_wires)
        state_bytes = COMPLEX_BYTES * n_amplitudes
        refuse_memory(f"a sample of {n_wires} qubits", state_bytes, self.memory_limit)
        node = quantum_node(self.device, circuit)
        amplitudes = isinstance(circuit.embedding, AmplitudeEmbedding)
        if amplitudes and inputs.requires_grad and node.diff_method != "backprop":
            # PennyLane would differentiate a decomposition that is singular at zero amplitudes.
            raise HQDMError(
                f"{self.device} has no gradient with respect to embedded amplitudes: "
                "use simulator='statevector' or 'pennylane:default.qubit'"
            )
        # The parameter-shift rule needs single samples, and a user-defined function takes one.
        broadcasts = node.diff_method != "parameter-shift" and not isinstance(
            circuit.embedding, QuantumFunction
        )
        outputs = []
        for x, w in zip(inputs, weights, strict=True):
            if broadcasts:
                parts = x.split(self.memory_limit // state_bytes)
                outputs.append(torch.cat([as_tensor(node(part, w)) for part in parts]))
            else:
                outputs.append(torch.stack([as_tensor(node(sample, w)) for sample in x]))
        # PennyLane computes in float64.
        return torch.stack(outputs).to(inputs)[..., : circuit.n_outputs]


def as_tensor(measurements: Tensor | list[Tensor]) -> Tensor:
    """The outputs of a node; a list of outputs, one per wire, is stacked on the last axis.

    Complex amplitudes become real and imaginary parts in turn.
    """
    if isinstance(measurements, list):
        return torch.stack(measurements, -1)
    if measurements.is_complex():
        return torch.view_as_real(measurements.resolve_conj().contiguous()).flatten(-2)
    return measurements


@lru_cache(maxsize=64)
def n_wires_of(circuit: Circuit) -> int:
    """The number of wires, with one more for each measurement before the end."""
    return circuit.n_wires + circuit.n_measured_midway


@lru_cache(maxsize=64)
def quantum_node(device: str, circuit: Circuit) -> qml.QNode:
    """The circuit on a device, cached outside of the simulator, which can thus be pickled.

    The device has a spare wire for each measurement before the end, which PennyLane defers.
    """
    n_midway = n_wires_of(circuit) - circuit.n_wires
    if device == "default.qubit":
        diff_method = "backprop"
    elif device.startswith("lightning.") and circuit.measure == "expval_z" and not n_midway:
        diff_method = "adjoint"
    else:
        diff_method = "parameter-shift"
    return qml.QNode(
        circuit.qfunc,
        qml.device(device, wires=n_wires_of(circuit)),
        interface="torch",
        diff_method=diff_method,
    )
