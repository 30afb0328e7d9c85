"""Tables for the terminal and for Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True)
class Sheet:
    """A table with a title.

    Attributes:
        title: One line above the table.
        columns: Names of the columns.
        rows: Cells, one per column in each row.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def rich(self) -> Table:
        """The table for the terminal; all columns but the first are right-aligned numbers."""
        table = Table(title=self.title)
        for place, name in enumerate(self.columns):
            table.add_column(name, justify="right" if place else "left")
        for cells in self.rows:
            table.add_row(*cells)
        return table

    def markdown(self) -> str:
        """The table in Markdown, below its title."""
        lines = [self.columns, (":--", *["--:"] * (len(self.columns) - 1)), *self.rows]
        escaped = ([cell.replace("|", "\\|") for cell in cells] for cells in lines)
        return f"{self.title}\n\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in escaped)


def percent(share: float | None) -> str:
    """A relative error in per cent, to two digits; None stands for a divergent result."""
    if share is None:
        return "diverges"
    size = 100 * share
    return (
        f"{size:.1e} %" if 0 < size < 1e-3 else f"{size:.2g} %" if size < 100 else f"{size:.0f} %"
    )


def figure(value: float | None, digits: int = 3) -> str:
    """A number to `digits` digits, integers up to a million in full; None stands for no value."""
    if value is None:
        return "none"
    if isinstance(value, int) and abs(value) <= 10**6:
        return f"{value:,}"
    mantissa, e, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa
