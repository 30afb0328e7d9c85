"""Tables: the same cells on the terminal and in Markdown."""

import io

import pytest
from rich.console import Console

from hqdm.utils.tables import Sheet, figure, percent

SHEET = Sheet("two rows", ("name", "value"), [("one", "1"), ("two", "|y|")])


def test_markdown_is_a_table():
    assert SHEET.markdown().splitlines() == [
        "two rows",
        "",
        "| name | value |",
        "| :-- | --: |",
        "| one | 1 |",
        r"| two | \|y\| |",
    ]


def test_the_terminal_shows_every_cell():
    written = io.StringIO()
    Console(file=written, width=60).print(SHEET.rich())
    for cell in ("two rows", "name", "value", "one", "|y|"):
        assert cell in written.getvalue()


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.0, "0 %"), (2e-9, "2.0e-07 %"), (0.00123, "0.12 %"), (0.5, "50 %"), (1.234, "123 %")],
)
def test_shares_in_per_cent(share, said):
    assert percent(share) == said


def test_numbers():
    assert [figure(v) for v in (12345, 10**6, 0.12345, -2.0)] == [
        "12,345",
        "1,000,000",
        "0.123",
        "-2",
    ]
    assert [figure(v) for v in (12345678, 1e7, 0.000012345)] == ["1.23e7", "1e7", "1.23e-5"]
    assert figure(12345678, digits=2) == "1.2e7"
    assert (percent(None), figure(None)) == ("diverges", "none")
