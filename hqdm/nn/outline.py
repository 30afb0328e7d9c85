"""The outline of a network: its shapes and sizes without memory, on torch's meta device.

A configuration of a kilobyte can ask for terabytes. The outline is built first; its bytes are
compared with the available memory, and its shapes with those in a file.
"""

import math
from collections.abc import Callable
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from hqdm.utils.errors import HQDMError
from hqdm.utils.memory import check_memory

LARGE = 2**18  # numbers in a batch; the check of a smaller one would take longer than it is worth

T = TypeVar("T")


class _NoNumbers(TorchFunctionMode):
    """Leaves out normal numbers and ranges, for which torch would import a compiler (a second)."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.normal_:
            return args[0]
        if func is torch.arange and args and all(isinstance(arg, int) for arg in args):
            return torch.empty(len(range(*args)), **{"dtype": torch.int64, **kwargs})
        return func(*args, **kwargs)


def outline(build: Callable[[], T]) -> T | None:
    """The result of a function that builds modules, with every tensor on the meta device.

    Args:
        build: Builds modules; their initial values do not matter.

    Returns:
        The outline; None if the modules need numbers while they are built, or the function fails.

    Raises:
        HQDMError: By the function, or if a size is beyond 64 bits.
    """
    try:
        with torch.device("meta"), _NoNumbers():
            return build()
    except HQDMError:
        raise
    except Exception as error:  # of a user's class, which also fails, or does not, with numbers
        if isinstance(error, OverflowError) or "overflow" in str(error).lower():
            raise HQDMError("a size is beyond 64 bits: use smaller numbers") from None
        return None


def check_size(name: str, module: nn.Module, copies: int) -> None:
    """Refuse a module that does not fit into memory.

    Args:
        name: The name of the module, for the message.
        module: Its outline.
        copies: Number of copies of its tensors that will exist.

    Raises:
        HQDMError: If it does not fit.
    """
    tensors = list(chain(module.parameters(), module.buffers()))
    n_bytes = copies * sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    n_parameters = sum(parameter.numel() for parameter in module.parameters())
    what = f"the network {name} with {n_parameters:,} parameters"
    times = f" ({copies} copies for training)" if copies > 1 else ""
    check_memory(f"{what}{times}", n_bytes, "use a smaller network")


class _LargestTensor(TorchDispatchMode):
    """Notes the bytes of the largest tensor that an operation returns."""

    n_bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self.n_bytes = max(self.n_bytes, tensor.numel() * tensor.element_size())
        return result


def forward_bytes(module: nn.Module, inputs: tuple[Tensor, ...], training: bool) -> int | None:
    """The memory that a forward pass takes at least.

    Args:
        module: The module, on any device; it is not changed.
        inputs: Its inputs, on the meta device.
        training: Count all tensors that are kept for the gradients, instead of the largest one.

    Returns:
        Bytes; None if the module needs numbers.
    """
    tensors = dict(chain(module.named_parameters(), module.named_buffers()))
    outlines = {
        name: torch.empty_like(tensor, device="meta").requires_grad_(tensor.requires_grad)
        for name, tensor in tensors.items()
    }
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # a reference, so that no other storage has this number
        return tensor

    largest = _LargestTensor()
    try:
        with (
            torch.set_grad_enabled(training),
            saved_tensors_hooks(keep, lambda tensor: tensor),
            largest,
        ):
            functional_call(module, outlines, inputs)
    except Exception:  # of a user's class, which may need numbers
        return None
    return max(largest.n_bytes, sum(storage.nbytes() for storage in kept.values()))


def check_batch(network: Any, n: int, training: bool) -> None:
    """Refuse a batch whose forward pass does not fit into memory; on the CPU, from `LARGE` on.

    Args:
        network: The network, see `hqdm.nn.network`.
        n: Number of samples.
        training: Whether gradients are needed.

    Raises:
        HQDMError: If it does not fit.
    """
    shape = n, *network.sample_shape
    if math.prod(shape) < LARGE or any(p.device.type != "cpu" for p in network.parameters()):
        return
    x, t = torch.empty(shape, device="meta"), torch.empty(n, device="meta")
    n_bytes = forward_bytes(network, (x, t), training)
    if n_bytes is not None:
        check_memory(f"a batch of {n} samples", n_bytes, "use a smaller batch size")
