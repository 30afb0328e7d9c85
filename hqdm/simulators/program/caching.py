"""What is made once for a circuit and kept."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar, cast

import torch

P = ParamSpec("P")
R = TypeVar("R")


def made_once(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: keep what a function returns, for hashable arguments.

    The function runs in a thread of its own, where torch is in no inference mode and in no function
    transformation, even if the first call is: tensors that were made there could not be used later.
    """

    @wraps(function)
    def apart(*args: P.args, **kwargs: P.kwargs) -> R:
        def without_gradients() -> R:
            with torch.no_grad():
                return function(*args, **kwargs)

        with ThreadPoolExecutor(max_workers=1) as executor:
            return executor.submit(without_gradients).result()

    return cast(Callable[P, R], lru_cache(maxsize=256)(apart))
