"""A PennyLane QNode as a circuit over one vector of weights, and a linear map of its outputs.

    QNode(inputs, weights) = c + L f(x, w),    w = all weights, flattened one after the other,

where the circuit f consists of the gates of the QNode and one change of basis on each measured wire
(`readout`), and x is `inputs`, or the amplitudes that the QNode prepares from `inputs`.
"""

import hashlib
import inspect
from collections.abc import Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pennylane as qml
import torch
from torch import Tensor

from hqdm.circuits.ansatz import Ansatz
from hqdm.circuits.circuit import Circuit
from hqdm.circuits.embeddings import AmplitudeEmbedding
from hqdm.circuits.probe import Probe
from hqdm.circuits.qfunc import INPUTS, QNodeFunction
from hqdm.circuits.readout import BASIS_CHANGE, Readout, UnsupportedQNode, readout
from hqdm.utils.errors import HQDMError

EXACT_DEVICES = (
    *("default.qubit", "reference.qubit", "lightning.qubit"),
    *("lightning.gpu", "lightning.kokkos", "lightning.amdgpu"),
)
NORM_TOLERANCE = 1e-5  # of PennyLane's own check of a state


def check_qnode(qnode: qml.QNode) -> None:
    """Refuse a QNode whose results differ from those of an exact simulation of its gates.

    Raises:
        UnsupportedQNode: If it has shots, transforms, another interface than torch's, or a device
            that does not simulate state vectors.
    """
    shots = getattr(qnode, "shots", qnode._shots)  # PennyLane 0.42 has the second name only
    if shots.total_shots is not None:
        raise UnsupportedQNode(
            f"the QNode has {shots.total_shots} shots, expected exact values (shots=None)"
        )
    pipeline = getattr(qnode, "compile_pipeline", None)
    transforms = qnode.transform_program if pipeline is None else pipeline  # before 0.45
    if len(transforms):
        names = ", ".join(str(transform).strip("<>") for transform in transforms)
        raise UnsupportedQNode(f"the QNode has transforms ({names}), expected none")
    if qnode.interface not in ("auto", "torch"):
        raise UnsupportedQNode(f"the QNode has the interface {qnode.interface!r}, expected 'torch'")
    if qnode.device.name not in EXACT_DEVICES:
        raise UnsupportedQNode(
            f"the QNode has the device {qnode.device.name!r}, "
            f"expected one of {', '.join(EXACT_DEVICES)}"
        )


