"""Marks of the cases of parametrised tests."""

from collections.abc import Iterable
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet


def slow(*values: Any, id: str | None = None) -> Any:
    """A case of a test that runs with `make test-all` only: others of the test are faster."""
    return pytest.param(*values, id=id, marks=pytest.mark.slow)


def thinned(cases: Iterable[Any], every: int, start: int = 0) -> list[Any]:
    """The cases, of which each `every`-th runs by default, and the others with `make test-all`.

    Args:
        cases: Values of `parametrize`; a tuple is that of several arguments.
        every: The distance of the cases that run by default.
        start: The first of them.
    """
    found = []
    for i, case in enumerate(cases):
        values = case if isinstance(case, tuple) else (case,)
        fast = i % every == start or isinstance(case, ParameterSet)
        found.append(case if fast else slow(*values))
    return found
