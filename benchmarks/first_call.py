"""The first call of a circuit: tracing and lowering, computed and read from the disk.

    python benchmarks/first_call.py [--turns 5]

Every turn computes the program of a circuit and its instructions without files, then with an empty
folder, then reads what was kept; the table shows medians. What a process does once for all circuits
is done before.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

from rich.console import Console

from hqdm.circuits import AmplitudeEmbedding, AngleEmbedding, Circuit
from hqdm.circuits.ansatz import FQConv, HQConv, StronglyEntangling
from hqdm.simulators.compiled import lowering
from hqdm.simulators.program import disk_cache, tracing
from hqdm.utils.tables import Sheet

CIRCUITS = (
    Circuit(AngleEmbedding(4), HQConv(4, 3)),
    Circuit(AngleEmbedding(12), FQConv(12, 3)),
    Circuit(AngleEmbedding(12), HQConv(12, 3)),
    Circuit(AngleEmbedding(12), HQConv(12, 12)),
    Circuit(AmplitudeEmbedding(7), StronglyEntangling(7, 47), "probs"),
    Circuit(AmplitudeEmbedding(10), StronglyEntangling(10, 66), "probs"),
    Circuit(AmplitudeEmbedding(10), StronglyEntangling(10, 133), "probs"),
)
COLUMNS = (
    *("ansatz", "qubits", "layers", "gates", "trace, ms", "lower, ms"),
    *("and write", "read, ms", "kB"),
)


def seconds(circuit: Circuit) -> tuple[float, float]:
    """Seconds for the program and for the instructions, without what this process remembers."""
    tracing.trace.cache_clear()
    lowering._lowered.cache_clear()
    start = perf_counter()
    tracing.trace(circuit)
    traced = perf_counter()
    lowering.lower(circuit)
    return traced - start, perf_counter() - traced


def row(circuit: Circuit, turns: int) -> Sequence[str]:
    """The medians of a circuit."""
    times: list[tuple[float, ...]] = []
    for _ in range(turns):
        with tempfile.TemporaryDirectory() as name:
            disk_cache.cache_folder = lambda _: None
            alone = seconds(circuit)
            disk_cache.cache_folder = lambda _, folder=Path(name): folder
            times.append((*alone, sum(seconds(circuit)), sum(seconds(circuit))))
            size = sum(file.stat().st_size for file in Path(name).iterdir())
    traced, lowered, *on_disk = (
        f"{1000 * median(column):.1f}" for column in zip(*times, strict=True)
    )
    on_disk = [*on_disk, f"{size / 1000:.0f}"] if size else ["not kept", "", ""]
    ansatz, n_gates = circuit.ansatz, len(tracing.trace(circuit).gates)
    sizes = map(str, (ansatz.n_wires, ansatz.n_layers, n_gates))
    return type(ansatz).__name__, *sizes, traced, lowered, *on_disk


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    for circuit in CIRCUITS:
        seconds(circuit)
    rows = [row(circuit, turns) for circuit in CIRCUITS]
    Console().print(Sheet("first call", COLUMNS, rows).rich())


if __name__ == "__main__":
    main()
