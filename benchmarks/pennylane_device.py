"""Programs of PennyLane's users on hqdm.qubit beside other devices: values and gradients.

    python benchmarks/pennylane_device.py [--seconds 4] [--only qaoa,vqe] [--write FILE]

The programs are those of `device_programs.py`. Values and gradients of hqdm.qubit, default.qubit
(backpropagation) and lightning.qubit (adjoint method) are compared before anything is timed. The
devices take turns; a turn is a block of calls, of which the first is excluded from timings. The
table has the median of a call of hqdm.qubit and, for the others, the medians over the turns of the
ratio to hqdm.qubit in the same turn. On null.qubit, which computes nothing and has no gradient of
batches, only values are timed: what PennyLane itself takes, beside the same on hqdm.qubit.
`OMP_NUM_THREADS` sets the threads of all.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from device_programs import PROGRAMS, SEED, Program
from qnode_layer import block
from rich.console import Console

from hqdm.utils.tables import Sheet
from hqdm.utils.versions import versions

TOLERANCE = 1e-6
TURNS = 5
OURS, NULL = "hqdm.qubit", "null.qubit"
OTHERS = ("default.qubit", "lightning.qubit")
COLUMNS = (
    *("program", "batched", "hqdm.qubit, ms"),
    *(f"{name}, ratio" for name in OTHERS),
    *("values only, ms", "null.qubit, values only, ms"),
)


def check(program: Program, calls: dict[str, Callable[[], list[np.ndarray]]]) -> None:
    """Refuse to time devices whose results differ."""
    expected = calls[OURS]()
    for name in OTHERS:
        error = max(
            float(np.abs(a - b).max()) for a, b in zip(expected, calls[name](), strict=True)
        )
        if error > TOLERANCE:
            raise SystemExit(f"{program.name}: {OURS} and {name} differ by {error:.1e}")


def compare(program: Program, seconds: float) -> list[str]:
    """One row of the table."""
    calls = {name: program.make(name) for name in (OURS, *OTHERS)}
    check(program, calls)
    turns: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(TURNS):
        for name, call in calls.items():
            turns[name].append(median(block(call, seconds / TURNS / len(calls))))
    ratios = [
        median(theirs / ours for theirs, ours in zip(turns[name], turns[OURS], strict=True))
        for name in OTHERS
    ]
    values = [values_only(program, name, seconds / 4) for name in (OURS, NULL)]
    return [
        program.name,
        "yes" if program.is_batched else "no",
        f"{1e3 * median(turns[OURS]):.2f}",
        *(f"{ratio:.2f}" for ratio in ratios),
        *(f"{1e3 * value:.2f}" for value in values),
    ]


def values_only(program: Program, device: str, seconds: float) -> float:
    """Median seconds of a call without gradients."""
    call = program.make(device, gradients=False)
    return median(block(call, seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="per program")
    parser.add_argument("--only", default="", help="names of programs, with commas")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else [program.name for program in PROGRAMS]
    rows = [compare(p, options.seconds) for p in PROGRAMS if p.name in names]
    title = "Programs of PennyLane's users on its devices: values and gradients"
    sheet = Sheet(title, COLUMNS, rows, n_text=2)
    used = ", ".join(f"{key} {value}" for key, value in versions().items())
    note = f"{torch.get_num_threads()} threads; seed {SEED}; {used}"
    console = Console(width=120)
    console.print(sheet.rich())
    console.print(note)
    if options.write:
        options.write.write_text(f"# {sheet.markdown()}\n{note}.\n")


if __name__ == "__main__":
    main()
