"""A digest of the sources of a module: results on disk are those of the code that made them."""

import ast
import hashlib
import sys
from functools import lru_cache
from pathlib import Path

PACKAGE = __name__.partition(".")[0]


def sources_digest(module: str) -> str:
    """A digest of the source of a module and of all modules of this package that it imports."""
    parts = []
    for name in sorted(_imported(module, set())):
        parts += [name, hashlib.sha256(_source(name).read_bytes()).hexdigest()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _source(module: str) -> Path:
    return Path(str(sys.modules[module].__file__))


def _imported(module: str, found: set[str]) -> set[str]:
    """A module and all modules of this package that it imports at its top, directly or not."""
    found.add(module)
    for name in _imports(_source(module).read_text(encoding="utf-8")):
        if name in sys.modules and name not in found:
            _imported(name, found)
    return found


@lru_cache(maxsize=256)  # the modules that take a digest import many modules in common
def _imports(source: str) -> tuple[str, ...]:
    """The names in this package that a source imports at its top."""
    names = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(name for name in names if name.partition(".")[0] == PACKAGE)
