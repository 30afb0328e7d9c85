"""Registries, which map names in configurations and commands to objects.

    ANSATZE = Registry[type[Ansatz]]("ansatz")
    ANSATZE.register("Ring", Ring)
    ANSATZE["Ring"]

If a name is not registered, installed packages that declare modules under the entry point group
`hqdm.plugins` are searched; importing such a module registers its definitions.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import ClassVar, Generic, TypeVar, cast

from hqdm.utils.errors import HQDMError, unknown

ENTRY_POINT_GROUP = "hqdm.plugins"

T = TypeVar("T")
D = TypeVar("D")  # of a decorated definition


class Registry(Mapping[str, T], Generic[T]):
    """An extensible mapping from names to objects of one kind.

    Args:
        kind: The kind of the objects, in the singular, for messages.
    """

    all: ClassVar[list["Registry[object]"]] = []

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        Registry.all.append(self)  # type: ignore[arg-type]

    def register(self, name: str, value: T) -> None:
        """Register an object under a name; a redefined object, as in a notebook, replaces the old.

        Raises:
            HQDMError: If another object has that name.
        """
        existing = self._entries.get(name)
        if existing is not None and _identity(existing) != _identity(value):
            raise HQDMError(
                f"the {self.kind} {name!r} is already defined by {_identity(existing)[0]}: "
                "choose another name"
            )
        self._entries[name] = value

    def decorator(self, name: str) -> Callable[[D], D]:
        """A decorator that registers what it decorates under a name and returns it.

        Raises:
            HQDMError: When it is applied, as `register`.
        """

        def register(value: D) -> D:
            self.register(name, cast(T, value))
            return value

        return register

    def __getitem__(self, name: str) -> T:
        """The object registered under a name.

        Raises:
            HQDMError: If there is none; the message lists the names and suggests the nearest.
        """
        if name not in self:
            raise unknown(self.kind, name, self)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        """True if the name is registered, here or by an installed package."""
        if name not in self._entries:
            load_installed_plugins()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of registration."""
        load_installed_plugins()
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        """The number of names."""
        load_installed_plugins()
        return len(self._entries)

    def name_of(self, value: object) -> str | None:
        """The name of an object, or None if it is not registered."""
        return next((name for name, entry in self._entries.items() if entry is value), None)

    def saved_name(self, value: object) -> str:
        """The name of the class of an object, by which a file names it.

        Raises:
            HQDMError: If the class is not registered.
        """
        name = self.name_of(type(value))
        if name is None:
            article = "an" if self.kind[0] in "aeiou" else "a"
            raise HQDMError(
                f"{article} {self.kind} of type {type(value).__name__} cannot be saved: "
                f"decorate the class with hqdm.register_{self.kind}"
            )
        return name


def _definition(value: object) -> object:
    """The class or function behind an entry: a partial application or an entry's `make`."""
    while not hasattr(value, "__qualname__"):
        if isinstance(value, partial):
            value = value.func
        elif hasattr(value, "make"):
            value = value.make
        else:
            value = type(value)
    return value


def _identity(value: object) -> tuple[str, str]:
    """Module and qualified name of the class or function behind an entry."""
    definition = _definition(value)
    return definition.__module__, definition.__qualname__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Requirement:
    """A user-defined object that a saved model needs.

    Attributes:
        kind: The kind of the object, such as "ansatz".
        name: Its name in the registry.
        file: The file that defines it; None if its source is not a file.
        importable: True if importing the file has no effect but the definition; false for a script.
    """

    kind: str
    name: str
    file: Path | None
    importable: bool

    @property
    def record(self) -> dict[str, str | None]:
        """The requirement as plain data, to be saved together with a copy of the defining file."""
        file = self.file.name if self.file is not None and self.importable else None
        return {"kind": self.kind, "name": self.name, "file": file}


def requirements(config: object) -> list[Requirement]:
    """The user-defined objects that a plain configuration names.

    A name is included if it occurs as a value anywhere in the configuration and its definition
    belongs neither to this package nor to an installed plugin.
    """
    names = set(_strings(config))
    return [
        _requirement(registry.kind, name, value)
        for registry in Registry.all
        for name, value in registry._entries.items()
        if name in names and not _installed(_identity(value)[0])
    ]


def _requirement(kind: str, name: str, value: object) -> Requirement:
    module = _identity(value)[0]
    try:
        file = inspect.getsourcefile(_definition(value))  # type: ignore[arg-type]
    except (TypeError, OSError):
        file = None
    if file is None or not Path(file).is_file():  # a notebook's cell, an interactive session
        return Requirement(kind, name, None, False)
    return Requirement(kind, name, Path(file), module != "__main__")


def _strings(config: object) -> Iterator[str]:
    """All strings inside nested mappings and sequences."""
    if isinstance(config, str):
        yield config
    elif isinstance(config, Mapping):
        for value in config.values():
            yield from _strings(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _strings(value)


def _installed(module: str) -> bool:
    top = module.partition(".")[0]
    return top == "hqdm" or top in {entry.value.partition(".")[0] for entry in announced()}


@cache
def announced() -> tuple[EntryPoint, ...]:
    """The entry points of installed packages; reading them takes some 10 ms."""
    return tuple(entry_points(group=ENTRY_POINT_GROUP))


_loaded: set[str] = set()


def load_installed_plugins() -> None:
    """Import the plugin modules that installed packages declare, once.

    Raises:
        HQDMError: If a module cannot be imported.
    """
    for entry in announced():
        if entry.value in _loaded:
            continue
        _loaded.add(entry.value)
        try:
            entry.load()
        except Exception as error:
            raise HQDMError(
                f"the installed plugin {entry.name!r} ({entry.value}) cannot be loaded "
                f"({type(error).__name__}: {error}): repair or uninstall it"
            ) from error
