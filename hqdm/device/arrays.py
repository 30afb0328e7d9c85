"""Numbers of PennyLane's interfaces as torch tensors and back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hqdm.utils.errors import HQDMError


def precision(numbers: Sequence[Any]) -> torch.dtype:
    """The real dtype of a computation: single precision if all arrays among numbers are in it.

    Python's numbers take the precision of the arrays, as in torch. If there are torch tensors, they
    decide alone.
    """
    tensors = [number for number in numbers if isinstance(number, Tensor)]
    if tensors:
        kinds = {
            tensor.dtype for tensor in tensors if tensor.is_floating_point() or tensor.is_complex()
        }
        doubles = {torch.float64, torch.complex128}
        return torch.float32 if kinds and not kinds & doubles else torch.float64
    arrays = [number for number in numbers if isinstance(number, np.ndarray | np.float32)]
    single = bool(arrays) and all(a.dtype in (np.float32, np.complex64) for a in arrays)
    return torch.float32 if single else torch.float64


def as_numpy(tensor: Any) -> Any:
    """A tensor as an array; anything else as it is."""
    return (
        tensor.detach().resolve_conj().numpy(force=True) if isinstance(tensor, Tensor) else tensor
    )


def unwrapped(number: Any) -> Any:
    """The element of an array of one object, in which NumPy keeps a number of autograd."""
    is_object = isinstance(number, np.ndarray) and number.dtype == object
    return number.item() if is_object and number.size == 1 else number


def as_real(number: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A parameter as a real tensor; PennyLane makes angles complex in some methods.

    Raises:
        HQDMError: If it has an imaginary part.
    """
    tensor = number if isinstance(number, Tensor) else torch.from_numpy(np.array(unwrapped(number)))
    if tensor.is_complex():
        if tensor.imag.any():
            raise HQDMError(f"an angle is complex: expected a real number, got {number}")
        tensor = tensor.real
    return tensor.to(device, dtype)
