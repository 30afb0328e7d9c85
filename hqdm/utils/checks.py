"""Checks of what users give: numbers, the options of a configuration, and devices."""

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    SupportsIndex,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from hqdm.utils.errors import HQDMError, check_names

if TYPE_CHECKING:
    import torch

_WORDS: dict[object, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    NoneType: "null",
    list: "a list",
    tuple: "a list",
    Sequence: "a list",
    dict: "keys with values",
    Mapping: "keys with values",
}


def whole(name: str, value: object, least: int = 0, most: int | None = None) -> int:
    """A whole number.

    Args:
        name: The name of the number, for messages.
        value: The number; not True or False, which Python counts as 1 and 0.
        least: The smallest number allowed.
        most: The largest number allowed, if any.

    Raises:
        HQDMError: If it is not a whole number, or out of range.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(cast(SupportsIndex, value))
    except TypeError:
        number = None
    if number is None or number < least:
        raise HQDMError(f"{name} needs a whole number from {least}, got {_shown(value)}")
    if most is not None and number > most:
        raise HQDMError(f"{name} needs a whole number up to {most}, got {_shown(value)}")
    return number


def finite(name: str, value: object) -> float:
    """A finite number.

    Raises:
        HQDMError: If it is not one.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise HQDMError(f"{name} needs a finite number, got {_shown(value)}")
    return float(value)


def positive(name: str, value: object) -> float:
    """A finite number above 0.

    Raises:
        HQDMError: If it is not one.
    """
    number = finite(name, value)
    if number <= 0:
        raise HQDMError(f"{name} needs a positive number, got {number:g}")
    return number


def check_types(options: Mapping[str, Any], hints: Mapping[str, Any], prefix: str = "") -> None:
    """Refuse options whose types are not the declared ones.

    Args:
        options: Plain values by name, as read from a file.
        hints: Types by name. Numbers, texts, lists and mappings of them are checked; values of
            other types, and options without a type, are not.
        prefix: What stands before the name in a message, such as `"network."`.

    Raises:
        HQDMError: For the first value of another type; the message has its name.
    """
    for name, value in options.items():
        if name in hints and not _fits(value, hints[name]):
            raise HQDMError(
                f"{prefix}{name}: expected {_in_words(hints[name])}, got {_shown(value)}"
            )


def dotted(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested settings by dotted name, such as `model.network.dim`.

    Args:
        settings: The settings.
        prefix: The names of what they are in, with a dot at the end.
    """
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def check_fields(kind: str, options: Mapping[str, Any], cls: type, prefix: str) -> None:
    """Refuse options that are not fields of a dataclass, or not of their types.

    Args:
        kind: The kind of option, for messages.
        options: Plain values by name.
        cls: The dataclass.
        prefix: See `check_types`.

    Raises:
        HQDMError: For the first option that cannot be used.
    """
    check_names(kind, options, (field.name for field in fields(cls)))
    check_types(options, get_type_hints(cls), prefix)


def _fits(value: object, hint: Any) -> bool:
    """True if a plain value is of a type."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, arg) for arg in args)
    if origin is Literal:
        return value in args
    if hint in (int, float):
        number = Integral if hint is int else Real
        return isinstance(value, number) and not isinstance(value, bool)
    if hint in (str, bool, NoneType):
        return isinstance(value, hint)
    container = origin or hint
    if container in (list, tuple, Sequence):
        inner = args[:1]
        return isinstance(value, list | tuple) and all(_fits(v, h) for v in value for h in inner)
    if container in (dict, Mapping):
        inner = args[1:]
        return isinstance(value, Mapping) and all(
            _fits(v, h) for v in value.values() for h in inner
        )
    return True


def _in_words(hint: Any) -> str:
    """A type in words."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(map(_in_words, args))
    if origin is Literal:
        return " or ".join(map(str, args))
    container = origin or hint
    text = _WORDS.get(container, getattr(container, "__name__", str(container)))
    if text == "a list" and args and (get_origin(args[0]) or args[0]) in (dict, Mapping):
        return "a list of keys with values"
    if text == "a list" and args[:1] in ((int,), (float,), (str,)):
        return f"{text} of {'texts' if args[0] is str else f'{_WORDS[args[0]][2:]}s'}"
    return text


def _shown(value: object) -> str:
    """A value in a message: one line, cut off."""
    return " ".join(repr(value).split())[:60]


def device_named(name: "str | torch.device") -> "torch.device":
    """A device of torch by name; "auto" is a GPU if there is one, else the CPU.

    Raises:
        HQDMError: If it is not available.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name).cpu()  # some devices, such as meta, have no memory
        return torch.device(name)
    except (RuntimeError, AssertionError, TypeError, ValueError):
        raise HQDMError(f"device {str(name)!r} is not available: use auto, cpu or cuda") from None
