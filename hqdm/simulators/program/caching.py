"""A cache for objects that depend on a circuit only."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar, cast

import torch

P = ParamSpec("P")
R = TypeVar("R")


def cached(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: cache the results of a function of hashable arguments.

    The function runs in a separate thread, outside of any inference mode or function transformation
    of torch that encloses the call: tensors created inside of those could not be used later.
    """

    @wraps(function)
    def apart(*args: P.args, **kwargs: P.kwargs) -> R:
        def without_gradients() -> R:
            with torch.no_grad():
                return function(*args, **kwargs)

        with ThreadPoolExecutor(max_workers=1) as executor:
            return executor.submit(without_gradients).result()

    return cast(Callable[P, R], lru_cache(maxsize=256)(apart))
