"""Tables for the terminal, for Markdown and for LaTeX, and numbers in words."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text


def counted(n: int, thing: str) -> str:
    """A number of things in words: 1 image, 2 images."""
    return f"{n} {thing}{'' if n == 1 else 's'}"


def markdown_row(cells: Sequence[str]) -> str:
    """One row of a Markdown table."""
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


@dataclass(frozen=True)
class Sheet:
    """A table with a title.

    Attributes:
        title: One line above the table; empty for none.
        columns: Names of the columns.
        rows: Cells, one per column in each row.
        n_text: Number of leading columns that contain text; the others contain numbers.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    n_text: int = 1

    def rich(self) -> Group:
        """The table for the terminal, below its title; see `show`."""
        table = Table()
        for place, name in enumerate(self.columns):
            number = place >= self.n_text
            table.add_column(name, justify="right" if number else "left", overflow="fold")
        for cells in self.rows:
            table.add_row(*map(Text, cells))  # not markup: a name may have brackets
        # In one line, which `show` does not cut: a title with a file name can be copied.
        title = Text(self.title, style="italic", no_wrap=True, overflow="ignore")
        return Group(title, table) if self.title else Group(table)

    def markdown(self) -> str:
        """The table in Markdown, below its title."""
        n_numbers = len(self.columns) - self.n_text
        aligned = (*["---"] * self.n_text, *["---:"] * n_numbers)
        lines = (self.columns, aligned, *self.rows)
        table = "".join(f"{markdown_row(cells)}\n" for cells in lines)
        return f"{self.title}\n\n{table}" if self.title else table

    def latex(self) -> str:
        """The table in LaTeX, below its title; no packages are needed."""
        kinds = "l" * self.n_text + "r" * (len(self.columns) - self.n_text)
        head, *rows = (
            " & ".join(map(latex_text, cells)) + " \\\\\n" for cells in (self.columns, *self.rows)
        )
        title = f"\\noindent {latex_text(self.title)}\n\n" if self.title else ""
        body = "".join(("\\hline\n", head, "\\hline\n", *rows, "\\hline\n"))
        return f"{title}\\noindent\\begin{{tabular}}{{{kinds}}}\n{body}\\end{{tabular}}\n"


_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def latex_text(text: str) -> str:
    """A text in LaTeX, with its special characters escaped."""
    return re.sub(r"[\\~^&%$#_{}]", lambda found: _LATEX.get(found[0], f"\\{found[0]}"), text)


@dataclass(frozen=True)
class Page:
    """Tables, followed by lists.

    Attributes:
        sheets: The tables.
        lists: Items by the heading of their list; an empty heading is omitted.
    """

    sheets: Sequence[Sheet]
    lists: Mapping[str, Sequence[str]]

    def rich(self) -> Group:
        """The page for the terminal."""
        return Group(*(sheet.rich() for sheet in self.sheets), *self._blocks())

    def markdown(self) -> str:
        """The page in Markdown."""
        return "\n".join([*(sheet.markdown() for sheet in self.sheets), *self._blocks()])

    def latex(self) -> str:
        """The page in LaTeX."""
        lists = [
            "".join(
                (
                    f"\\noindent {latex_text(above)}\n",
                    "\\begin{itemize}\n",
                    *(f"\\item {latex_text(item)}\n" for item in items),
                    "\\end{itemize}\n",
                )
            )
            for above, items in self.lists.items()
            if items
        ]
        return "\n".join([*(sheet.latex() for sheet in self.sheets), *lists])

    def _blocks(self) -> list[str]:
        """The lists, each below its heading."""
        return [
            (f"{above}\n\n" if above else "") + "".join(f"* {item}\n" for item in items)
            for above, items in self.lists.items()
        ]


def show(shown: Sheet | Page) -> None:
    """Print tables; titles that are wider than the terminal are not broken into lines."""
    Console().print(shown.rich(), crop=False)


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
