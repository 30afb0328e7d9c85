"""`hqdm carleman analyse`: what it shows and writes, and what it refuses."""

import copy
import io
import json

import pytest
from marks import thinned
from rich.console import Console
from rich.measure import Measurement

from hqdm.data.images import load_images
from hqdm.diffusion.loading import load_denoiser
from hqdm.surrogate.analysis_report import (
    ANALYSIS,
    notes,
    parts_of,
    sheets,
)
from hqdm.surrogate.fit import fit_carleman
from hqdm.surrogate.fit_files import fit_path

QUICK = ("--orders", "2,3", "--segments", "4,2", "--order", 2, "--n", 20, "--network-n", 4)


@pytest.fixture(scope="module")
def fitted(trained, tmp_path_factory):
    """A checkpoint with a fit beside it."""
    checkpoint = tmp_path_factory.mktemp("fitted") / "last.ckpt"
    checkpoint.write_bytes((trained / "last.ckpt").read_bytes())
    images = load_images("digits", "train").images
    fit = fit_carleman(
        load_denoiser(checkpoint), images, 2, 2, target="noise", samples=2000, nodes=12
    )
    fit.save(fit_path(checkpoint))
    return checkpoint


@pytest.fixture(scope="module")
def finished(fitted, tmp_path_factory):
    """The folder of an analysis."""
    from hqdm.cli.main import main

    out = tmp_path_factory.mktemp("analysis")
    words = ("carleman", "analyse", "--checkpoint", fitted, *QUICK, "--out", out, "--device", "cpu")
    assert main([str(word) for word in words]) == 0
    return out


@pytest.fixture
def report(finished):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads((finished / "analysis.json").read_text(), parse_constant=refuse)


@pytest.mark.slow
def test_all_files_are_there(finished, report):
    assert {file.name for file in finished.iterdir()} == set(ANALYSIS.names)
    assert (finished / "analysis.png").read_bytes()[:4] == b"\x89PNG"
    assert report["options"]["segments"] == [2, 4]
    assert report["fit"]["degree"] == 2


@pytest.mark.slow
def test_the_terminal_shows_what_markdown_holds(finished, report):
    written = io.StringIO()
    Console(file=written, width=200).print(ANALYSIS.page(report).rich())
    page = (finished / "analysis.md").read_text()
    for sheet in sheets(report):
        assert sheet.markdown() in page
        for row in sheet.rows:
            assert all(cell in written.getvalue() for cell in row)


@pytest.mark.slow
def test_tables_fit_a_terminal(report):
    """80 columns are enough for the longest words of all columns."""
    console = Console(width=500)
    for sheet in sheets(report):
        least = Measurement.get(console, console.options, sheet.rich()).minimum
        assert least <= 80, sheet.title


@pytest.mark.slow
def test_every_error_has_a_row(report):
    names = [name for name, _ in parts_of(report, (10**4,))]
    assert names == [
        "polynomial fit",
        "truncation",
        "time step",
        "inverse polynomial (QLSS)",
        "Taylor series (QLSS)",
        "quadrature (LCHS)",
        "10,000 shots",
        "total, against the network",
    ]
    shown = dict(parts_of(report, (10**4,)))
    assert shown["truncation"] == report["chain"][1]["truncation"]


@pytest.mark.slow
def test_refusals_and_divergences_are_shown(report, tmp_path):
    changed = copy.deepcopy(report)
    line = "LCHS would succeed with probability 1e-20 at most"
    changed["backends"]["lchs"] = {"refused": line}
    changed["truncation"][0].update(median=None, q95=None)
    changed["energy"]["carleman"] = None
    ANALYSIS.write(changed, tmp_path)
    page = (tmp_path / "analysis.md").read_text()
    assert f"| {line} |" in page
    assert page.count(f"* {line}") == 1
    assert "| 2 | diverges (diverges) |" in page
    assert "| Carleman sampler | diverges |" in page
    assert "quadrature" not in page


@pytest.mark.slow
def test_what_shots_mean_for_latents_is_told(report):
    changed = copy.deepcopy(report)
    changed["shots"]["share"] = 0.01
    assert (
        "|x|^2 = 1 % of |y|^2: errors relative to x are up to 10 times as large"
        in notes(changed)[0]
    )


@pytest.mark.slow
def test_nothing_is_overwritten_unless_told(hqdm, refused, fitted, finished):
    words = ("carleman", "analyse", "--checkpoint", fitted, *QUICK, "--out", finished)
    assert "already holds analysis.json" in refused(*words)


@pytest.mark.parametrize(
    ("words", "line"),
    thinned(
        [
            (("--orders", "2,x"), "whole numbers from 1, separated by commas, got '2,x'"),
            (("--segments", "0"), "whole numbers from 1, separated by commas, got '0'"),
            (("--n", 1), "n needs a whole number from 2, got 1"),
            (("--network-n", 21, "--n", 20), "2 to 20 initial values, got 21"),
            (("--closure", "dorp"), "did you mean 'drop'"),
            (("--fit", "nowhere"), "no Carleman fit nowhere"),
            (("--order", 0), "order 1 or more, got 0"),
        ],
        every=7,
    ),
)
def test_bad_input_is_refused_in_one_line(refused, fitted, tmp_path, words, line):
    out = ("--out", tmp_path / "out")
    assert line in refused("carleman", "analyse", "--checkpoint", fitted, *QUICK, *out, *words)
