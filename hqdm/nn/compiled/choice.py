"""The choice between torch and the compiled kernels for a network on the CPU.

The environment variable `HQDM_BACKEND` is "auto" (the kernels where they compute the same and are
faster), "torch", or "compiled" (the kernels wherever they compute the same).
"""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from hqdm.simulators.program.base import is_differentiated_forward
from hqdm.utils.errors import HQDMError

BACKENDS = ("auto", "torch", "compiled")
VARIABLE = "HQDM_BACKEND"
NARROW, MAX_WIDTH = 16, 48
"""Channels of the first level up to which kernels compute every batch, and batches that fill the
lanes: the kernels take as long for one sample as for a group, and the convolutions of torch are
efficient with many channels. See benchmarks/results/backends.md."""

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def is_plain(*modules: nn.Module) -> bool:
    """True if nothing but its class decides what a module computes."""
    return not any(
        "forward" in vars(module) or any(getattr(module, hooks) for hooks in HOOKS)
        for module in modules
    )


class Modules(Protocol):
    """The application of modules to tensors in some layout."""

    def enter(self, x: Tensor) -> Tensor:
        """From the usual layout `(B, C, H, W)`."""

    def leave(self, x: Tensor) -> Tensor:
        """To the usual layout."""

    def precision(self) -> AbstractContextManager[None]:
        """The context of the computation."""

    def __call__(self, module: nn.Module, x: Tensor, *arguments: Tensor) -> Tensor:
        """Apply a module; further arguments have the usual layout."""

    def level(self, level: nn.Module, x: Tensor, emb: Tensor, skips: list[Tensor]) -> Tensor:
        """Apply a level of a U-Net, with skip connections in this layout."""


class TorchModules:
    """Modules as torch computes them."""

    def enter(self, x: Tensor) -> Tensor:
        """The same tensor."""
        return x

    def leave(self, x: Tensor) -> Tensor:
        """The same tensor."""
        return x

    def precision(self) -> AbstractContextManager[None]:
        """That of the caller, which may be mixed."""
        return nullcontext()

    def __call__(self, module: nn.Module, x: Tensor, *arguments: Tensor) -> Tensor:
        """Call the module."""
        return module(x, *arguments)

    def level(self, level: nn.Module, x: Tensor, emb: Tensor, skips: list[Tensor]) -> Tensor:
        """Call the level."""
        return level(x, emb, skips)


TORCH = TorchModules()


def backend() -> str:
    """The value of `HQDM_BACKEND`.

    Raises:
        HQDMError: If it has another value than the three.
    """
    value = os.environ.get(VARIABLE, "auto")
    if value not in BACKENDS:
        raise HQDMError(f"{VARIABLE} is {value!r}: expected one of {', '.join(BACKENDS)}")
    return value


def uses_kernels(network: nn.Module, width: int, *inputs: Tensor) -> bool:
    """True if a network is computed by kernels.

    Args:
        network: The network.
        width: The channels of its first level.
        *inputs: Samples `(B, ...)` and times.
    """
    chosen = backend()
    if chosen == "torch" or not len(inputs[0]) or not is_computable(network, *inputs):
        return False
    return chosen == "compiled" or is_faster(width, len(inputs[0]), inputs[0].element_size())


def is_faster(width: int, n: int, itemsize: int) -> bool:
    """True if kernels are faster than torch.

    Narrow networks have them also for small batches, in which they are not, so that the rounding of
    a sample does not depend on the batch size.
    """
    if width <= NARROW:
        return True
    from hqdm.simulators.compiled.lanes import n_lanes  # loads Numba

    return width <= MAX_WIDTH and n >= n_lanes(itemsize)


def is_computable(network: nn.Module, *inputs: Tensor) -> bool:
    """True if kernels compute the network and its gradient: plain tensors, real, on the CPU.

    They are not recorded or transformed by torch: compiled, traced, exported, or differentiated in
    forward mode.
    """
    dtype = inputs[0].dtype
    if dtype not in (torch.float32, torch.float64) or is_recorded():
        return False
    parameters = tuple(network.parameters())
    tensors = *inputs, *parameters
    return (
        all(parameter.dtype == dtype for parameter in parameters)
        and all(type(t) in (Tensor, nn.Parameter) and t.device.type == "cpu" for t in tensors)
        and not is_differentiated_forward(*tensors)
    )


def is_recorded() -> bool:
    """True if torch compiles, traces or transforms what it computes, or calls global hooks."""
    return (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or is_in_torch_dispatch_mode()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._len_torch_function_stack() > 0
        or torch.nn.modules.module._has_any_global_hook()
    )
