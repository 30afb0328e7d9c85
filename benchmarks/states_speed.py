"""A training step of QuDDPM beside TensorCircuit with JAX.

    python benchmarks/states_speed.py [--threads 1] [--seconds 2] [--turns 9] [--write FILE]

Two tasks: the cluster of two qubits and the Ising ground states of four (Zhang et al., PRL 132,
100602), on batches of 100 random kets. A step is `speed.quddpm.Contestant.step`: loss, gradient and
Adam in single precision. TensorCircuit takes it as the public code does, which compiles loss and
gradient, and with the update of Adam compiled, too. Losses and gradients for the same angles,
states and outcomes are compared before anything is timed. The contestants take turns, each in its
own process; the table has medians, and those of the ratios in the same turn with 95 % intervals.
TensorCircuit is installed into `.venv-bench`, see `install_peers.py`.
"""

import argparse
import os
import sys
from pathlib import Path
from statistics import median

import intervals
import numpy as np
from install_peers import PYTHON, install, make_environment
from rich.console import Console
from speed.quddpm import SEED, Arrays, Task, random_arrays
from speed.worker import Worker

from hqdm.utils.files import write_file
from hqdm.utils.tables import Sheet
from hqdm.utils.versions import versions

TASKS = {"cluster": Task(2, 1, 6, 100), "Ising": Task(4, 2, 12, 100)}
QUICK = {"cluster": Task(1, 1, 2, 4)}
PEERS = {"TensorCircuit": "TensorCircuit", "all compiled": "TensorCircuitCompiled"}
TOLERANCE = 1e-3  # relative to the largest number, of kets in single precision
COLUMNS = (
    *("task", "qubits", "layers", "hqdm, ms"),
    *(part for name in PEERS for part in (f"{name}, ms", "ratio")),
)
PACKAGES = "tensorcircuit-ng", "jax", "jaxlib", "optax"
Gradient = tuple[float, np.ndarray]


def start(python: str | Path, name: str, task: Task, arrays: Arrays, threads: int) -> Worker:
    """A contestant in a new process."""
    worker = Worker(python, f"speed.quddpm:{name}", threads)
    worker.make(task, arrays)
    return worker


def difference(ours: Gradient, theirs: Gradient) -> float:
    """Largest difference of losses and gradients, relative to the largest number of each."""
    pairs = [(np.asarray(one), np.asarray(other)) for one, other in zip(ours, theirs, strict=True)]
    return max(float(abs(one - other).max() / abs(other).max()) for one, other in pairs)


def refuse_differences(workers: dict[str, Worker]) -> None:
    """End the run if the contestants compute different numbers.

    Raises:
        SystemExit: If they do.
    """
    ours, *others = (worker.call("gradient") for worker in workers.values())
    for name, theirs in zip(list(workers)[1:], others, strict=True):
        if (error := difference(ours, theirs)) > TOLERANCE:
            raise SystemExit(f"hqdm and {name} differ by {error:.1e}: nothing is timed")


def compare(name: str, task: Task, threads: int, turns: int, seconds: float) -> list[str]:
    """One row of the table."""
    arrays = random_arrays(task)
    workers = {"hqdm": start(sys.executable, "Hqdm", task, arrays, threads)}
    for peer, cls in PEERS.items():
        workers[peer] = start(PYTHON, cls, task, arrays, threads)
    refuse_differences(workers)
    times: dict[str, list[float]] = {key: [] for key in workers}
    for _ in range(turns):
        for key, worker in workers.items():
            times[key].append(median(worker.call("turn", seconds)))
    for worker in workers.values():
        worker.close()
    qubits = f"{task.n_qubits} + {task.n_ancillas}"
    row = [name, qubits, str(task.n_layers), f"{1e3 * median(times['hqdm']):.3g}"]
    for peer in PEERS:
        found = [other / own for other, own in zip(times[peer], times["hqdm"], strict=True)]
        low, high = intervals.of_median(found)
        ratio = f"{median(found):.3g} ({low:.3g} to {high:.3g})"
        row += [f"{1e3 * median(times[peer]):.3g}", ratio]
    return row


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="of each contestant (1)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn (2)")
    parser.add_argument("--turns", type=int, default=9, help="of each contestant (9)")
    parser.add_argument("--quick", action="store_true", help="a tiny task, one turn, as a test")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    options = parser.parse_args()
    make_environment()
    if reason := install(PACKAGES):
        raise SystemExit(f"TensorCircuit cannot be installed: {reason}")
    tasks = QUICK if options.quick else TASKS
    turns, seconds = (1, 0.0) if options.quick else (options.turns, options.seconds)
    rows = [compare(*item, options.threads, turns, seconds) for item in tasks.items()]
    sheet = Sheet("A training step of QuDDPM, 100 states", COLUMNS, rows)
    Console().print(sheet.rich(), crop=False)
    used = ", ".join(f"{key} {value}" for key, value in versions().items())
    note = f"Threads: {options.threads} of {os.cpu_count()} cores; seed {SEED}; {used}."
    print(note)
    if options.write:
        title = "# Speed of training models of quantum states"
        write_file(options.write, f"{title}\n\n## {sheet.markdown()}\n{note}\n")


if __name__ == "__main__":
    main()
