"""The outline of a network: its shapes without memory, on torch's meta device.

A configuration of a kilobyte can ask for terabytes. The outline is built first; its bytes are
compared with the available memory, and its shapes with those in a file.
"""

from collections.abc import Callable
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hqdm.utils.errors import HQDMError
from hqdm.utils.memory import check_memory

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
    """What a function builds, with every tensor on the meta device.

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
