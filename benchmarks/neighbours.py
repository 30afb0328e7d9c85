"""Our U-Nets beside those of denoising-diffusion-pytorch (lucidrains) and diffusers.

    python benchmarks/neighbours.py [--quick] [--turns 7] [--batch 128] [--out FOLDER]

Times a training step (loss, gradient, Adam) and a batch of samples (UniPC, 10 evaluations) of each
network at the same widths, in float32, with the loss and the sampler of hqdm around all of them.
The images are 32x32x1: with four levels the other libraries take sides that are multiples of 8
only. Networks run in separate processes and take turns, so that fluctuations of the machine affect
all of them; the tables show medians of the turns (with 95 % intervals), and the ratios to our
UNet within a turn. `OMP_NUM_THREADS` sets the threads of each.

denoising-diffusion-pytorch is first installed into `.venv-bench` (see `install_peers.py`), without
the packages that its trainer requires. Writes `neighbours.json` and `neighbours.md`.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import intervals
import torch
from install_peers import PYTHON, install, make_environment
from rich.console import Console
from simulators import RESULTS, machine
from speed.networks import EVALUATIONS, KINDS, OURS, Kind, Shape
from speed.report import Table, machine_line, seconds
from speed.settings import Settings
from speed.worker import Worker, WorkerError

SHAPES = Shape(32, 10, (1, 2, 3, 4)), Shape(32, 32, (1, 2, 3, 4))
QUICK_SHAPES = (Shape(8, 4, (1, 2)),)
QUICK_BATCH = 2
WORK = {"train": "training step", "sample": "samples"}
COLUMNS = (
    *("network", "parameters", "multiply-adds"),
    *(column for work in WORK.values() for column in (work, "relative to ours")),
)


def install_networks(names: list[str]) -> dict[str, str]:
    """Install what is not installed with hqdm; for what cannot be installed, the reason."""
    wanted = [name for name in names if not KINDS[name].installed]
    if wanted:
        make_environment()
    reasons = {name: install((KINDS[name].library, "einops"), "--no-deps") for name in wanted}
    return {name: reason for name, reason in reasons.items() if reason}


class Entry:
    """A network of one shape: a row of the table, and the process that measures it.

    Args:
        name: A key of `speed.networks.KINDS`.
        shape: The sizes.
        batch: Images per training step and per batch of samples.
        threads: Number of threads.
        failure: The reason for which it cannot be measured, if known in advance.
    """

    def __init__(
        self, name: str, shape: Shape, batch: int, threads: int, failure: str | None
    ) -> None:
        kind: Kind = KINDS[name]
        self.row: dict[str, Any] = {"network": name, "library": kind.library}
        self.row["differs"] = kind.differs
        self.seconds: dict[str, list[float]] = {work: [] for work in WORK}
        self.worker: Worker | None = None
        if failure:
            self.row["failure"] = failure
            return
        python = sys.executable if kind.installed else PYTHON
        self.worker = Worker(python, "speed.networks:Runner", threads)
        self._try(lambda worker: worker.make(name, shape, batch))
        self._try(lambda worker: self.row.update(worker.call("facts")))
        for work in WORK:  # the first call is excluded from timings
            self._try(lambda worker, work=work: worker.call(work))

    def turn(self) -> None:
        """Measure each kind of work once."""
        for work, taken in self.seconds.items():
            self._try(lambda worker, work=work, taken=taken: taken.append(worker.call(work)))

    def finish(self) -> dict[str, Any]:
        """End the process; the row with the seconds of all turns."""
        if self.worker:
            self.worker.close()
            self.row["seconds"] = self.seconds
        return self.row

    def _try(self, task: Callable[[Worker], object]) -> None:
        if self.worker is None:
            return
        try:
            task(self.worker)
        except WorkerError as error:
            self.row["failure"] = str(error)
            self.worker.close()
            self.worker = None


def measure(
    shape: Shape,
    names: list[str],
    options: argparse.Namespace,
    settings: Settings,
    failures: dict[str, str],
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Measure all networks of one shape."""
    entries = []
    for name in names:
        log(f"dim {shape.dim}: {name}: first calls")
        failure = failures.get(name)
        entries.append(Entry(name, shape, options.batch, settings.threads, failure))
    for i in range(options.turns):
        log(f"dim {shape.dim}: turn {i + 1} of {options.turns}")
        for entry in entries:
            entry.turn()
    return {
        **{"size": shape.size, "dim": shape.dim, "mults": shape.mults, "batch": options.batch},
        "machine": machine(settings),
        "rows": [entry.finish() for entry in entries],
    }


