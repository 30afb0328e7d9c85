"""The results of all parts in one JSON file, and as tables.

The file is replaced after every result, so that an interrupted run keeps what it measured. A later
run on the same device, commit and settings keeps the parts that were complete.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hqdm.utils.files import write_file
from hqdm.utils.tables import Sheet

OK, FAILED, SKIPPED = "ok", "failed", "skipped"
RUNNING = "running"  # so that a part that was killed is not taken for a complete one
SAME = ("device", "versions", "commit", "seed", "quick")
"""The settings that a run must share with the file that it continues."""

Row = dict[str, Any]
"""A result by column; `failure` has the reason in one line if there is none."""


class Record:
    """The file of results.

    Args:
        file: The file.
        contents: `settings`, and `parts` by name with `state`, `seconds`, `rows` and, unless it
            succeeded, `reason`.
    """

    def __init__(self, file: Path, contents: dict[str, Any]) -> None:
        self.file = file
        self.contents = contents

    @classmethod
    def start(cls, file: Path, settings: dict[str, Any], keep: bool) -> "Record":
        """The record of a new run.

        Args:
            file: The file; replaced.
            settings: The settings of the run.
            keep: Keep the complete parts of the file if its settings are the same.
        """
        parts = {}
        if keep and file.exists():
            before = json.loads(file.read_text())
            if all(before["settings"].get(key) == settings[key] for key in SAME):
                parts = {name: p for name, p in before["parts"].items() if p["state"] == OK}
        record = cls(file, {"settings": settings, "parts": parts})
        record.save()
        return record

    @classmethod
    def read(cls, file: Path) -> "Record":
        """The record in a file."""
        return cls(file, json.loads(file.read_text()))

    def save(self) -> None:
        """Replace the file."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_file(self.file, json.dumps(self.contents, indent=1) + "\n")

    def part(self, name: str) -> dict[str, Any] | None:
        """A part, if it was started."""
        parts: dict[str, Any] = self.contents["parts"]
        return parts.get(name)

    def begin(self, name: str) -> None:
        """Begin a part anew."""
        self.contents["parts"].pop(name, None)  # to the end
        self.contents["parts"][name] = {"state": RUNNING, "seconds": 0.0, "rows": []}
        self.save()

    def add(self, name: str, row: Row) -> None:
        """Add a result to a part."""
        self.contents["parts"][name]["rows"].append(row)
        self.save()

    def end(self, name: str, seconds: float, reason: str | None, skipped: bool = False) -> None:
        """End a part.

        Args:
            name: The part.
            seconds: Its duration.
            reason: The reason why it failed, or was skipped; None if it succeeded.
            skipped: Whether it was skipped.
        """
        part = self.contents["parts"][name]
        failures = [row["failure"] for row in part["rows"] if "failure" in row]
        if reason is None and failures:
            reason = f"{len(failures)} of {len(part['rows'])} results: {failures[0]}"
        state = OK if reason is None else SKIPPED if skipped else FAILED
        part.update(state=state, seconds=round(seconds, 1))
        if reason is not None:
            part["reason"] = reason
        self.save()

    @property
    def failed(self) -> bool:
        """True if a part failed."""
        return any(part["state"] not in (OK, SKIPPED) for part in self.contents["parts"].values())


def one_line(error: BaseException) -> str:
    """The reason of a failure in one line."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text[:200]


def tables(record: Record) -> Iterator[Sheet]:
    """The state of all parts, and the results of each."""
    settings, parts = record.contents["settings"], record.contents["parts"]
    device = settings["device"]
    versions = ", ".join(f"{name} {version}" for name, version in settings["versions"].items())
    rows = [
        (name, part["state"], part.get("reason", ""), f"{part['seconds']:.0f}")
        for name, part in parts.items()
    ]
    title = (
        f"{device['name']}, driver {device.get('driver', 'none')}; {versions}; "
        f"commit {settings['commit']}; seed {settings['seed']}; {settings['time']}"
    )
    yield Sheet(title, ("part", "state", "reason", "seconds"), rows, n_text=3)
    for name, part in parts.items():
        if part["rows"]:
            yield _sheet(name, part["rows"])


def _sheet(title: str, rows: Sequence[Row]) -> Sheet:
    """A table with the columns of all rows; those of text are the first."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    texts = [name for name in names if all(isinstance(row.get(name, ""), str) for row in rows)]
    names = texts + [name for name in names if name not in texts]
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    return Sheet(title, names, cells, n_text=len(texts))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
