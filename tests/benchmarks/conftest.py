"""What the tests of the benchmarks share."""

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
NAMES = {path.stem for path in (*FOLDER.glob("*.py"), FOLDER / "speed", FOLDER / "amplitude")}


@pytest.fixture
def load(monkeypatch):
    """Imports a module of the benchmarks."""
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module
    for name in list(sys.modules):
        if name.split(".")[0] in NAMES:
            del sys.modules[name]


@pytest.fixture
def in_this_process(load):
    """A worker that constructs its object here, without starting a process."""
    error = load("speed.worker").WorkerError

    class InThisProcess:
        def __init__(self, python, target, threads):
            module, name = target.split(":")
            self.kind = getattr(load(module), name)

        def make(self, *arguments):
            self.served = self._try(self.kind, *arguments)

        def call(self, method, *arguments, timeout=None):
            return self._try(getattr(self.served, method), *arguments)

        def _try(self, function, *arguments):
            try:
                return function(*arguments)
            except NotImplementedError as reason:
                raise error(str(reason)) from reason

        def close(self):
            pass

    return InThisProcess
