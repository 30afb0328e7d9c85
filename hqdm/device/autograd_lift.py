"""Functions of torch as functions of autograd, PennyLane's NumPy, to any order of differentiation.

The vector-Jacobian product g -> J(x)^T g of a torch function is one in x and g, and lifted as well.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from autograd import numpy as anp
from autograd.extend import defvjp_argnum, primitive
from autograd.tracer import isbox
from torch import Tensor

from hqdm.device.arrays import as_numpy
from hqdm.utils.errors import HQDMError


def flat(numbers: Sequence[Any]) -> Any:
    """Numbers and arrays that autograd may differentiate as one vector.

    Raises:
        HQDMError: If one is complex.
    """
    for number in numbers:
        if anp.iscomplexobj(number):
            raise HQDMError("autograd gradients with respect to complex parameters: use real ones")
    return anp.concatenate([anp.ravel(number) for number in numbers])


def split(vector: Any, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """The inverse of `flat`, of torch or autograd."""
    stops = np.cumsum([0, *(math.prod(shape) for shape in shapes)])
    return [
        vector[start:stop].reshape(shape)
        for start, stop, shape in zip(stops, stops[1:], shapes, strict=False)
    ]


def lifted(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """A torch function of real vectors as an autograd function of arrays.

    Args:
        function: A differentiable function of tensors; its value is a real vector.
    """
    kept: list[tuple[Sequence[Any], list[Tensor], Tensor]] = []  # the latest evaluation

    def evaluated(arrays: Sequence[Any]) -> tuple[list[Tensor], Tensor]:
        if not kept or any(a is not b for a, b in zip(kept[0][0], arrays, strict=True)):
            tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
            with torch.enable_grad():
                kept[:] = [(arrays, tensors, function(*tensors))]
        return kept[0][1:]

    @primitive
    def value(*arrays: Any) -> Any:
        return as_numpy(evaluated(arrays)[1])

    def rule(place: int, _: Any, arrays: Sequence[Any], __: Any) -> Callable[[Any], Any]:
        def product(vector: Any) -> Any:
            if any(map(isbox, (*arrays, vector))):
                return lifted(pulled_back(function, place))(*arrays, vector)
            tensors, out = evaluated(arrays)
            return as_numpy(gradient(out, tensors[place], torch.tensor(vector)))

        return product

    defvjp_argnum(value, rule)
    return value


def pulled_back(function: Callable[..., Tensor], place: int) -> Callable[..., Tensor]:
    """The vector-Jacobian product of a function in the argument at a place."""

    def product(*tensors: Tensor) -> Tensor:
        differentiates = torch.is_grad_enabled()
        *arguments, vector = tensors
        arguments = [a if a.requires_grad else a.requires_grad_() for a in arguments]
        with torch.enable_grad():
            return gradient(function(*arguments), arguments[place], vector, differentiates)

    return product


def gradient(out: Tensor, leaf: Tensor, vector: Tensor, create_graph: bool = False) -> Tensor:
    """The gradient of `vector @ out`; zero if `out` does not depend on the leaf."""
    if not out.requires_grad:
        return torch.zeros_like(leaf)
    (found,) = torch.autograd.grad(
        out,
        leaf,
        vector.to(out),
        retain_graph=True,
        create_graph=create_graph,
        allow_unused=True,
        materialize_grads=True,
    )
    return found