def check_arguments(qnode: qml.QNode, weight_shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse weights that are not the arguments of the QNode.

    Raises:
        HQDMError: If there is no argument `inputs`, or the others are not the weights.
    """
    signature = inspect.signature(qnode.func)
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    if inspect.Parameter.VAR_POSITIONAL in kinds or INPUTS not in signature.parameters:
        raise HQDMError(
            f"the QNode takes {signature}, expected an argument named {INPUTS!r} for the data and "
            "one for each of the weights"
        )
    open_ended = inspect.Parameter.VAR_KEYWORD in kinds
    wrong = not open_ended and {INPUTS, *weight_shapes} != set(signature.parameters)
    if INPUTS in weight_shapes or wrong:
        raise HQDMError(
            f"weight_shapes names {', '.join(weight_shapes) or 'no weights'}, but the QNode takes "
            f"{signature}: give a shape to each argument but {INPUTS!r}"
        )


@dataclass(frozen=True)
class QNodeGates:
    """The gates of a QNode for one sample, then the changes of basis of the measured wires to Z.

    Attributes:
        function: The quantum function.
        wires: The labels of wires 0, 1, ...
        bases: The measured wires with the Pauli matrix on each.
        prepared: Index of the operation of the function that prepares a state from the inputs, or
            None. It is not among the gates.
        digest: Hash of the gates at one point. It distinguishes the circuits of a function whose
            gates have changed with a variable that is not among its arguments.
    """

    function: QNodeFunction
    wires: tuple[Hashable, ...]
    bases: tuple[tuple[int, str], ...]
    prepared: int | None
    digest: str

    def __call__(self, x: Tensor, weights: Tensor) -> None:
        """Queue the gates.

        Args:
            x: Features of one sample, `(n_inputs,)`.
            weights: All weights, `(n_weights,)`.
        """
        numbers = {label: wire for wire, label in enumerate(self.wires)}
        with qml.QueuingManager.stop_recording():
            recording = self.function.call(self.function.alone(x), weights)
            gates = [
                gate.map_wires(numbers) for gate in self.function.gates(recording, self.prepared)
            ]
        for gate in gates:
            qml.apply(gate)
        for wire, letter in self.bases:
            BASIS_CHANGE[letter](wire)


@dataclass(frozen=True, kw_only=True)
class QNodeAnsatz(Ansatz):
    """The gates of a QNode that prepares a state from its inputs; none depends on the inputs.

    Attributes:
        gates: The gates.
    """

    gates: QNodeGates

    @property
    def weights_shape(self) -> tuple[int, ...]:
        """`(n_weights,)`."""
        return (self.gates.function.n_weights,)

    def queue(self, weights: Tensor) -> None:
        """Queue the gates, with inputs of norm one in place of a sample."""
        unit = torch.zeros(self.gates.function.n_inputs).to(weights)
        unit[0] = 1
        self.gates(unit, weights)


@dataclass(frozen=True)
class PreparedState(AmplitudeEmbedding):
    """A real state on the last wires, already padded and normalised by PennyLane."""

    def amplitudes(self, x: Tensor) -> Tensor:
        """The state of all wires, `(..., 2**n_wires)`.

        Args:
            x: Amplitudes of the prepared wires, `(..., n_inputs)`.
        """
        return torch.nn.functional.pad(x, (0, 2**self.n_wires - self.n_inputs))


@dataclass(frozen=True, eq=False)
class QNodeCircuit:
    """The circuit and the linear map that together are equivalent to a QNode.

    Attributes:
        circuit: The circuit, with one vector of weights.
        readout: From the outputs of the circuit to those of the QNode.
        function: The quantum function.
        prepared: See `QNodeGates`.
    """

    circuit: Circuit
    readout: Readout
    function: QNodeFunction
    prepared: int | None

    def features(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """The inputs of the circuit.

        Args:
            inputs: Inputs of the QNode, `(B, n_inputs)`.
            weights: All weights, `(n_weights,)`.

        Returns:
            The inputs, or the amplitudes that the QNode prepares from them, `(B, n_amplitudes)`.

        Raises:
            HQDMError: If the norm of the amplitudes is not one.
        """
        if self.prepared is None:
            return inputs
        if not len(inputs):
            return inputs.new_zeros(0, self.circuit.n_inputs)
        argument = inputs if self.function.batched else inputs[0]
        operations = self.function.checked_call(argument, weights).operations
        state = operations[self.prepared].parameters[0].reshape(len(inputs), -1)
        norms = torch.linalg.vector_norm(state.detach(), dim=-1)
        if not torch.allclose(norms, torch.ones_like(norms), NORM_TOLERANCE, NORM_TOLERANCE):
            raise HQDMError(
                "the QNode prepares a state whose norm is not 1: take normalize=True, and no "
                "samples of zeros"
            )
        return state.to(inputs)


def from_qnode(
    qnode: qml.QNode, weight_shapes: Mapping[str, tuple[int, ...]], n_inputs: int, batched: bool
) -> QNodeCircuit:
    """The circuit and the linear map that together are equivalent to a QNode.

    The quantum function is called a few times, at random inputs and weights.

    Args:
        qnode: The QNode; its function takes `inputs` and the weights by name.
        weight_shapes: Names and shapes of the weights.
        n_inputs: Number of features of one sample.
        batched: Whether the function takes a batch, `(B, n_inputs)`, or a sample, `(n_inputs,)`.

    Raises:
        HQDMError: If the arguments do not match the QNode, or its function raises an error.
        UnsupportedQNode: If there is no such circuit, see `check_qnode`, `Probe` and `Returned`.
    """
    check_qnode(qnode)
    check_arguments(qnode, weight_shapes)
    shapes = tuple((name, tuple(shape)) for name, shape in weight_shapes.items())
    device_wires = tuple(qnode.device.wires or ())
    function = QNodeFunction(qnode.func, shapes, n_inputs, batched, device_wires)
    # A separate thread is outside of any inference mode and function transformation of torch:
    # tensors created inside of those could not be used later.
    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(_translated, function).result()


def _translated(function: QNodeFunction) -> QNodeCircuit:
    probe = Probe(function)
    wires, output_map = _wires(probe), readout(probe.first.returned)
    bases = tuple(
        (wires.index(label), letter) for label, letter in probe.first.returned.bases.items()
    )
    rows = [(name, labels, [n.tolist() for n in numbers]) for name, labels, numbers in probe.rows]
    digest = hashlib.sha256(repr(rows).encode()).hexdigest()
    gates = QNodeGates(function, wires, bases, probe.prepared, digest)
    circuit = _circuit(gates, probe, output_map.measure)
    return QNodeCircuit(circuit, output_map, function, probe.prepared)


def _circuit(gates: QNodeGates, probe: Probe, measure: str) -> Circuit:
    n_wires = len(gates.wires)
    measured = tuple(wire for wire, _ in gates.bases) or (0,)  # only identities are measured
    if probe.prepared is None:
        return Circuit.from_qfunc(
            gates,
            n_wires=n_wires,
            n_inputs=gates.function.n_inputs,
            weights_shape=(gates.function.n_weights,),
            measure=measure,
            wires=measured,
        )
    state = PreparedState(n_wires, 2 ** len(probe.first.operations[probe.prepared].wires))
    return Circuit(state, QNodeAnsatz(n_wires, gates=gates), measure, measured)


def _wires(probe: Probe) -> tuple[Hashable, ...]:
    """The labels in use, in the order of the device or of first use; a prepared state last.

    Raises:
        HQDMError: If the device has no such wires.
    """
    state = None if probe.prepared is None else probe.first.operations[probe.prepared]
    prepared = () if state is None else tuple(state.wires)
    used = [*prepared, *(label for row in probe.rows for label in row[1])]
    labels = list(dict.fromkeys([*used, *probe.first.returned.bases]))
    device_wires = probe.function.device_wires
    if device_wires:
        if not set(labels) <= set(device_wires):
            raise HQDMError(
                f"the QNode acts on the wires {labels}, expected wires of its device, "
                f"{list(device_wires)}"
            )
        labels.sort(key=device_wires.index)
    return (*(label for label in labels if label not in prepared), *prepared)
