"""Tables for the terminal, for Markdown and for LaTeX, and numbers in words."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

FRAME = 3  # characters of a column beside its cells


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
        # In one line, which `show` does not cut: a title with a file name can be copied.
        title = Text(self.title, style="italic", no_wrap=True, overflow="ignore")
        table = _Fitted(self)
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


@dataclass(frozen=True)
class _Fitted:
    """A table for the terminal; columns for which it has no room are in another table below.

    Cells are broken between words only, unless one word is wider than the terminal.

    Attributes:
        sheet: The table.
    """

    sheet: Sheet

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The tables, each with the columns of text."""
        sheet, room = self.sheet, options.max_width - 1
        columns = [
            [name, *(row[place] for row in sheet.rows)] for place, name in enumerate(sheet.columns)
        ]
        least = [
            max(cell_len(word) for cell in cells for word in (cell.split() or [""])) + FRAME
            for cells in columns
        ]
        text = list(range(sheet.n_text))
        parts = [list(text)]
        for place in range(sheet.n_text, len(columns)):
            if sum(least[p] for p in (*parts[-1], place)) > room and parts[-1] != text:
                parts.append(list(text))
            parts[-1].append(place)
        for places in parts:
            spare = room - sum(least[place] for place in places)
            table = Table()
            for place in places:
                wider = min(
                    max(map(cell_len, columns[place])) + FRAME - least[place], max(0, spare)
                )
                spare -= wider
                number = place >= sheet.n_text
                table.add_column(
                    sheet.columns[place],
                    justify="right" if number else "left",
                    overflow="fold",
                    width=least[place] + wider - FRAME,
                )
            for row in sheet.rows:  # not markup: a name may have brackets
                table.add_row(*(Text(row[place]) for place in places))
            yield table


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
