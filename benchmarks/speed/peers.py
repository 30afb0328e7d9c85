"""Section 1: the same circuits and numbers in every library, compared, then timed alternately."""

import statistics
import sys
from typing import Any

import numpy as np
import torch
from install_peers import PYTHON

from hqdm.circuits import (
    AmplitudeEmbedding,
    AngleEmbedding,
    Circuit,
    FQConv,
    HQConv,
    StronglyEntangling,
)
from hqdm.simulators import StatevectorSimulator
from speed.contestants import CONTESTANTS, HQDM
from speed.gates import gate_list
from speed.settings import Report, Save, Settings
from speed.work import Work
from speed.worker import Worker, WorkerError

TOLERANCE = 1e-4  # of float32 against float64, on outputs and gradients of order 1 to 10
FIRST_STEP_LIMIT = 150.0  # seconds, for building and compiling
TURN = 0.5  # seconds; shorter steps are repeated
REPEATS = 5


FULL = (
    Work(
        "FQConv",
        Circuit(AngleEmbedding(12), FQConv(12, 3)),
        n_circuits=13,
        n_samples=128,
        targets={
            "default.qubit": 150,
            "lightning.qubit": 250,
            "PennyLane + JAX": 50,
            "deepquantum": 100,
            "tensorcircuit-ng": 5,
            "tensorcircuit-ng light cone": 5,
        },
    ),
    Work("HQConv", Circuit(AngleEmbedding(12), HQConv(12, 3)), 13, 128),
    Work(
        "Q-Dense",
        Circuit(AmplitudeEmbedding(7), StronglyEntangling(7, 47), measure="probs"),
        n_circuits=1,
        n_samples=80,
        targets={"default.qubit": 100},
    ),
)
QUICK = (
    Work("FQConv", Circuit(AngleEmbedding(8), FQConv(8, 1)), 2, 3),
    Work("HQConv", Circuit(AngleEmbedding(8), HQConv(8, 1)), 2, 3),
    Work(
        "Q-Dense",
        Circuit(AmplitudeEmbedding(3), StronglyEntangling(3, 2), measure="probs"),
        1,
        3,
    ),
)


def reference(work: Work) -> list[np.ndarray]:
    """Outputs and gradients in float64, by the torch path."""
    inputs, weights, cotangent = (torch.from_numpy(a).double() for a in work.operands())
    inputs.requires_grad_()
    weights.requires_grad_()
    shaped = weights.unflatten(1, work.circuit.weights_shape)
    outputs = StatevectorSimulator()(work.circuit, inputs, shaped)
    gradients = torch.autograd.grad(outputs, (inputs, weights), cotangent)
    return [tensor.detach().numpy() for tensor in (outputs, *gradients)]


class Entry:
    """A contestant on one task: a row of the table, and the process that measures it.

    Args:
        name: The contestant.
        work: The work.
        settings: The settings of the run.
        failure: The reason for which it cannot be measured, if known in advance.
    """

    def __init__(self, name: str, work: Work, settings: Settings, failure: str | None) -> None:
        self.contestant = CONTESTANTS[name]
        self.work = work
        n_circuits = min(self.contestant.n_circuits or work.n_circuits, work.n_circuits)
        self.scale = work.n_circuits / n_circuits
        self.row: dict[str, Any] = {
            "contestant": name,
            "setting": self.contestant.setting,
            "circuits": n_circuits,
            "target": work.targets.get(name),
        }
        self.turn_seconds = settings.turn(TURN)
        self.seconds: list[float] = []
        self.worker: Worker | None = None
        if failure:
            self.row["failure"] = failure
        else:
            python = sys.executable if self.contestant.installed else PYTHON
            target = f"{self.contestant.__module__}:{self.contestant.__name__}"
            self.worker = Worker(python, target, settings.threads)

    def prepare(self, expected: list[np.ndarray]) -> None:
        """Build, compile and check the contestant's circuits."""
        if not self.worker:
            return
        n = self.row["circuits"]
        ours = issubclass(self.contestant, HQDM)
        circuit = self.work.circuit if ours else gate_list(self.work.circuit)
        try:
            self.worker.make(circuit, *(a[:n] for a in self.work.operands()))
            self.row["versions"] = self.worker.call("versions")
            first, arrays = self.worker.call("first", timeout=FIRST_STEP_LIMIT)
            self.row["first_seconds"] = first
            differences = [
                float(np.abs(array.reshape(e[:n].shape) - e[:n]).max())
                for array, e in zip(arrays, expected, strict=True)
            ]
            self.row["difference"] = max(differences)
            if not max(differences) < TOLERANCE:
                raise WorkerError(f"its results differ by {max(differences):.1e}: not timed")
        except WorkerError as error:
            self._fail(error)

    def turn(self) -> None:
        """Run for the duration of a turn."""
        if not self.worker:
            return
        try:
            self.seconds += self.worker.call("turn", self.turn_seconds)
        except WorkerError as error:
            self._fail(error)

    def finish(self) -> dict[str, Any]:
        """End the process; the row with the median."""
        if self.worker:
            self.worker.close()
            once = statistics.median(self.seconds)
            self.row["seconds"] = once * self.scale
            self.row["compile_seconds"] = max(0.0, self.row["first_seconds"] - once)
            self.row["steps"] = len(self.seconds)
        return self.row

    def _fail(self, error: WorkerError) -> None:
        assert self.worker
        self.worker.close()
        self.worker = None
        self.row["failure"] = str(error)


def measure(
    work: Work, settings: Settings, failures: dict[str, str], report: Report
) -> dict[str, Any]:
    """Measure all contestants on one task."""
    circuit = work.circuit
    expected = reference(work)
    entries = []
    for name in settings.contestants:
        report(f"{work.name}: {name}: first step")
        entry = Entry(name, work, settings, failures.get(name))
        entry.prepare(expected)
        entries.append(entry)
    n_turns = 1 if settings.quick else REPEATS
    for i in range(n_turns):
        report(f"{work.name}: turn {i + 1} of {n_turns}")
        for entry in entries:
            entry.turn()
    return {
        "name": work.name,
        "circuit": f"{circuit.embedding}, {circuit.ansatz}, measured by {circuit.measure}",
        "n_circuits": work.n_circuits,
        "n_samples": work.n_samples,
        "rows": [entry.finish() for entry in entries],
    }


def run(settings: Settings, failures: dict[str, str], report: Report, save: Save) -> None:
    """Measure all tasks.

    Args:
        settings: The settings of the run.
        failures: Contestants that cannot be installed, with the reason.
        report: Called with a description of each measurement.
        save: Called with the results so far.
    """
    works: list[dict[str, Any]] = []
    for work in QUICK if settings.quick else FULL:
        works.append(measure(work, settings, failures, report))
        save({"works": works})
