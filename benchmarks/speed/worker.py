"""An object in a separate process, in the Python of any virtual environment.

    python -m speed.worker FILE_DESCRIPTOR

The first message names the object to construct, the others a method to call; each has one reply.
"""

import atexit
import importlib
import os
import subprocess
import sys
import tempfile
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


class WorkerError(Exception):
    """The error of a worker, in one line."""


class Worker:
    """Constructs an object in a new process and calls its methods there.

    Args:
        python: The interpreter.
        target: The class, "module:name".
        threads: Number of threads of the process.
    """

    def __init__(self, python: str | Path, target: str, threads: int) -> None:
        self.target = target
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self.connection, theirs = Pipe()
        counts = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads))
        self.process = subprocess.Popen(
            [python, "-m", __name__, str(theirs.fileno())],
            env={
                **os.environ,
                **counts,
                "PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[1:3])),
                "JAX_PLATFORMS": "cpu",
            },
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        theirs.close()
        atexit.register(self.process.kill)  # a busy process would not notice the end of this one

    def make(self, *arguments: Any, timeout: float | None = None) -> None:
        """Make the object."""
        self._ask(self.target, arguments, timeout)

    def call(self, method: str, *arguments: Any, timeout: float | None = None) -> Any:
        """Call a method of the object.

        Raises:
            WorkerError: If it fails, or does not answer within `timeout` seconds.
        """
        return self._ask(method, arguments, timeout)

    def _ask(self, what: str, arguments: tuple[Any, ...], timeout: float | None) -> Any:
        try:
            self.connection.send((what, arguments))
            if not self.connection.poll(timeout):
                raise WorkerError(f"no answer within {timeout:.0f} s")
            answer, failure = self.connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerError(f"the process ended: {self._last_line()}") from error
        if failure:
            raise WorkerError(failure)
        return answer

    def _last_line(self) -> str:
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it printed nothing"

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.connection.close()
        self.log.close()


def serve(connection: Connection) -> None:
    """Construct the object and reply to calls until the connection is closed."""
    served: Any = None
    while True:
        try:
            what, arguments = connection.recv()
        except EOFError:
            return
        answer = failure = None
        try:
            if served is None:
                module, name = what.split(":")
                served = getattr(importlib.import_module(module), name)(*arguments)
            else:
                answer = getattr(served, what)(*arguments)
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            failure = f"{type(error).__name__}: {lines[0]}"
        connection.send((answer, failure))


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):  # libraries that count cores themselves
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[: int(os.environ["OMP_NUM_THREADS"])])
    serve(Connection(int(sys.argv[1])))
