"""PennyLane, imported when it is first used.

Its import takes longer than that of torch. Circuits are described without it, such as in the
configuration of a network; their gates need it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any


class _Lazy:
    """A module that is imported when one of its members is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, member: str) -> Any:
        return getattr(import_module(self._name), member)


if TYPE_CHECKING:
    import pennylane as qml
else:
    qml = _Lazy("pennylane")

__all__ = ["qml"]
