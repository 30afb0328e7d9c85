"""Functions of torch as functions of JAX, to any order of reverse differentiation.

As `autograd_lift`, for `diff_method="backprop"` with JAX, which is no requirement of this package.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import torch
from jax import numpy as jnp
from torch import Tensor

from hqdm.device.arrays import as_numpy
from hqdm.device.autograd_lift import pulled_back, split


def is_traced(number: Any) -> bool:
    """True if JAX differentiates or compiles with respect to a number."""
    return isinstance(number, jax.core.Tracer)


def lifted(function: Callable[..., Tensor], size: int, arrays: Sequence[Any]) -> Any:
    """The value of a torch function of real tensors, as JAX differentiates it.

    Args:
        function: A differentiable function; its value is a real vector.
        size: The length of its value.
        arrays: Its arguments.
    """
    shapes = [jnp.shape(array) for array in arrays]
    joined = jnp.concatenate([jnp.ravel(jnp.asarray(array)) for array in arrays])
    return _lifted(lambda x: function(*split(x, shapes)), size)(joined)


def _lifted(function: Callable[..., Tensor], size: int) -> Callable[..., Any]:
    """A torch function of real vectors as a JAX function; see `lifted`."""

    def on_host(*arrays: Any) -> np.ndarray:
        tensors = [torch.from_numpy(np.array(array)) for array in arrays]
        with torch.no_grad():
            return as_numpy(function(*tensors)).astype(arrays[0].dtype)

    @jax.custom_vjp
    def value(*arrays: Any) -> Any:
        shape = jax.ShapeDtypeStruct((size,), arrays[0].dtype)
        return jax.pure_callback(on_host, shape, *arrays, vmap_method="sequential")

    def forward(*arrays: Any) -> tuple[Any, tuple[Any, ...]]:
        return value(*arrays), arrays

    def backward(arrays: tuple[Any, ...], vector: Any) -> tuple[Any, ...]:
        products = (
            _lifted(pulled_back(function, place), array.size) for place, array in enumerate(arrays)
        )
        return tuple(product(*arrays, vector) for product in products)

    value.defvjp(forward, backward)
    return value
