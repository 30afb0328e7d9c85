"""A layer of independent quantum circuits with trainable angles 2 pi theta."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Self, overload

import pennylane as qml
import torch
from torch import Tensor, nn

from hqdm.circuits import Ansatz, Circuit
from hqdm.nn.operator import OpaqueModule, opaque
from hqdm.nn.qnode_layer import InitMethod, QNodeLayer, WeightShapes, check_real
from hqdm.simulators import Simulator, resolve_simulator
from hqdm.simulators.observables import check_locality, coefficients_of_z, expectations
from hqdm.utils.checks import positive, whole
from hqdm.utils.errors import HQDMError


class QuantumLayer(OpaqueModule):
    """Several circuits of one kind, each with its own weights and its own inputs.

    The angles are `2 * pi * theta`, with `theta` drawn uniformly from [0, 1) (De Falco et al.,
    arXiv 2402.16147) unless `angle_std` is given. The circuits run in the dtype of `theta`, also
    under autocast; if that is a half precision they run in float32, and the outputs are rounded.

    `QuantumLayer(qnode, weight_shapes, init_method=None, simulator="auto")` of a PennyLane QNode
    returns a `QNodeLayer`, which replaces `qml.qnn.TorchLayer`.

    Args:
        circuit: The common circuit.
        n_circuits: Number of circuits.
        simulator: A simulator or its name, see `hqdm.simulators.resolve_simulator`.
        input_scale: Whether each feature has a trainable factor, 1 at first.
        observable: Number of neighbouring wires of trainable Hermitian observables in place of Z,
            which they are at first, see `hqdm.simulators.observables`; None for Z.
        angle_std: Standard deviation of the initial angles in radians, drawn from a normal
            distribution about zero; None draws them uniformly from the circle.

    Attributes:
        theta: The angles in turns, `(n_circuits, *circuit.weights_shape)`.
        scale: The factors of the features, `(n_circuits, n_inputs)`, or None.
        observables: Coefficients of Pauli words, `(n_circuits, n_outputs, 4**observable)`, or None.

    Raises:
        HQDMError: If there are no circuits, the simulator is unknown, or an option is out of range.
    """

    scale: nn.Parameter | None
    observables: nn.Parameter | None

    @overload
    def __new__(
        cls,
        circuit: Circuit,
        n_circuits: int = 1,
        simulator: str | Simulator = "auto",
        input_scale: bool = False,
        observable: int | None = None,
        angle_std: float | None = None,
    ) -> Self: ...

    @overload
    def __new__(  # type: ignore[misc]  # a QNodeLayer is not a QuantumLayer
        cls,
        qnode: qml.QNode,
        weight_shapes: WeightShapes,
        init_method: InitMethod = None,
        simulator: str | Simulator = "auto",
    ) -> QNodeLayer: ...

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """A `QNodeLayer` if the first argument is a QNode."""
        if "qnode" in kwargs or (args and isinstance(args[0], qml.QNode)):
            return QNodeLayer(*args, **kwargs)
        return super().__new__(cls)

    def __init__(
        self,
        circuit: Circuit,
        n_circuits: int = 1,
        simulator: str | Simulator = "auto",
        input_scale: bool = False,
        observable: int | None = None,
        angle_std: float | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(circuit, Circuit):
            raise HQDMError(
                f"QuantumLayer needs a Circuit or a PennyLane QNode, got {circuit!r}: a layer of "
                "your own that runs a QNode derives from QNodeLayer"
            )
        whole("n_circuits", n_circuits, 1)
        self.circuit = circuit
        self.n_circuits = n_circuits
        self.simulator = resolve_simulator(simulator)
        self.theta = nn.Parameter(torch.empty(n_circuits, *circuit.weights_shape))
        self.angle_std = None if angle_std is None else positive("angle_std", angle_std)
        self.scale = nn.Parameter(torch.ones(n_circuits, circuit.n_inputs)) if input_scale else None
        self.observables = None
        if observable is not None:
            check_locality(circuit, observable)
            coefficients = coefficients_of_z(circuit, observable)
            self.observables = nn.Parameter(coefficients.repeat(n_circuits, 1, 1))
        self.reset_parameters()

    def quantum_parameters(self) -> Iterator[nn.Parameter]:
        """The angles, or the parameters that they are computed from (`torch.nn.utils.parametrize`).

        See `hqdm.nn.parts.QuantumModule`.
        """
        others = {id(parameter) for parameter in (self.scale, self.observables)}
        return (parameter for parameter in self.parameters() if id(parameter) not in others)

    def reset_parameters(self) -> None:
        """Reinitialise the angles."""
        for parameter in self.quantum_parameters():
            if self.angle_std is None:
                nn.init.uniform_(parameter)
            else:
                nn.init.normal_(parameter, std=self.angle_std / (2 * math.pi))

    def replace_ansatz(self, convert: Callable[[Ansatz], Ansatz]) -> None:
        """Replace the ansatz of the circuits by another one with the same weights.

        Args:
            convert: Returns the new ansatz for the old one.
        """
        assert isinstance(self.circuit.ansatz, Ansatz)
        self.circuit = replace(self.circuit, ansatz=convert(self.circuit.ansatz))

    def angles(self, theta: Tensor) -> Tensor:
        """The angles of the gates, `(n_circuits, *circuit.weights_shape)`: 2 pi theta."""
        return 2 * math.pi * theta

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate the circuits.

        Args:
            x: Features, `(..., n_circuits, n_inputs)`.

        Returns:
            `(..., n_circuits, n_outputs)`, in the dtype of `theta`.

        Raises:
            HQDMError: If the last two axes have other sizes, or the inputs are not real.
        """
        self.check(x)
        weights: list[Tensor] = [self.theta]
        weights += (p for p in (self.scale, self.observables) if p is not None)
        if torch.compiler.is_compiling() or x.is_meta:
            return opaque(self.operator_name, x, weights)
        return self.evaluate(x, weights)

    def check(self, x: Tensor) -> None:
        """Refuse features that the circuits cannot take.

        Args:
            x: Features, `(..., n_circuits, n_inputs)`.

        Raises:
            HQDMError: If the last two axes have other sizes, or the inputs are not real.
        """
        check_real(x)
        expected = (self.n_circuits, self.circuit.n_inputs)
        if tuple(x.shape[-2:]) != expected:
            raise HQDMError(
                f"QuantumLayer needs inputs of shape (..., {expected[0]}, {expected[1]}), "
                f"got {tuple(x.shape)}"
            )

    def evaluate(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        """Evaluate the circuits, see `forward`.

        Args:
            x: Features, `(..., n_circuits, n_inputs)`.
            weights: `theta`, and `scale` and `observables` if there are any.
        """
        theta, *others = weights
        if self.scale is not None:
            scale, *others = others
            precision = torch.promote_types(theta.dtype, torch.float32)
            x = x.to(precision) * scale.to(precision)
        return self.run(self.circuit, x, theta, *others)

    def run(
        self, circuit: Circuit, x: Tensor, theta: Tensor, observables: Tensor | None = None
    ) -> Tensor:
        """Evaluate circuits of the layer's shapes.

        Args:
            circuit: The common circuit.
            x: Features, `(..., n_circuits, n_inputs)`.
            theta: The parameters from which `angles` computes those of the gates.
            observables: Coefficients of observables in place of the measurement of the circuit.
        """
        n_samples = self.n_samples(tuple(x.shape))
        precision = torch.promote_types(theta.dtype, torch.float32)
        inputs = x.to(precision).reshape(n_samples, *x.shape[-2:]).transpose(0, 1)
        with torch.autocast(x.device.type, enabled=False):
            angles = self.angles(theta.to(precision))
            if observables is None:
                outputs = self.simulator(circuit, inputs, angles)
            else:
                coefficients = observables.to(precision)
                outputs = expectations(self.simulator, circuit, inputs, angles, coefficients)
        outputs = outputs.transpose(0, 1).reshape(*x.shape[:-1], circuit.n_outputs)
        return outputs.to(theta.dtype)

    def n_samples(self, shape: tuple[int, ...]) -> int:
        """The number of evaluations of each circuit for inputs of a shape."""
        return math.prod(shape[:-2])

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the outputs for inputs of a shape."""
        return *shape[:-1], self.circuit.n_outputs

    def extra_repr(self) -> str:
        """The sizes, for `print`."""
        return (
            f"{self.n_circuits} x {self.circuit.n_wires} qubits, "
            f"weights_shape={self.circuit.weights_shape}, simulator={self.simulator.name}"
        )
