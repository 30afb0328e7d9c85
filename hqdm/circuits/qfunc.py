"""The quantum function of a QNode: calls of it, and the gates of one sample of a call.

It is called as `qml.qnn.TorchLayer` calls it: with a batch of inputs, `(B, n_inputs)`, if there
are axes before the features, and otherwise with one sample, `(n_inputs,)`. In a batch,
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

from hqdm.circuits.operations import measures
from hqdm.circuits.readout import Returned, UnsupportedQNode, read_returned
from hqdm.utils.errors import HQDMError

INPUTS = "inputs"  # the argument of the data, as in TorchLayer


class Recording(NamedTuple):
    """The record of a call of a quantum function.

    Attributes:
        operations: The operations that it queued, without the measurements.
        returned: The measurements that it returned.
    """

    operations: list[Operator]
    returned: Returned


@dataclass(frozen=True)
class QNodeFunction:
    """The quantum function of a QNode, and the shapes of its arguments.

    Attributes:
        func: The function.
        weight_shapes: Names and shapes of the weights.
        n_inputs: Number of features of one sample.
        batched: Whether it is called with a batch.
        device_wires: The wires of the device; empty if it accepts any.
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
        """One sample `(n_inputs,)` in the shape that the function expects."""
        return sample[None] if self.batched else sample

    def gates(self, recording: Recording, without: int | None) -> list[Operator]:
        """The gates of a call with one sample; see `gates_of_sample`."""
        n_samples = 1 if self.batched else None
        return list(gates_of_sample(recording.operations, 0, n_samples, without))


def gates_of_sample(
    operations: Sequence[Operator], sample: int, n_samples: int | None, without: int | None
) -> Iterator[Operator]:
    """The gates for one sample of a batch.

    Args:
        operations: The operations for the batch.
        sample: Index of the sample in the batch.
        n_samples: Size of the batch, or None if the function took a single sample.
        without: Index of an operation to omit, or None.

    Raises:
        HQDMError: If an operation has angles for another number of samples.
        UnsupportedQNode: If an operation is not a gate, or has no gates for a single sample.
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
                f"PennyLane cannot split {operation.name} into the gates of single samples, "
                f"expected gates with angles ({in_one_line(error)})"
            ) from error


def _of_sample(operation: Operator, sample: int, n_samples: int | None) -> Iterator[Operator]:
    _refuse_no_gate(operation)
    size = operation.batch_size
    if size is not None and size != n_samples:
        taken = f"a batch of {n_samples} samples" if n_samples else "a single sample"
        raise HQDMError(
            f"the QNode applies {operation.name} with {size} angles to {taken}, expected one angle "
            "per sample: index features as inputs[..., i]"
        )
    # Templates are decomposed before wires are renamed; operations with arrays or operators as
    # parameters, before the batch is split.
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
        if gate.batch_size is not None:  # copied from the operation for the batch
            gate._check_batching()
        yield gate


def in_one_line(error: Exception) -> str:
    """The class and the message of an error, without line breaks."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _refuse_no_gate(operation: Operator) -> None:
    if isinstance(operation, Channel):
        raise UnsupportedQNode(
            f"the QNode has the noise channel {operation.name}, expected gates only"
        )
    if measures(operation):
        raise UnsupportedQNode("the QNode has a mid-circuit measurement, expected gates only")
