"""Seconds from the start of a process to sixteen images on the disk.

    python benchmarks/first_sample.py [--turns 9] [--checkpoint mnist] [--write FILE]

Every turn starts `hqdm sample` with each sampler of `SAMPLERS` in a process of its own, and one
process that only imports torch. A process before the first turn compiles what is not yet kept on
the disk. The table has wall-clock and processor time: medians with 95 % intervals.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import intervals
import torch
from simulators import machine
from speed.report import Table, machine_line
from speed.settings import Settings

N = 16
SAMPLERS = (("unipc", 10), ("ddim", 50))


def commands(checkpoint: str, folder: Path) -> dict[str, list[str]]:
    """The processes of a turn by name."""
    found = {"import torch": [sys.executable, "-c", "import torch"]}
    for sampler, steps in SAMPLERS:
        found[f"hqdm sample, {sampler}, {steps} steps"] = [
            *(sys.executable, "-m", "hqdm", "sample", "--checkpoint", checkpoint),
            *("--sampler", sampler, "--steps", str(steps), "--n", str(N)),
            *("--out", str(folder), "--overwrite"),
        ]
    return found


def seconds(command: Sequence[str]) -> tuple[float, float]:
    """Wall-clock and processor seconds of a process.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall = perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def with_interval(values: Sequence[float]) -> str:
    """The median of seconds and its interval."""
    low, high = intervals.of_median(values)
    return f"{median(values):.2f} s ({low:.2f} to {high:.2f})"


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=9, help="processes of each kind (9)")
    parser.add_argument("--checkpoint", default="mnist", help="a model of hqdm (mnist)")
    parser.add_argument("--write", type=Path, help="Markdown file of the table")
    options = parser.parse_args()
    if options.turns < 1:
        parser.error("--turns needs 1 or more")
    times: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        processes = commands(options.checkpoint, Path(scratch) / "samples")
        for command in processes.values():
            seconds(command)
        for _ in range(options.turns):
            for name, command in processes.items():
                times.setdefault(name, []).append(seconds(command))
    table = Table(
        f"{N} images of {options.checkpoint} by a new process",
        ("process", "wall clock", "processor time"),
        [(name, *map(with_interval, zip(*found, strict=True))) for name, found in times.items()],
        notes=(
            f"Medians of {options.turns} turns, 95 % intervals; the kernels are on the disk.",
            machine_line(machine(Settings(False, torch.get_num_threads(), ()))),
        ),
    )
    table.publish(options.write)


if __name__ == "__main__":
    main()
