"""A layer that runs a PennyLane QNode on the simulators, in place of `qml.qnn.TorchLayer`."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ParamSpec, TypeVar, cast

import pennylane as qml
import torch
from torch import Tensor, nn

from hqdm.circuits import Circuit
from hqdm.circuits.qfunc import in_one_line
from hqdm.circuits.qnode import QNodeCircuit, check_arguments, check_qnode, from_qnode
from hqdm.circuits.readout import UnsupportedQNode
from hqdm.nn.operator import OpaqueModule, opaque
from hqdm.simulators import Simulator, resolve_simulator
from hqdm.simulators.program.decomposition import HINT
from hqdm.simulators.program.tracing import trace
from hqdm.utils.errors import HQDMError, check_names, first_line

P = ParamSpec("P")
R = TypeVar("R")
WeightShapes = Mapping[str, int | Iterable[int]]
Init = Callable[[Tensor], Tensor]
InitMethod = Init | Mapping[str, Init | Tensor] | None


class QNodeLayer(OpaqueModule):
    """A QNode with trainable weights, with the arguments and outputs of `qml.qnn.TorchLayer`.

    `QuantumLayer(qnode, weight_shapes)` returns a `QNodeLayer`. The parameters have the names in
    `weight_shapes` and are passed to the QNode unchanged; state dicts are compatible with
    `TorchLayer`. The QNode is traced at the first call for each number of features; other variables
    that its function reads must not change afterwards. The layer can be pickled if the QNode can.

    Unlike `TorchLayer`, the layer computes in the dtype of the parameters, independent of the dtype
    of the inputs and of autocast, and refuses a QNode that it cannot evaluate exactly. Parameters
    in half precision are converted to float32 for the computation, whose outputs are rounded.

    Args:
        qnode: The QNode. Its function takes `inputs` and the weights by name, and returns
            `qml.expval` of products or sums of Pauli matrices or `qml.probs`, or a list or tuple
            of them, in one basis per wire.
        weight_shapes: Names and shapes of the weights; 1 denotes a scalar.
        init_method: A function of `torch.nn.init`, a mapping of such functions or of tensors by
            the names of the weights, or None to draw angles uniformly from [0, 2 pi).
        simulator: A simulator or its name, see `hqdm.simulators.resolve_simulator`.

    Raises:
        HQDMError: If the QNode has shots, transforms, noise or other arguments, or `init_method`
            does not fit the weights.
    """

    def __init__(
        self,
        qnode: qml.QNode,
        weight_shapes: WeightShapes,
        init_method: InitMethod = None,
        simulator: str | Simulator = "auto",
    ) -> None:
        super().__init__()
        if not isinstance(qnode, qml.QNode) or not isinstance(weight_shapes, Mapping):
            raise HQDMError(
                "expected a PennyLane QNode and a mapping from the names of its weights to their "
                f"shapes, got {qnode!r} and {weight_shapes!r}"
            )
        self.qnode = qnode
        self.simulator = resolve_simulator(simulator)
        self.init_method = init_method
        self.weight_shapes = {name: _shape(size) for name, size in weight_shapes.items()}
        self._circuits: dict[tuple[int, bool], QNodeCircuit] = {}
        self._or_refuse(check_qnode, qnode)
        check_arguments(qnode, self.weight_shapes)
        for name in self.weight_shapes:
            if hasattr(self, name):
                raise HQDMError(
                    f"a weight cannot have the name {name!r}, which the layer itself uses: give "
                    "the argument another name"
                )
            self.register_parameter(name, nn.Parameter(self._draw(name)))

    @property
    def qnode_weights(self) -> dict[str, Tensor]:
        """The weights by name."""
        return {name: getattr(self, name) for name in self.weight_shapes}

    @property
    def batch_axis(self) -> int:
        """The axis of the samples in the outputs: 1, after those of a tuple, or 0.

        It is known after the first call.
        """
        readouts = [translated.readout for translated in self._circuits.values()]
        stacked = [r.container == "tuple" and len(r.marginals) > 1 for r in readouts]
        return int(any(stacked))

    def quantum_parameters(self) -> Iterator[nn.Parameter]:
        """All parameters, since they are the angles. See `hqdm.nn.parts.QuantumModule`."""
        return self.parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Reinitialise the weights by `init_method`."""
        for name, weight in self.qnode_weights.items():
            weight.copy_(self._draw(name))

    def _draw(self, name: str) -> Tensor:
        shape, init = self.weight_shapes[name], self._init_of(name)
        if isinstance(init, Tensor):
            drawn = init.detach().clone()
        else:
            try:
                drawn = init(torch.empty(shape or 1))
            except (RuntimeError, TypeError, ValueError) as error:
                raise HQDMError(
                    f"init_method fails for the weight {name!r} of shape {shape}: "
                    f"{first_line(error)}"
                ) from error
            if isinstance(drawn, Tensor) and not shape and drawn.shape == (1,):
                drawn = drawn[0]
        if not isinstance(drawn, Tensor) or tuple(drawn.shape) != shape:
            came = tuple(drawn.shape) if isinstance(drawn, Tensor) else drawn
            raise HQDMError(
                f"init_method has {came} for the weight {name!r}, expected a tensor of shape "
                f"{shape}"
            )
        if not drawn.is_floating_point():
            raise HQDMError(
                f"init_method has {drawn.dtype} for the weight {name!r}, expected real numbers "
                "such as torch.float32"
            )
        return drawn

    def _init_of(self, name: str) -> Init | Tensor:
        """The function or the tensor that `init_method` has for a weight."""
        if self.init_method is None:
            return _uniform_angles
        init: object = self.init_method
        if isinstance(init, Mapping):
            check_names("weight in init_method", init, self.weight_shapes)
            if name not in init:
                raise HQDMError(f"init_method has no entry for the weight {name!r}")
            init = init[name]
            if isinstance(init, Tensor):
                return init
        if not callable(init):
            raise HQDMError(
                f"init_method has {' '.join(repr(init).split())} for the weight {name!r}, expected "
                "a function, or a mapping of functions and tensors"
            )
        return cast(Init, init)

    def forward(self, inputs: Tensor) -> Tensor:
        """Evaluate the QNode.

        Args:
            inputs: Features, `(..., n_inputs)`; one axis is a single sample.

        Returns:
            In the dtype of the parameters: `(...)` for one expectation, `(..., n_outputs)` for
            probabilities or a list of measurements, and, as in `TorchLayer`, `(n_measurements, ...,
            n_outputs)` for a tuple of several.

        Raises:
            HQDMError: If the inputs have no axis, or the QNode is not supported; the message gives
                the reason.
        """
        check_real(inputs)
        if not inputs.ndim:
            raise HQDMError("QuantumLayer needs inputs of shape (..., n_inputs), got a scalar")
        weights = list(self.qnode_weights.values())
        if torch.compiler.is_compiling() or inputs.is_meta:
            return opaque(self.operator_name, inputs, weights)
        return self.evaluate(inputs, weights)

    def evaluate(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        """Evaluate the QNode, see `forward`.

        Args:
            x: Features, `(..., n_inputs)`.
            weights: The weights, in the order of `weight_shapes`.
        """
        lead, n_inputs = tuple(x.shape[:-1]), x.shape[-1]
        flat = [weight.reshape(-1) for weight in weights]
        joined = torch.cat(flat or [x.new_empty(0)])
        precision = torch.promote_types(joined.dtype, torch.float32)
        samples = x.to(precision).reshape(math.prod(lead), n_inputs)
        angles = joined.to(precision)
        with torch.autocast(x.device.type, enabled=False):
            translated = self._circuit(n_inputs, bool(lead))
            features = translated.features(samples, angles.detach())
            values = self.simulator(translated.circuit, features[None], angles[None])[0]
            return translated.readout(values, lead).to(joined.dtype)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the outputs for inputs of a shape."""
        lead = shape[:-1]
        return self._circuit(int(shape[-1]), bool(lead)).readout.output_shape(lead)

    def _circuit(self, n_inputs: int, batched: bool) -> QNodeCircuit:
        """The circuit for a number of features, built at the first call."""
        if (n_inputs, batched) not in self._circuits:
            arguments = self.qnode, self.weight_shapes, n_inputs, batched
            translated = self._or_refuse(from_qnode, *arguments)
            self._or_refuse(_check_trace, translated.circuit)
            self._circuits[n_inputs, batched] = translated
        return self._circuits[n_inputs, batched]

    def _or_refuse(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function; add the name of the QNode to the message of an `UnsupportedQNode`."""
        try:
            return function(*args, **kwargs)
        except UnsupportedQNode as error:
            raise HQDMError(
                f"QuantumLayer cannot run {_name(self.qnode)}: {error}; "
                "keep qml.qnn.TorchLayer for this layer"
            ) from error

    def extra_repr(self) -> str:
        """The sizes, for `print`."""
        shapes = ", ".join(f"{name} {shape}" for name, shape in self.weight_shapes.items())
        return f"{_name(self.qnode)}, weights: {shapes}, simulator={self.simulator.name}"


def check_real(inputs: object) -> None:
    """Refuse inputs of a layer that are not a tensor of real numbers.

    Raises:
        HQDMError: If they are not; imaginary parts would be dropped.
    """
    if not isinstance(inputs, Tensor):
        raise HQDMError(f"QuantumLayer needs a tensor, got {type(inputs).__name__}")
    if inputs.is_complex():
        raise HQDMError(
            f"QuantumLayer needs real inputs, got {inputs.dtype}: pass real and imaginary parts as "
            "features"
        )


def _check_trace(circuit: Circuit) -> None:
    """Trace a circuit, for any simulator, since tracing detects control flow on values.

    Raises:
        UnsupportedQNode: If it cannot be traced.
    """
    try:
        trace(circuit)
    except HQDMError as error:
        reason = str(error).removesuffix(HINT).split(" (")[0]  # without torch's own message
        raise UnsupportedQNode(reason.rstrip(" :;")) from error
    except Exception as error:  # of PennyLane or the user's function, at vectorised values
        raise UnsupportedQNode(f"it cannot be traced ({in_one_line(error)})") from error


def _name(qnode: qml.QNode) -> str:
    return getattr(qnode.func, "__name__", type(qnode.func).__name__)


def _shape(size: int | Iterable[int]) -> tuple[int, ...]:
    if isinstance(size, Iterable):
        return tuple(size)
    return () if size == 1 else (size,)


def _uniform_angles(weight: Tensor) -> Tensor:
    return nn.init.uniform_(weight, 0, 2 * math.pi)
