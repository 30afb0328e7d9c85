"""The files of a report: the numbers as JSON, the tables as Markdown, and a plot."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hqdm.utils.files import together, write_file
from hqdm.utils.tables import Page


@dataclass(frozen=True)
class ReportFiles:
    """The name and the content of the files of a report.

    Attributes:
        name: Name of the files.
        page: Builds the tables.
        draw: Writes the plot to a path.
    """

    name: str
    page: Callable[[dict[str, Any]], Page]
    draw: Callable[[dict[str, Any], Path], None]

    @property
    def names(self) -> tuple[str, str, str]:
        """Names of the files of the numbers, the tables and the plot."""
        return f"{self.name}.json", f"{self.name}.md", f"{self.name}.png"

    def write(self, report: dict[str, Any], out: Path) -> str:
        """Write the files of a report to a folder.

        Returns:
            The names of the files, for a message.
        """
        numbers, tables, picture = (out / name for name in self.names)
        with together():
            write_file(numbers, json.dumps(report, indent=2) + "\n")
            write_file(tables, self.page(report).markdown())
            self.draw(report, picture)
        return f"{numbers}, {tables}, {picture}"
