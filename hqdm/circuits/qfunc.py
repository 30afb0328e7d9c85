"""The quantum function of a QNode: a call of it, and the gates of one sample in that call.

It is called as `qml.qnn.TorchLayer` calls it: with a batch of inputs, `(B, n_inputs)`, where there
are axes before the features, and with one sample, `(n_inputs,)`, where there are none. In a batch,
PennyLane's operations hold one angle per sample.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pennylane as qml
import torch
from pennylane.operation import Channel, Operator, StatePrepBase
from pennylane.ops.functions import bind_new_parameters
from torch import Tensor

from hqdm.circuits.readout import Returned, UnsupportedQNode, read_returned
from hqdm.utils.errors import HQDMError

INPUTS = "inputs"  # the argument of the data, as in TorchLayer


class Recording(NamedTuple):
    """A call of a quantum function.

    Attributes:
        operations: The operations that it queued, without the measurements.
        returned: The measurements that it returned.
    """

    operations: list[Operator]
    returned: Returned


@dataclass(frozen=True)
class QNodeFunction:
    """The quantum function of a QNode, with what a call of it needs.

    Attributes:
        func: The function.
        weight_shapes: Names and shapes of the weights.
        n_inputs: Number of features of one sample.
        batched: Whether it is called with a batch.
        device_wires: The wires of the device; none if it takes any.
    """

    func: Callable[..., Any]
    weight_shapes: tuple[tuple[str, tuple[int, ...]], ...]
    n_inputs: int
    batched: bool
    device_wires: tuple[Hashable, ...]

    @property
    def n_weights(self) -> int:
        """Number of all weights."""
        return sum(torch.Size(shape).numel() for _, shape in self.weight_shapes)

    def call(self, inputs: Tensor, weights: Tensor) -> Recording:
        """Call the function.

        Args:
            inputs: `(B, n_inputs)` if it is called with a batch, otherwise `(n_inputs,)`.
            weights: All weights, flattened one after the other, `(n_weights,)`.
        """
        sizes = [torch.Size(shape).numel() for _, shape in self.weight_shapes]
        named = {
            name: part.reshape(shape)
            for (name, shape), part in zip(self.weight_shapes, weights.split(sizes), strict=True)
        }
        with qml.queuing.AnnotatedQueue() as queue:
            returned = self.func(**{INPUTS: inputs}, **named)
        tape = qml.tape.QuantumScript.from_queue(queue)
        measured = read_returned(returned, tape.measurements, self.device_wires)
        return Recording(tape.operations, measured)

    def checked_call(self, inputs: Tensor, weights: Tensor) -> Recording:
        """Call the function, as `call` does.

        Raises:
            HQDMError: If the function raises any error.
        """
        try:
            return self.call(inputs, weights)
        except HQDMError:
            raise
        except Exception as error:
            raise HQDMError(
                f"the QNode fails on inputs of shape {tuple(inputs.shape)} ({in_one_line(error)})"
            ) from error

    def alone(self, sample: Tensor) -> Tensor:
        """One sample `(n_inputs,)` in the shape that the function takes."""
        return sample[None] if self.batched else sample

    def gates(self, recording: Recording, without: int | None) -> list[Operator]:
        """The gates of a call with one sample; see `gates_of_sample`."""
        n_samples = 1 if self.batched else None
        return list(gates_of_sample(recording.operations, 0, n_samples, without))


def gates_of_sample(
    operations: Sequence[Operator], sample: int, n_samples: int | None, without: int | None
) -> Iterator[Operator]:
    """The gates for one sample of a batch, each with angles of its own.

    Args:
        operations: The operations for the batch.
        sample: The place of the sample in the batch.
        n_samples: Size of the batch, or None if the function took a single sample.
        without: The place of an operation to leave out, or None.

    Raises:
        HQDMError: If an operation has angles for another number of samples.
        UnsupportedQNode: If an operation is no gate, or PennyLane cannot take it apart.
    """
    for place, operation in enumerate(operations):
        if place == without:
            continue
        try:
            yield from _of_sample(operation, sample, n_samples)
        except HQDMError:
            raise
        except Exception as error:
            raise UnsupportedQNode(
                f"PennyLane has no gates of one sample for {operation.name}, expected gates of "
                f"angles ({in_one_line(error)})"
            ) from error


def _of_sample(operation: Operator, sample: int, n_samples: int | None) -> Iterator[Operator]:
    _refuse_no_gate(operation)
    size = operation.batch_size
    if size is not None and size != n_samples:
        taken = f"a batch of {n_samples} samples" if n_samples else "a single sample"
        raise HQDMError(
            f"the QNode makes {operation.name} with {size} angles from {taken}, expected one angle "
            "per sample: take features as inputs[..., i]"
        )
    # Templates are opened before wires are renamed, and what holds arrays or operators before it is
    # split.
    composed = isinstance(operation, (qml.ops.CompositeOp, qml.ops.op_math.ScalarSymbolicOp))
    split = size is not None and (composed or any(operation.ndim_params))
    opened = (split or not operation.has_matrix) and operation.has_decomposition
    if opened and not isinstance(operation, StatePrepBase):
        for part in operation.decomposition():
            yield from _of_sample(part, sample, n_samples)
    elif size is None:
        yield operation
    else:
        parameters = [
            parameter[sample] if qml.math.ndim(parameter) > ndim else parameter
            for parameter, ndim in zip(operation.parameters, operation.ndim_params, strict=True)
        ]
        gate = bind_new_parameters(operation, parameters)
        if gate.batch_size is not None:  # a copy that has kept it
            gate._check_batching()
        yield gate


def in_one_line(error: Exception) -> str:
    """The kind of an error and its message, without line breaks."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _refuse_no_gate(operation: Operator) -> None:
    if isinstance(operation, Channel):
        raise UnsupportedQNode(
            f"the QNode has the noise channel {operation.name}, expected gates only"
        )
    conditional = isinstance(operation, qml.ops.Conditional)
    if conditional or "MidMeasure" in type(operation).__name__:
        raise UnsupportedQNode("the QNode measures before the end, expected gates only")