def table(section: dict[str, Any]) -> Table:
    """The table of one shape."""
    ours = section["rows"][0].get("seconds")
    cells, notes = [], []
    for row in section["rows"]:
        version = f" ({row['library']} {row['version']})" if "version" in row else ""
        notes.append(f"{row['network']}{version}: {row['differs']}.")
        if "failure" in row or not ours:
            notes[-1] += f" **Not measured: {row.get('failure', 'no row of ours')}.**"
            cells.append((row["network"], *["-"] * (len(COLUMNS) - 1)))
            continue
        numbers = [f"{row['parameters']:,}", f"{row['multiply_adds'] / 1e6:.1f} M"]
        for work in WORK:
            taken = row["seconds"][work]
            ratios = [one / other for one, other in zip(taken, ours[work], strict=True)]
            numbers += [_with_interval(taken, seconds), _with_interval(ratios, "{:.2f}".format)]
        cells.append((row["network"], *numbers))
    mults = ", ".join(map(str, section["mults"]))
    n_turns = len(ours["train"]) if ours else 0
    notes += [
        "Multiply-adds are those of one evaluation of one image. Samples: a batch by UniPC, "
        f"{EVALUATIONS} evaluations. Medians of {n_turns} turns, in parentheses their 95 % "
        "intervals. Relative to ours: above 1 is slower than our UNet in the same turn.",
        machine_line(section["machine"]),
    ]
    side = section["size"]
    return Table(
        f"Width {section['dim']} x ({mults}), images {side}x{side}x1, batch {section['batch']}",
        COLUMNS,
        cells,
        notes=notes,
    )


def _with_interval(values: list[float], form: Callable[[float], str]) -> str:
    """The median, and in parentheses its interval."""
    return f"{form(median(values))} ({' to '.join(map(form, intervals.of_median(values)))})"


def main() -> None:
    """Measure, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, as a test")
    parser.add_argument("--turns", type=int, default=7, help="measurements of each (7)")
    parser.add_argument("--batch", type=int, default=128, help="batch size (128)")
    parser.add_argument("--networks", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--out", type=Path, help="default: benchmarks/results, none with --quick")
    options = parser.parse_args()
    if options.quick:
        options.turns, options.batch = 1, QUICK_BATCH
    names = [OURS, *(name for name in options.networks if name != OURS)]
    settings = Settings(options.quick, torch.get_num_threads(), ())
    console = Console(log_path=False)
    failures = install_networks(names)
    sections: list[dict[str, Any]] = []
    folder = options.out or (None if options.quick else RESULTS)
    for shape in QUICK_SHAPES if options.quick else SHAPES:
        sections.append(measure(shape, names, options, settings, failures, console.log))
        table(sections[-1]).print(console)
        if folder:
            write(folder, sections)


def write(folder: Path, sections: list[dict[str, Any]]) -> None:
    """Write the measurements and the tables so far."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "neighbours.json").write_text(json.dumps(sections, indent=1) + "\n")
    note = "<!-- written by benchmarks/neighbours.py -->"
    text = "\n\n".join([note, *(table(section).section() for section in sections)]) + "\n"
    (folder / "neighbours.md").write_text(text)


if __name__ == "__main__":
    main()
