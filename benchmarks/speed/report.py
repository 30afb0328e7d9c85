"""The results as tables, on the console and in Markdown, and as a plot."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from rich.console import Console

from hqdm.utils.files import write_file
from hqdm.utils.tables import Sheet
from speed.scaling import AXES
from speed.step import TARGETS

OURS = "hqdm compiled"
ABSENT = "-"
LINES = {"hqdm statevector": "o-", OURS: "s-"}


@dataclass(frozen=True)
class Table(Sheet):
    """A table with notes below.

    Attributes:
        notes: Settings and conditions of the measurements.
    """

    notes: Sequence[str] = ()

    def print(self, console: Console) -> None:
        """Print it."""
        console.print(self.rich(), crop=False)
        for note in self.notes:
            console.print(f"  {note}", markup=False, highlight=False)

    def publish(self, file: Path | None) -> None:
        """Print it, and write it to a Markdown file if there is one."""
        self.print(Console())
        if file is not None:
            write_file(file, f"{self.section()}\n")

    def section(self) -> str:
        """The table and its notes in Markdown, under a heading."""
        notes = "\n".join(f"* {note}" for note in self.notes)
        return f"### {self.markdown()}\n{notes}"


def seconds(value: float) -> str:
    """Three digits, in a readable unit."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if value * factor >= 1 or unit == "us":
            break
    return f"{value * factor:.3g} {unit}"


def megabytes(value: float) -> str:
    """Megabytes, small numbers with a decimal; a difference below zero is noise."""
    value = max(value, 0.0)
    return f"{value / 1e6:.1f} MB" if value < 1e7 else f"{value / 1e6:,.0f} MB"


def ratio(value: float) -> str:
    """A ratio with three digits."""
    return f"{value:.0f}x" if value >= 100 else f"{value:.3g}x"


def optional(form: Callable[[float], str], value: float | None) -> str:
    """A number, or a dash if there is none."""
    return ABSENT if value is None else form(value)


def divided(one: float | None, other: float | None) -> float | None:
    """The quotient of two numbers if there are both; a tiny step may add no memory."""
    return None if one is None or not other else one / other


