"""The report: made-up results in tables, sentences and plots, equal to the bit."""

import pytest
from studies import plan_of, write

from hqdm.study.report import report_files, write_report
from hqdm.utils.errors import HQDMError


def filled(folder, n=6, **changes):
    """A plan whose first n cells have results."""
    plan = plan_of(folder, **changes)
    cells = [cell for pair in plan.pairs for cell in plan.cells(*pair, None)]
    for cell in cells[:n]:
        write(plan.store, cell)
    return plan


def test_a_report_has_every_score_and_answer(tmp_path):
    plan = filled(tmp_path)
    page = write_report(plan, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    assert text == page.markdown()
    assert "| circuits | 10 | 2 | 0.001 | 3 | 0.919" in text
    assert "| digits | classical | 2 | 1.041 |" in text
    assert "* digits: the loss of circuits is " in text
    assert "Holm's method over all 1 comparison" in text
    latex = (tmp_path / "report" / "report.tex").read_text()
    assert r"digits & classical & 2 & 1.041 \\" in latex
    assert r"\item digits: the loss of circuits is " in latex
    for name in report_files(plan):
        assert (tmp_path / "report" / name).stat().st_size > 100


def test_equal_results_give_equal_files(tmp_path):
    for name in ("a", "b"):
        write_report(filled(tmp_path / name), tmp_path / name / "report")
    for file in report_files(filled(tmp_path / "a")):
        first, second = ((tmp_path / name / "report" / file).read_bytes() for name in ("a", "b"))
        assert first == second, file


def test_missing_and_diverged_runs_are_shown(tmp_path):
    plan = filled(tmp_path, n=4)
    last = plan.cells("digits", "classical", None)[2]
    plan.store.write(last, {"failure": "the loss is nan"}, {})
    text = write_report(plan, tmp_path / "report").markdown()
    assert "| digits | classical | 1 | missing |" in text
    assert "| digits | classical | 2 | diverged |" in text
    assert "Missing: 1 of 6 runs." in text
    assert "Diverged: 1 of 6 runs." in text


def test_a_difference_without_a_ratio_has_a_panel_of_its_own(tmp_path):
    plan = filled(tmp_path, scores=["loss", "kid"])
    text = write_report(plan, tmp_path / "report").markdown()
    assert "digits: the KID of circuits is 0.1 " in text
    assert "Scores of samples: 1,024 by unipc." in text


def test_without_results_there_is_no_report(tmp_path):
    with pytest.raises(HQDMError, match="holds no results: `hqdm study run` computes them"):
        write_report(plan_of(tmp_path), tmp_path / "report")
    assert not (tmp_path / "report").exists()
