"""The cache of compiled code on disk.

Numba compiles a kernel again if the kernel's own file changes, but not if a file that the kernel
imports does. The cached code is therefore kept in a folder named after a digest of all of them.
"""

import ast
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
from numba import njit

from hqdm.simulators.compiled.cache_folder import cache_folder

DIGEST_LENGTH = 16
PACKAGE = __name__.partition(".")[0]


def cached_kernel(function: Callable[..., Any]) -> Any:
    """Decorator: compile for parallel threads, and keep the code on disk.

    Where no folder can be written, every process compiles anew.
    """
    options = {"error_model": "numpy", "parallel": True, "nogil": True}
    folder = cache_folder(f"kernels-{digest(function.__module__)}")
    if folder is None:
        return njit(**options)(function)
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)  # read when the cache is made, here
    try:
        return njit(cache=True, **options)(function)
    finally:
        numba.config.CACHE_DIR = before


def digest(module: str) -> str:
    """A digest of everything that the functions of a module are compiled from.

    These are the sources of the module and of all modules of this package that it imports, the
    versions of the compiler, and the processor, on which the number of lanes depends.
    """
    parts = [numba.__version__, llvmlite.__version__, llvm.get_host_cpu_name()]
    parts.append(llvm.get_host_cpu_features().flatten())
    for name in sorted(_imported(module, set())):
        parts += [name, hashlib.sha256(_source(name).read_bytes()).hexdigest()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:DIGEST_LENGTH]


def _source(module: str) -> Path:
    return Path(str(sys.modules[module].__file__))


def _imported(module: str, found: set[str]) -> set[str]:
    """A module and all modules of this package that it imports at its top, directly or not."""
    found.add(module)
    for node in ast.parse(_source(module).read_text(encoding="utf-8")).body:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            ours = name.partition(".")[0] == PACKAGE and name in sys.modules
            if ours and name not in found:
                _imported(name, found)
    return found
