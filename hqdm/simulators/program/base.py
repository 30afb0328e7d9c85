"""The interface of simulators."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.autograd import forward_ad

from hqdm.circuits import Circuit
from hqdm.utils.errors import HQDMError


@runtime_checkable
class Simulator(Protocol):
    """Runs several independent circuits of one kind, each on its own batch.

    Attributes:
        name: The name of the simulator in `resolve_simulator`.
    """

    @property
    def name(self) -> str:
        """The name of the simulator in `resolve_simulator`."""

    def __call__(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        """Evaluate the circuits.

        Args:
            circuit: The common circuit.
            inputs: Features, `(n_circuits, B, n_inputs)`.
            weights: Angles in radians, `(n_circuits, *weights_shape)`.

        Returns:
            `(n_circuits, B, n_outputs)`, in the dtype and on the device of `inputs`.
        """


def check_shapes(circuit: Circuit, inputs: Tensor, weights: Tensor) -> None:
    """Refuse arrays that do not match the circuit.

    Raises:
        HQDMError: If the shapes or the dtypes of `inputs` and `weights` do not match.
    """
    expected = ", ".join(["n_circuits", *map(str, circuit.weights_shape)])
    if tuple(weights.shape[1:]) != circuit.weights_shape or not weights.shape[0]:
        raise HQDMError(f"expected weights of shape ({expected}), got {tuple(weights.shape)}")
    n_circuits = weights.shape[0]
    if inputs.ndim != 3 or inputs.shape[0] != n_circuits or inputs.shape[2] != circuit.n_inputs:
        raise HQDMError(
            f"expected inputs of shape ({n_circuits}, B, {circuit.n_inputs}), "
            f"got {tuple(inputs.shape)}"
        )
    if inputs.dtype != weights.dtype or inputs.dtype not in (torch.float32, torch.float64):
        raise HQDMError(
            "inputs and weights must both be float32 or both float64, "
            f"got {inputs.dtype} and {weights.dtype}"
        )


def no_outputs(circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
    """The outputs for an empty batch, with gradients of zero."""
    empty = inputs.new_zeros(inputs.shape[0], 0, circuit.n_outputs)
    return empty + 0 * (inputs.sum() + weights.sum())


def refuse_memory(
    what: str,
    n_bytes: int,
    memory_limit: int,
    advice: str = "fewer qubits or samples, or a simulator with a higher memory_limit",
) -> None:
    """Refuse an allocation above the memory limit, before it is made.

    Args:
        what: Description of the data, for the message.
        n_bytes: Bytes needed.
        memory_limit: Memory limit in bytes.
        advice: What needs less, for the message.

    Raises:
        HQDMError: If more bytes are needed than the limit allows.
    """
    if n_bytes > memory_limit:
        raise HQDMError(
            f"{what} would take {n_bytes:,} bytes, more than memory_limit={memory_limit:,}: use "
            f"{advice}"
        )


def is_differentiated_forward(*tensors: Tensor) -> bool:
    """True if a tensor has a forward-mode tangent."""
    return any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)
