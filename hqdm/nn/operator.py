"""A quantum layer as an operator of torch, for `torch.compile`.

A compiler cannot look into PennyLane or compiled kernels. While it traces, a layer calls the
operator `hqdm::evaluate`, which has the shapes of its outputs and its gradients declared, and which
runs the layer as it is when the compiled code is called. Without a compiler, it is not used.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, Protocol, TypeVar, cast
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

T = TypeVar("T")


class OpaqueLayer(Protocol):
    """A layer that the operator can run."""

    def evaluate(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        """The outputs of the layer."""

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the outputs for inputs of a shape."""


_layers: "WeakValueDictionary[str, OpaqueLayer]" = WeakValueDictionary()
_numbers = count()


class OpaqueModule(nn.Module):
    """A module with a name in this process, under which the operator finds it.

    The name is an attribute, on which compiled code depends: code that was compiled for one layer
    is not taken for another one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._take_name()

    def _take_name(self) -> None:
        self.operator_name = str(next(_numbers))
        _layers[self.operator_name] = cast(OpaqueLayer, self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or copied layer, under a name of its own."""
        super().__setstate__(state)
        self._take_name()


def opaque(name: str, x: Tensor, weights: list[Tensor]) -> Tensor:
    """Evaluate a layer by the operator.

    Args:
        name: The name of the layer.
        x: Its inputs.
        weights: Its weights.
    """
    return cast(Tensor, torch.ops.hqdm.evaluate(name, x, weights))


def _apart(function: Callable[[], T]) -> T:
    """The result of a function in a thread of its own.

    Inside of an operator torch records no gradients, and no tensor has values while it traces.
    """
    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(function).result()


def _copy(tensor: Tensor) -> Tensor:
    """A contiguous copy: results of an operator must not share memory."""
    return tensor.clone(memory_format=torch.contiguous_format)


@torch.library.custom_op("hqdm::evaluate", mutates_args=())
def _evaluate(name: str, x: Tensor, weights: list[Tensor]) -> Tensor:
    def run() -> Tensor:
        with torch.no_grad():
            return _layers[name].evaluate(x, weights)

    return _copy(_apart(run))


@_evaluate.register_fake
def _(name: str, x: Tensor, weights: list[Tensor]) -> Tensor:
    dtype = weights[0].dtype if weights else x.dtype
    return x.new_empty(_layers[name].output_shape(tuple(x.shape)), dtype=dtype)


@torch.library.custom_op("hqdm::evaluate_backward", mutates_args=())
def _evaluate_backward(name: str, grad: Tensor, x: Tensor, weights: list[Tensor]) -> list[Tensor]:
    def run() -> list[Tensor]:
        with torch.enable_grad():
            leaves = [tensor.detach().requires_grad_() for tensor in (x, *weights)]
            out = _layers[name].evaluate(leaves[0], leaves[1:])
            grads = torch.autograd.grad(out, leaves, grad, materialize_grads=True)
        return [_copy(part) for part in grads]

    return _apart(run)


@_evaluate_backward.register_fake
def _(name: str, grad: Tensor, x: Tensor, weights: list[Tensor]) -> list[Tensor]:
    return [tensor.new_empty(tensor.shape) for tensor in (x, *weights)]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.name, x, weights = inputs
    ctx.save_for_backward(x, *weights)


def _backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, list[Tensor]]:
    x, *weights = ctx.saved_tensors
    of_x, *of_weights = torch.ops.hqdm.evaluate_backward(ctx.name, grad, x, weights)
    return None, of_x, of_weights


_evaluate.register_autograd(_backward, setup_context=_save)
