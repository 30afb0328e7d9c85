"""The files of a report, equal to the bit."""

import pytest
from studies import CONTENT, filled, plan_of

from hqdm.study.report.files import report_files, write_report
from hqdm.utils.errors import HQDMError


@pytest.mark.slow
def test_a_report_has_every_score_and_answer(tmp_path):
    plan = filled(tmp_path)
    page = write_report(plan, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    assert text == page.markdown()
    assert "| circuits | 10 | 8 | 2 | 0.001 | 3 | 0.919" in text
    assert "| digits | classical | 2 | 1.041 |" in text
    assert "* digits: the loss of circuits is " in text
    assert "p (Holm): adjusted by Holm's method over 1 comparison." in text
    latex = (tmp_path / "report" / "report.tex").read_text()
    assert r"digits & classical & 2 & 1.041 \\" in latex
    assert r"\item digits: the loss of circuits is " in latex
    for name in report_files(plan):
        assert (tmp_path / "report" / name).stat().st_size > 100


@pytest.mark.slow
def test_equal_results_give_equal_files(tmp_path):
    for name in ("a", "b"):
        write_report(filled(tmp_path / name), tmp_path / name / "report")
    for file in report_files(filled(tmp_path / "a")):
        first, second = ((tmp_path / name / "report" / file).read_bytes() for name in ("a", "b"))
        assert first == second, file


def test_without_results_there_is_no_report(tmp_path):
    with pytest.raises(HQDMError, match="holds no results: `hqdm study run` computes them"):
        write_report(plan_of(tmp_path), tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_plots_of_a_data_set_are_of_its_own_runs(tmp_path, monkeypatch):
    drawn = {"curves": {}, "importance": {}}
    for kind, of_kind in drawn.items():
        monkeypatch.setattr(
            f"hqdm.study.report.files.save_{kind}",
            lambda runs, data, *_, of_kind=of_kind: of_kind.update({data: {r.data for r in runs}}),
        )
    keys = CONTENT["data"]["digits"]["data"]
    data = {name: {"data": {**keys, "name": name}} for name in ("digits", "mnist")}
    write_report(filled(tmp_path, importance=True, data=data), tmp_path / "report")
    assert drawn["curves"] == drawn["importance"] == {"digits": {"digits"}, "mnist": {"mnist"}}
