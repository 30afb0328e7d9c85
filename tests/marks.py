"""Marks of the cases of parametrised tests."""

from typing import Any

import pytest


def slow(*values: Any, id: str | None = None) -> Any:
    """A case of a test that runs with `make test-all` only: others of the test are faster."""
    return pytest.param(*values, id=id, marks=pytest.mark.slow)
