"""The state of the parts of a circuit as a key: equal keys, equal gates.

Dataclasses are equal if their fields are. An ansatz may have more, such as an attribute that its
`__post_init__` sets or the `__init__` of a subclass; two such circuits must not share a program.
"""

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import is_dataclass
from functools import cached_property
from types import FunctionType

import numpy as np
from torch import Tensor

ATOMS = (bool, int, str, bytes, type(None))
CIRCUITS = __name__.rpartition(".")[0]
LIBRARIES = ("builtins", "numpy", "torch")


class _Same:
    """An object that equals itself only; it is kept alive, so that no other has its address."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def state_of(value: object) -> Hashable:
    """A key of everything that an object consists of.

    Dataclasses, and objects that queue gates, count by their attributes, arrays by their numbers,
    functions and other objects by themselves.

    Args:
        value: An embedding, an ansatz, or a part of one.
    """
    kind = type(value)
    if kind in ATOMS:
        return kind, value
    if isinstance(value, (float, complex)):
        return kind, repr(value)
    if isinstance(value, (tuple, list)):
        return kind, tuple(map(state_of, value))
    if isinstance(value, Mapping):
        return kind, tuple((state_of(key), state_of(item)) for key, item in value.items())
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return kind, value.shape, str(value.dtype), digest
    queues = hasattr(kind, "queue") or (hasattr(kind, "apply") and hasattr(value, "n_inputs"))
    if (queues or is_dataclass(value)) and not isinstance(value, type):
        return kind, tuple(
            (name, state_of(item))
            for name, item in _attributes(value).items()
            if not isinstance(getattr(kind, name, None), cached_property)
        )
    if isinstance(value, (set, frozenset)):
        return kind, frozenset(map(state_of, value))
    try:
        hash(value)
    except TypeError:
        return _Same(value)
    return kind, value  # members of two enumerations may be equal


def _attributes(value: object) -> dict[str, object]:
    """The attributes of an object, in its `__dict__` or in slots."""
    found: dict[str, object] = dict(vars(value)) if hasattr(value, "__dict__") else {}
    for cls in type(value).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                found[name] = getattr(value, name)
    return found


def lasting(state: Hashable) -> str | None:
    """A key as text that means the same in every process with the same sources of this room.

    Args:
        state: A key from `state_of`, or a tuple of such.

    Returns:
        The text; None if a part has no such meaning: a function or a class of a user, whose code
        may be another one next time.
    """
    if isinstance(state, tuple):
        parts = [lasting(part) for part in state]
        known = [part for part in parts if part is not None]
        return f"({', '.join(known)})" if len(known) == len(parts) else None
    if isinstance(state, type):
        module = state.__module__
        ours = module.startswith(f"{CIRCUITS}.") and not _is_patched(state)
        named = ours or module.partition(".")[0] in LIBRARIES
        return f"{module}.{state.__qualname__}" if named else None
    return repr(state) if type(state) in ATOMS else None


def _is_patched(kind: type) -> bool:
    """True if a method or property of a class of this room was defined in another module."""
    for cls in kind.__mro__:
        if not cls.__module__.startswith(f"{CIRCUITS}."):
            continue
        for item in vars(cls).values():
            function = getattr(item, "fget", getattr(item, "__func__", item))
            if isinstance(function, FunctionType) and function.__module__ != cls.__module__:
                return True
    return False
