"""`hqdm carleman resources`: what it shows and writes, and what it refuses."""

import copy
import io
import json

import pytest
from marks import thinned
from rich.console import Console
from rich.measure import Measurement

from hqdm.surrogate.resources_report import (
    RESOURCES,
    findings,
    sheets,
)

QUICK = ("--dims", "2,3", "--order", 2, "--orders", "2", "--degree", 2, "--samples", 400)


@pytest.fixture(scope="module")
def finished(trained, tmp_path_factory):
    """The folder of a study."""
    from hqdm.cli.main import main

    out = tmp_path_factory.mktemp("resources")
    checkpoint = trained / "last.ckpt"
    words = ("carleman", "resources", "--checkpoint", checkpoint, "--data", "digits", *QUICK)
    assert main([str(word) for word in (*words, "--extrapolate", "100", "--out", out)]) == 0
    return out


@pytest.fixture
def report(finished):
    return json.loads((finished / "resources.json").read_text())


@pytest.fixture
def command(trained, tmp_path):
    """The words of a command that would run."""
    given = ("--checkpoint", trained / "last.ckpt", "--data", "digits", "--out", tmp_path / "out")
    return ("carleman", "resources", *given, *QUICK)


@pytest.mark.slow
def test_all_files_are_there(finished, report):
    assert {file.name for file in finished.iterdir()} == set(RESOURCES.names)
    assert (finished / "resources.png").read_bytes()[:4] == b"\x89PNG"
    assert [row["d"] for row in report["rows"]] == [2, 3, 100]


@pytest.mark.slow
def test_the_terminal_shows_what_markdown_holds(finished, report):
    written = io.StringIO()
    Console(file=written, width=200).print(RESOURCES.page(report).rich())
    page = (finished / "resources.md").read_text()
    for sheet in sheets(report):
        assert sheet.markdown() in page
        for row in sheet.rows:
            assert all(cell in written.getvalue() for cell in row)
    for line in (*report["assumptions"], *findings(report)):
        assert f"* {line}\n" in page
    assert "| 100 * |" in page


@pytest.mark.slow
def test_tables_fit_a_terminal(report):
    """80 columns are enough for the longest words of all columns."""
    console = Console(width=500)
    for sheet in sheets(report):
        least = Measurement.get(console, console.options, sheet.rich()).minimum
        assert least <= 80, sheet.title


@pytest.mark.slow
def test_crossings_are_told(report):
    changed = copy.deepcopy(report)
    changed["crossings"] = {
        "qlss": {"oracle": {"all": None, "direct": None}, "table": {"all": 100, "direct": 3}},
        "schrodingerisation": {"oracle": {"all": None, "direct": 3}},
    }
    told = findings(changed)
    assert "QLSS, oracle: no crossing up to d = 100" in told
    line = "no crossing up to d = 100; cheaper than integrating the polynomial from d = 3 on"
    assert f"Schrödinger, oracle: {line}" in told
    assert "QLSS, table: cheaper than every classical method from d = 100 on" in told


@pytest.mark.slow
def test_what_never_succeeds_is_shown_as_none(report, tmp_path):
    changed = copy.deepcopy(report)
    changed["rows"][-1].update({key: None for key in changed["rows"][-1] if key.startswith("lchs")})
    changed["circuit"] = {"refused": "this LCHS circuit needs 13 qubits"}
    RESOURCES.write(changed, tmp_path)
    page = (tmp_path / "resources.md").read_text()
    assert "| none | none | none | none | none |" in page
    assert "| this LCHS circuit needs 13 qubits |" in page


@pytest.mark.slow
def test_nothing_is_overwritten_unless_told(refused, command, finished):
    assert "already holds resources.json" in refused(*command, "--out", finished)


@pytest.mark.parametrize(
    ("words", "line"),
    thinned(
        [
            (("--dims", "2"), "two or more dimensions to measure, got [2]"),
            (("--dims", "1,2"), "latent dimension needs to be 2 to 64, got 1"),
            (("--dims", "2,100"), "latent dimension needs to be 2 to 64, got 100"),
            (("--dims", "2,,3"), "whole numbers from 1, separated by commas, got '2,,3'"),
            (("--order", 0), "order 1 or more, got 0"),
            (("--degree", 4), "needs to be 1, 2 or 3, got 4"),
            (("--tolerance", 0), "tolerance between 0 and 1, got 0"),
            (("--samples", 3), "coefficients need as many samples or more"),
            (("--data", "digit"), "digit"),
        ],
        every=3,
    ),
)
def test_bad_input_is_refused_in_one_line(refused, command, words, line):
    assert line in refused(*command, *words, "--offline")
