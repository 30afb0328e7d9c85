"""Messages of jsonargparse about a configuration, converted to one readable line."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

_WHERE = re.compile(r"Parser key \"(?P<key>[\w.]+)\":\s*")
_UNKNOWN_KEY = re.compile(
    r"(?:Group '(?P<group>[\w.]+)' does not accept option|Option) '(?P<key>[\w.-]+)'"
)
_UNKNOWN_OPTION = re.compile(r"unrecognized arguments: (?P<key>\S+)")
_COMPUTED = re.compile(r"Call to compute_fn .* failed: (?P<reason>.*)")
_BROKEN = re.compile(r"Problem with given class_path '(?P<key>[\w.]+)': *(?P<reason>.*)")
_OTHER_TYPE = re.compile("Expected an? |Not a valid subclass of ")
_NO_PATH = re.compile(r"Expected a path but .*? either not accessible or invalid (?=\S)")
_NOT_FINITE = re.compile(r"-?(inf|infinity|nan)", re.IGNORECASE)
_NO_KEYS = re.compile(r"Key \"(?P<key>\w+)\.[\w.]+\" not found in namespace")
_CALLABLE = re.compile(
    r"Subtypes: \[typing\.Callable.* Errors: (?:Type typing.*? callable class: )?(?P<reason>.*?) "
    r"Expected a <class 'NoneType'>"
)
_INNER_KEY = re.compile(r"[\w.]+: (?=Does not validate|Expected|Not )")
_WRONG = (
    re.compile(r"Subtypes: \[(?P<type>.*)\] Errors:.*Given value: ?(?P<value>.*)"),
    re.compile(r"Expected an? (?P<type>(?:(?!Expected).)*)\. Got value: (?P<value>.*)"),
    re.compile(r"Not a valid subclass of (?P<type>\w+)\. Got value: (?P<value>.*?) Subclass types"),
    re.compile(r"Not of type (?P<type>\w+): (?:invalid literal.*: )?(?P<value>\S+)"),
    re.compile(r"Unable to load (?P<type>config) '(?P<value>.*?)'"),
)
_TYPE = re.compile(
    r"Literal\[(?P<literal>.*?)\]|<class '(?:\w+\.)*(?P<name>\w+)'>|"
    r"(?P<generic>dict|list|tuple)\[.*?\]"
)
_PLAIN = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "keys with values",
    "config": "keys with values",
    "NoneType": "null",
    "PositiveInt": "a whole number from 1",
    "NonNegativeInt": "a whole number from 0",
    "Hybrid": "the keys of a hybrid part, such as groups and ansatz",
}


def readable(message: str, keys: Iterable[str]) -> str:
    """Reduce a message of the parser to the error and the key at which it occurs.

    Args:
        message: The message of the parser, of one or several lines.
        keys: The known keys, with dots.

    Returns:
        One line.
    """
    text = " ".join(line.strip(" -^") for line in message.split("\n") if line.strip(" -^"))
    text = text.replace('in "<unicode string>", ', "at ")
    text = _NO_PATH.sub("", text)  # a value may be YAML or a file, and the other reason follows
    where = _WHERE.match(text)
    key = where["key"] if where else ""
    text = text[where.end() :] if where else text
    if found := _COMPUTED.search(text):
        return found["reason"]
    if found := _NO_KEYS.search(text):
        return f"{found['key']}: expected keys with values"
    if found := _UNKNOWN_KEY.search(text):
        parts = (key, found["group"], found["key"])
        return _unknown("key", ".".join(part for part in parts if part), keys)
    if found := _UNKNOWN_OPTION.search(text):
        return _unknown("option", found["key"], [f"--{key}" for key in keys])
    if text.startswith("Unexpected config:"):
        return "the configuration file holds no keys: expected data, model and trainer"
    if found := _CALLABLE.search(text):
        return f"{key}: {found['reason']}: expected class_path and init_args of a class, or null"
    for pattern in _WRONG:
        if found := pattern.search(text):
            value = found["value"].replace("None", "null") or "''"
            expected = _expected(found["type"])
            if _NOT_FINITE.fullmatch(value):
                expected = expected.replace("a number", "a finite number")
            inner = _INNER_KEY.match(text)
            text = f"{inner[0] if inner else ''}expected {expected}, got {value}"
            break
    return f"{key}: {text}" if key else text


def broken_class(error: BaseException) -> str | None:
    """One line about a class of a configuration that cannot be built.

    Args:
        error: The error of the parser, which lists one error per type that the value may have.

    Returns:
        The class with the reason; None if the error is about something else.
    """
    reasons = [
        " ".join(item.split()) for item in str(error).partition("\nGiven")[0].split("\n  - ")
    ]
    for reason in reasons if len(reasons) == 1 else reasons[1:]:
        if found := _BROKEN.match(reason):
            return f"{found['key']}: {found['reason']}"
        if len(reasons) > 1 and not _OTHER_TYPE.match(reason):
            return reason
    return None


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Like `hqdm.utils.errors.unknown`, but without the list of all keys, which is too long."""
    names = sorted({name, *(key.rsplit(".", n)[0] for key in known for n in range(3))} - {name})
    last = name.rsplit(".", 1)[-1]
    close = get_close_matches(name, names, n=1) or [n for n in names if n.endswith(f".{last}")]
    hint = f"did you mean {close[0]}?" if close else "`hqdm fit --help` lists all"
    return f"unknown {kind} {name}: {hint}"


def _expected(types: str) -> str:
    """Describe a type expression in words."""
    words: list[str] = []
    for found in _TYPE.finditer(types):
        if found["literal"]:
            words += found["literal"].split(", ")
        else:
            name = found["name"] or found["generic"]
            words.append(_PLAIN.get(name, name))
    return " or ".join(words) or _PLAIN.get(types, types)