def in_words(versions: dict[str, str]) -> str:
    """Packages with their versions."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def machine_line(machine: dict[str, Any]) -> str:
    """Machine, versions and date of a section, in one line."""
    versions = in_words(machine["versions"])
    return (
        f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores, "
        f"{machine['system']}, Python {machine['python']}, {versions}; {machine['date']}, "
        f"seed {machine['seed']}."
    )


def machine_lines(machines: Sequence[dict[str, Any]]) -> list[str]:
    """One line per machine, numbered if there are several."""
    if len(machines) == 1:
        return [machine_line(machines[0])]
    return [f"Machine {n}: {machine_line(one)}" for n, one in enumerate(machines, 1)]


def peers_tables(section: dict[str, Any]) -> Iterator[Table]:
    """One table per task."""
    for work in section["works"]:
        rows = work["rows"]
        ours = next((row.get("seconds") for row in rows if row["contestant"] == OURS), None)
        cells = []
        notes = []
        for row in rows:
            name = row["contestant"]
            versions = f" ({in_words(row['versions'])})" if "versions" in row else ""
            note = f"{name}{versions}: {row['setting']}."
            if row["circuits"] < work["n_circuits"]:
                note += (
                    f" Circuits run sequentially: {row['circuits']} of {work['n_circuits']} was "
                    "measured, and its time multiplied."
                )
            if "failure" in row:
                note += f" **Not measured: {row['failure']}.**"
            notes.append(note)
            target = row["target"] if name != OURS else None
            cells.append(
                (
                    name,
                    optional(seconds, row.get("seconds")),
                    optional(seconds, row.get("compile_seconds")),
                    optional(ratio, divided(row.get("seconds"), ours)),
                    optional(ratio, target),
                    optional("{:.0e}".format, row.get("difference")),
                )
            )
        if work["name"] == "FQConv":
            notes.append(
                "FQConv consists of four independent circuits of a quarter of the qubits. hqdm "
                "simulates them separately, as does tensorcircuit-ng with light cones, and partly "
                "by the order of its contractions. HQConv connects all qubits."
            )
        yield Table(
            f"{work['name']}: {work['n_circuits']} circuits x {work['n_samples']} samples, "
            "forward and backward",
            (
                "simulator",
                "time",
                "extra in the first call",
                "relative to compiled",
                "target",
                "max. difference",
            ),
            cells,
            notes=(*notes, f"`{work['circuit']}`. {machine_line(section['machine'])}"),
        )


def step_tables(section: dict[str, Any]) -> Iterator[Table]:
    """Time and memory of the presets."""
    classical = section["rows"][0]
    cells = []
    for row in section["rows"]:
        added, base = (r["peak_bytes"] - r["before_bytes"] for r in (row, classical))
        target = TARGETS.get(row["model"], {})
        cells.append(
            (
                row["model"],
                seconds(row["seconds"]),
                ratio(row["seconds"] / classical["seconds"]),
                optional(ratio, target.get("time")),
                megabytes(row["peak_bytes"]),
                ratio(row["peak_bytes"] / classical["peak_bytes"]),
                optional(ratio, target.get("memory")),
                megabytes(added),
                optional(ratio, divided(added, base)),
            )
        )
    yield Table(
        f"Training step on 28x28x1 images, batch {section['batch']}",
        (
            "model",
            "time",
            "relative to UNet",
            "limit",
            "peak memory",
            "relative to UNet",
            "limit",
            "added by the step",
            "relative to UNet",
        ),
        cells,
        notes=(
            "Peak memory is that of the process, including libraries.",
            machine_line(section["machine"]),
        ),
    )


def scaling_tables(section: dict[str, Any]) -> Iterator[Table]:
    """One table per varied size."""
    for axis in AXES:
        rows = [row for row in section["rows"] if row["axis"] == axis]
        if not rows:
            continue
        names = list(rows[0]["simulators"])
        cells = []
        notes = []
        for row in rows:
            line = [str(row["value"]), seconds(row["floor_seconds"])]
            for name in names:
                measured = row["simulators"][name]
                taken, estimate = measured.get("seconds"), measured["estimate_seconds"]
                line.append(f"{optional(seconds, taken)} ({seconds(estimate)})")
                if name == OURS:
                    line.append(optional("{:.0%}".format, divided(row["floor_seconds"], taken)))
                line.append(optional(megabytes, measured.get("added_bytes")))
                if "failure" in measured:
                    notes.append(f"{name}, {axis} {row['value']}: {measured['failure']}.")
            cells.append(tuple(line))
        others = ", ".join(f"{n} {key}" for key, n in section["base"].items() if key != axis)
        headers: list[str] = []
        for name in names:
            headers += [name, *(["efficiency"] if name == OURS else []), "memory"]
        rate = section["multiply_adds_per_second"] / 1e9
        yield Table(
            f"Scaling with {axis} ({others})",
            (axis, "floor", *headers),
            cells,
            notes=(
                *notes,
                f"Floor: multiply-adds of the compiled program at {rate:.0f} billion per second, "
                "the rate of this machine for vectors in registers. Efficiency: floor / time. "
                "In parentheses: the estimate on which the choice of `auto` is based. Memory: the "
                "increase by a forward and backward pass.",
                machine_line(section["machine"]),
            ),
        )


SECTIONS = {"peers": peers_tables, "step": step_tables, "scaling": scaling_tables}


def markdown(results: dict[str, Any]) -> str:
    """All tables."""
    tables = [
        table for name, make in SECTIONS.items() if name in results for table in make(results[name])
    ]
    note = "<!-- written by benchmarks/simulators.py -->"
    return "\n\n".join([note, *(table.section() for table in tables)]) + "\n"


def plot(section: dict[str, Any], path: Path) -> None:
    """Draw the time against each size, with the arithmetic floor."""
    figure, panels = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
    for axis, panel in zip(AXES, panels.flat, strict=True):
        rows = [row for row in section["rows"] if row["axis"] == axis]
        values = [row["value"] for row in rows]
        for name, style in LINES.items():
            taken = [row["simulators"].get(name, {}).get("seconds") for row in rows]
            panel.plot(values, [float("nan") if t is None else t for t in taken], style, label=name)
        panel.plot(values, [row["floor_seconds"] for row in rows], "k--", label="arithmetic floor")
        if axis != "qubits":  # time is exponential in the number of qubits
            panel.set_xscale("log")
        panel.set_yscale("log")
        others = ", ".join(f"{n} {key}" for key, n in section["base"].items() if key != axis)
        panel.set(xlabel=axis, ylabel="seconds, forward and backward", title=others)
        panel.grid(which="major", alpha=0.3)
    panels[0, 0].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
