"""Section 3: scaling of time and memory, compared with the arithmetic floor."""

import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hqdm.circuits import AngleEmbedding, Circuit, StronglyEntangling
from hqdm.simulators import costs
from speed.contestants import CONTESTANTS, Contestant
from speed.memory import peak_bytes, reset_peak
from speed.rate import multiply_add_rate
from speed.settings import Report, Save, Settings
from speed.work import Work
from speed.worker import Worker, WorkerError

BASE = {"qubits": 10, "samples": 128, "layers": 4, "circuits": 1}
AXES = {
    "qubits": (4, 6, 8, 10, 12, 14, 16),
    "samples": (1, 16, 128, 1024, 8192),
    "layers": (1, 4, 16, 64),
    "circuits": (1, 4, 16, 64),
}
QUICK_BASE = {"qubits": 4, "samples": 2, "layers": 1, "circuits": 1}
QUICK_AXES = {"qubits": (4, 5), "samples": (2,), "layers": (1,), "circuits": (1,)}
ESTIMATES = {  # of the simulators that are compared here
    "hqdm compiled": costs.compiled_seconds,
    "hqdm statevector": costs.statevector_seconds,
}
TURN = 1.0  # seconds; shorter steps are repeated


def work_at(point: dict[str, int]) -> Work:
    """Angle embedding and strongly entangling layers of some size."""
    n = point["qubits"]
    circuit = Circuit(AngleEmbedding(n), StronglyEntangling(n, point["layers"]))
    return Work("scaling", circuit, point["circuits"], point["samples"])


def floor_seconds(work: costs.Work, rate: float) -> float:
    """The time of the multiply-adds of the compiled program alone.

    Args:
        work: The call.
        rate: Multiply-adds per second of this machine.
    """
    return costs.multiply_adds(work) / rate


class Point:
    """One task for one simulator of hqdm, in a separate process.

    Args:
        contestant: Name of the simulator among the contestants.
        work: The work.
    """

    def __init__(self, contestant: str, work: Work) -> None:
        self.make: Callable[..., Contestant] = CONTESTANTS[contestant]
        self.work = work

    def measure(self, turn: float) -> dict[str, Any]:
        """Seconds of a forward and backward pass, and the increase of memory in bytes.

        Args:
            turn: Seconds for which it is repeated.
        """
        # Loading and compilation are excluded.
        self._start(replace(self.work, n_samples=1)).step()
        contestant = self._start(self.work)
        before = reset_peak()
        contestant.step()
        added = peak_bytes() - before
        seconds = contestant.turn(turn)
        return {
            "seconds": statistics.median(seconds),
            "steps": len(seconds),
            "added_bytes": added,
        }

    def _start(self, work: Work) -> Contestant:
        return self.make(work.circuit, *work.operands())


def measure(contestant: str, work: Work, settings: Settings) -> dict[str, Any]:
    """Measure in a new process; return the numbers or the reason for the failure."""
    worker = Worker(sys.executable, f"{__name__}:Point", settings.threads)
    try:
        worker.make(contestant, work)
        return worker.call("measure", settings.turn(TURN))
    except WorkerError as error:
        return {"failure": str(error)}
    finally:
        worker.close()


def measure_all(work: Work, names: list[str], rate: float, settings: Settings) -> dict[str, Any]:
    """Measure some simulators; with the floor, and the estimates by which "auto" chooses."""
    call = costs.Work(work.circuit, work.n_circuits, work.n_samples)
    return {
        "floor_seconds": floor_seconds(call, rate),
        "simulators": {
            name: {"estimate_seconds": ESTIMATES[name](call), **measure(name, work, settings)}
            for name in names
        },
    }


def run(settings: Settings, report: Report, save: Save) -> None:
    """Vary one size at a time."""
    base, axes = (QUICK_BASE, QUICK_AXES) if settings.quick else (BASE, AXES)
    ours = [name for name in ESTIMATES if name in settings.contestants]
    rate = multiply_add_rate(settings.threads)
    rows: list[dict[str, Any]] = []
    measured: dict[tuple[int, ...], dict[str, Any]] = {}  # the axes share the base point
    for axis, values in axes.items():
        for value in values:
            point = {**base, axis: value}
            key = tuple(point.values())
            if key not in measured:
                report(f"scaling: {axis} = {value}")
                measured[key] = measure_all(work_at(point), ours, rate, settings)
            rows.append({"axis": axis, "value": value, **measured[key]})
            save({"base": base, "multiply_adds_per_second": rate, "rows": rows})
