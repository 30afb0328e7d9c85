"""Any PennyLane device, by name: one quantum node runs all circuits sequentially."""

from dataclasses import dataclass
from functools import lru_cache

import pennylane as qml
import torch
from torch import Tensor

from hqdm.circuits import AmplitudeEmbedding, Circuit, QuantumFunction
from hqdm.simulators.program.base import check_shapes, no_outputs
from hqdm.utils.errors import HQDMError, unknown

PREFIX = "pennylane:"


@dataclass(frozen=True)
class PennyLaneSimulator:
    """A PennyLane device as a `Simulator`.

    Gradients are computed by backpropagation on `default.qubit`, by the adjoint method on the
    Lightning devices if the measurement supports it, and by the parameter-shift rule otherwise.
    Without backpropagation, PennyLane returns expectation values to torch in single precision.

    Attributes:
        device: PennyLane's name of the device, such as "lightning.qubit".

    Raises:
        HQDMError: If no installed plugin provides the device.
    """

    device: str

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
            HQDMError: If the shapes do not match, or if the device cannot compute a required
                gradient with respect to embedded amplitudes.
        """
        check_shapes(circuit, inputs, weights)
        if not inputs.shape[1]:
            return no_outputs(circuit, inputs, weights)
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
                outputs.append(as_tensor(node(x, w)))
            else:
                outputs.append(torch.stack([as_tensor(node(sample, w)) for sample in x]))
        # PennyLane computes in float64.
        return torch.stack(outputs).to(inputs)[..., : circuit.n_outputs]


def as_tensor(measurements: Tensor | list[Tensor]) -> Tensor:
    """The outputs of a node; a list of outputs, one per wire, is stacked on the last axis."""
    return torch.stack(measurements, -1) if isinstance(measurements, list) else measurements


@lru_cache(maxsize=64)
def quantum_node(device: str, circuit: Circuit) -> qml.QNode:
    """The circuit on a device, cached outside of the simulator, which can thus be pickled.

    The device has a spare wire for each measurement before the end, which PennyLane defers.
    """
    n_midway = circuit.n_measured_midway
    if device == "default.qubit":
        diff_method = "backprop"
    elif device.startswith("lightning.") and circuit.measure == "expval_z" and not n_midway:
        diff_method = "adjoint"
    else:
        diff_method = "parameter-shift"
    return qml.QNode(
        circuit.qfunc,
        qml.device(device, wires=circuit.n_wires + n_midway),
        interface="torch",
        diff_method=diff_method,
    )
