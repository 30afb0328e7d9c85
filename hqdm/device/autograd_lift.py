"""Functions of torch as functions of autograd, PennyLane's NumPy, to any order of differentiation.

The vector-Jacobian product g -> J(x)^T g of a torch function is one in x and g, and lifted as well.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from autograd import numpy as anp
from autograd.extend import defvjp_argnums, primitive
from autograd.tracer import isbox
from torch import Tensor

from hqdm.device.arrays import as_numpy
from hqdm.utils.errors import HQDMError


def split(vector: Any, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """The inverse of `flat`, of torch or autograd."""
    stops = np.cumsum([0, *(math.prod(shape) for shape in shapes)])
    return [
        vector[start:stop].reshape(shape)
        for start, stop, shape in zip(stops, stops[1:], shapes, strict=False)
    ]


def lifted(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """A torch function of real tensors as an autograd function of arrays.

    Args:
        function: A differentiable function of tensors; its value is a real vector.

    Raises:
        HQDMError: In the call, if an argument is complex.
    """
    kept: list[tuple[list[Tensor], Tensor]] = []  # the evaluation

    @primitive
    def value(*arrays: Any) -> Any:
        tensors = [torch.from_numpy(np.array(array)) for array in arrays]
        if any(tensor.is_complex() for tensor in tensors):
            raise HQDMError("autograd gradients with respect to complex parameters: use real ones")
        leaves = [tensor if tensor.is_floating_point() else tensor.double() for tensor in tensors]
        for leaf in leaves:
            leaf.requires_grad_()
        with torch.enable_grad():
            kept[:] = [(leaves, function(*leaves))]
        return as_numpy(kept[0][1])

    def rule(
        places: Sequence[int], _: Any, arrays: Sequence[Any], __: Any
    ) -> Callable[[Any], Sequence[Any]]:
        def products(vector: Any) -> Sequence[Any]:
            if any(map(isbox, (*arrays, vector))):  # a further derivative
                shapes = [np.shape(array) for array in arrays]
                joined = anp.concatenate([anp.ravel(array) for array in arrays])
                packed = pulled_back(lambda x: function(*split(x, shapes)), 0)
                parts = split(lifted(packed)(joined, vector), shapes)
                return [parts[place] for place in places]
            leaves, out = kept[0]
            found = gradients(out, [leaves[place] for place in places], torch.tensor(vector))
            return [as_numpy(gradient) for gradient in found]

        return products

    defvjp_argnums(value, rule)
    return value


def pulled_back(function: Callable[..., Tensor], place: int) -> Callable[..., Tensor]:
    """The vector-Jacobian product of a function in the argument at a place."""

    def product(*tensors: Tensor) -> Tensor:
        differentiates = torch.is_grad_enabled()
        *arguments, vector = tensors
        arguments = [a if a.requires_grad else a.requires_grad_() for a in arguments]
        with torch.enable_grad():
            out = function(*arguments)
            return gradients(out, [arguments[place]], vector, differentiates)[0]

    return product


def gradients(
    out: Tensor, leaves: Sequence[Tensor], vector: Tensor, create_graph: bool = False
) -> Sequence[Tensor]:
    """The gradients of `vector @ out`; zero where `out` does not depend on a leaf."""
    if not out.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    return torch.autograd.grad(
        out,
        list(leaves),
        vector.to(out),
        retain_graph=True,
        create_graph=create_graph,
        allow_unused=True,
        materialize_grads=True,
    )
