"""Tables: the same cells on the terminal and in Markdown."""

import io

import pytest
from rich.console import Console

from hqdm.utils.tables import Page, Sheet, figure, percent, show

SHEET = Sheet("two rows", ("name", "value"), [("one", "1"), ("two", "|y|")])


def test_markdown_is_a_table():
    assert SHEET.markdown().splitlines() == [
        "two rows",
        "",
        "| name | value |",
        "| --- | ---: |",
        "| one | 1 |",
        r"| two | \|y\| |",
    ]
    plain = Sheet("", ("name", "unit", "value"), [("mass", "kg", "2")], n_text=2)
    assert plain.markdown() == "| name | unit | value |\n| --- | --- | ---: |\n| mass | kg | 2 |\n"


def shown(sheet, width=60):
    """The lines of a terminal."""
    written = io.StringIO()
    Console(file=written, width=width).print(sheet.rich(), crop=False)
    return written.getvalue().splitlines()


def test_the_terminal_shows_every_cell_and_numbers_on_the_right():
    lines = shown(SHEET)
    assert lines[0].strip() == "two rows"
    assert "│ one  │     1 │" in lines
    assert "│ two  │   |y| │" in lines
    texts = Sheet("", ("name", "unit"), [("mass", "kg")], n_text=2)
    assert shown(texts)[0].startswith("┏")  # no title
    assert "│ mass │ kg   │" in shown(texts)


def test_a_narrow_terminal_cuts_nothing_off():
    letters = "".join(chr(ord("a") + i) for i in range(26))
    lines = shown(Sheet("", ("x",), [(letters,)]), width=20)
    assert "".join(line.strip("│ ") for line in lines if line.startswith("│")) == letters


def test_columns_without_room_are_in_another_table_with_the_columns_of_text():
    """No word is broken, no line is longer than the terminal, and nothing is lost."""
    names = [f"number-{i} of cells" for i in range(9)]
    rows = [(kind, *(f"{10**i}.5 [{i},{k}]" for i in range(9))) for k, kind in enumerate("ab")]
    sheet = Sheet("", ("kind", *names), rows)
    for width in (40, 60, 80):
        lines = shown(sheet, width)
        assert max(map(len, lines)) <= width
        words = " ".join(lines).replace("│", " ").replace("┃", " ").split()
        heads = [word for word in words if word.startswith("number-")]
        assert sorted(heads) == [name.split()[0] for name in names]  # each once
        cells = {word for row in rows for cell in row for word in cell.split()}
        assert cells <= set(words)
        assert words.count("kind") == words.count("a") == words.count("b") > 1
    (header,) = (line for line in shown(sheet, 300) if "kind" in line)
    assert all(name in header for name in names)


def test_the_room_that_is_left_goes_to_the_first_columns():
    lines = shown(Sheet("", ("a name", "b"), [("two words", "three more words")]), 30)
    assert "│ two words │     three more │" in lines
    assert len(lines[0]) == 30


def test_a_title_with_a_long_file_name_is_one_line(monkeypatch, capsys):
    """Also with spaces and brackets in the name, at which a terminal would break or style it."""
    monkeypatch.setenv("COLUMNS", "40")
    title = f"noise of degree 2 in {'a folder/' * 9}[bold]fit.safetensors"
    show(Sheet(title, ("x",), [("[bold]1",)]))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == title
    assert any("[bold]1" in line for line in lines[1:])
    assert all(len(line) <= 40 for line in lines[1:])


def test_a_page_is_its_tables_and_lists():
    page = Page([SHEET, SHEET], {"": ["first"], "Then:": ["second", "third"]})
    below = "* first\n\nThen:\n\n* second\n* third\n"
    assert page.markdown() == f"{SHEET.markdown()}\n{SHEET.markdown()}\n{below}"
    assert shown(page) == [*shown(SHEET), *shown(SHEET), *below.splitlines(), ""]


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
