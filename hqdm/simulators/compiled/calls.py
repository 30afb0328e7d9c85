"""Calls of compiled kernels: one at a time where necessary, with torch's threads, differentiable.

An operation that kernels compute is a differentiable torch function by `KernelFunction`: kernels
compute its values and gradients, and a reference in torch operations all further derivatives.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import numba
import torch
from numba.core import event
from torch import Tensor

log = logging.getLogger(__name__)

SILENT_SECONDS = 1.0  # loading a CUDA kernel takes less time, compiling one takes more
FORWARD, BACKWARD = (f"{name} kernel of the simulator" for name in ("forward", "backward"))
COMPILING = "compiling the %s for %s: about 10 seconds, once on this machine"


class Operation(Protocol):
    """A differentiable function of tensors that kernels compute."""

    @property
    def forward(self) -> Callable[..., tuple[Tensor, ...]]:
        """From the tensors to the value, followed by further tensors that `backward` needs."""

    @property
    def backward(self) -> Callable[..., tuple[Tensor | None, ...]]:
        """Gradients with respect to the tensors.

        The arguments are the gradient with respect to the value, for each tensor whether its
        gradient is needed, the tensors, and the further tensors that `forward` returned. A gradient
        that is not needed may be None.
        """

    @property
    def reference(self) -> Callable[..., Tensor]:
        """From the tensors to the value, by torch operations."""


class KernelFunction(torch.autograd.Function):
    """An operation as a torch function, see `compute`.

    Derivatives beyond the gradient come from the reference of the operation.
    """

    @staticmethod
    def forward(operation: Operation, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Evaluate."""
        return operation.forward(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Save the inputs and what the operation needs further."""
        ctx.operation, *tensors = inputs
        ctx.n_tensors, ctx.n_further = len(tensors), len(output) - 1
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *output[1:])
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        """Gradients from the gradient with respect to the value."""
        if grad is None:
            return (None,) * (1 + ctx.n_tensors)
        if torch.is_grad_enabled():
            tensors = ctx.saved_tensors[: ctx.n_tensors]
            return None, *torch.func.vjp(ctx.operation.reference, *tensors)[1](grad)
        return None, *ctx.operation.backward(grad, ctx.needs_input_grad[1:], *ctx.saved_tensors)

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        """Forward-mode derivative, by the reference."""
        filled = tuple(
            torch.zeros_like(tensor) if tangent is None else tangent
            for tensor, tangent in zip(ctx.saved_tensors, tangents, strict=True)
        )
        tangent = torch.func.jvp(ctx.operation.reference, ctx.saved_tensors, filled)[1]
        return tangent, *(None,) * ctx.n_further

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, operation: Operation, *tensors: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """Evaluate sequentially."""
        outputs = [
            KernelFunction.apply(
                operation,
                *(
                    tensor if dim is None else tensor.select(dim, i)
                    for tensor, dim in zip(tensors, in_dims[1:], strict=True)
                ),
            )
            for i in range(info.batch_size)
        ]
        stacked = tuple(map(torch.stack, zip(*outputs, strict=True)))
        return stacked, (0,) * len(stacked)


class _DirectFunction(torch.autograd.Function):
    """`KernelFunction` without functorch's transforms: torch's calls take half as long."""

    @staticmethod
    def forward(ctx: Any, operation: Operation, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Evaluate."""
        output = operation.forward(*tensors)
        KernelFunction.setup_context(ctx, (operation, *tensors), output)
        return output

    backward = KernelFunction.backward
    jvp = KernelFunction.jvp


def compute(operation: Operation, *tensors: Tensor) -> Tensor:
    """The value of an operation, differentiable."""
    if torch._C._are_functorch_transforms_active():
        return KernelFunction.apply(operation, *tensors)[0]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return _DirectFunction.apply(operation, *tensors)[0]
    return operation.forward(*tensors)[0]


def call(
    kernel: Callable[..., Any],
    name: str,
    dtype: torch.dtype,
    *arguments: Any,
    n: int | None = None,
) -> None:
    """Call a kernel, and say so if this compiles it.

    Args:
        kernel: The kernel.
        name: Its name in the message, which several kernels may share: there is one message.
        dtype: The precision.
        *arguments: The arguments of the kernel.
        n: Number of threads; None is that of torch.
    """
    with announced(dtype, name, kernel), in_turn(), threads(n or n_threads()):
        kernel(*arguments)


def n_threads() -> int:
    """The number of threads of torch, at most that of Numba."""
    return min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)


_turn = threading.Lock()


def in_turn() -> AbstractContextManager[object]:
    """The lock of the kernels, if they may be called by one thread of Python at a time only.

    Numba's own threads, which it takes where it finds neither OpenMP nor TBB, end the process
    otherwise. Which ones it takes is known after the first call.
    """
    try:
        return _turn if numba.threading_layer() == "workqueue" else nullcontext()
    except ValueError:
        return _turn


_compiled: set[tuple[torch.dtype, str, object]] = set()
_messages: set[tuple[str, torch.dtype]] = set()

if hasattr(os, "register_at_fork"):  # a thread that holds the lock is not there in the child,
    os.register_at_fork(after_in_child=_turn._at_fork_reinit)  # type: ignore[attr-defined]
    for known in (_compiled, _messages):
        os.register_at_fork(after_in_child=known.clear)  # which has other kernels, see `Kernel`


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Let Numba use n threads without changing the number of threads of torch."""
    of_torch = torch.get_num_threads()
    numba.set_num_threads(n)
    try:
        yield
    finally:
        if torch.get_num_threads() != of_torch:  # both share OpenMP; the start of Numba sets it
            torch.set_num_threads(of_torch)


class _Announcement(event.Listener):
    """Logs a message when Numba compiles, which it does not do for kernels in its cache.

    Args:
        dtype: The precision of the kernel.
        name: The name of the kernel.
    """

    def __init__(self, dtype: torch.dtype, name: str) -> None:
        self.words = name, dtype

    def on_start(self, _: object) -> None:
        """Log the message, once: a kernel and its functions are compiled one after the other."""
        if self.words not in _messages:
            log.warning(COMPILING, *self.words)
            _messages.add(self.words)

    def on_end(self, _: object) -> None:
        """Nothing."""


@contextmanager
def announced(dtype: torch.dtype, name: str, kernel: object = None) -> Iterator[None]:
    """Log a message if the first call of a kernel compiles it."""
    if (dtype, name, kernel) in _compiled:
        yield
        return
    with event.install_listener("numba:compile", _Announcement(dtype, name)):
        yield
    _compiled.add((dtype, name, kernel))


@contextmanager
def announced_if_slow(dtype: torch.dtype, name: str) -> Iterator[None]:
    """Log a message if the first call of a CUDA kernel takes long: Numba reports no compilation."""
    if (dtype, name, None) in _compiled:
        yield
        return
    timer = threading.Timer(SILENT_SECONDS, log.warning, (COMPILING, name, dtype))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    _compiled.add((dtype, name, None))
