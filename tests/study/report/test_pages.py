"""The pages of a report: made-up results in tables and sentences."""

import pytest
from marks import thinned
from studies import CONTENT, filled, plan_of, write

from hqdm.study.report.files import write_report
from hqdm.utils.errors import HQDMError


@pytest.mark.slow
def test_missing_and_diverged_runs_are_shown(tmp_path):
    plan = filled(tmp_path, n=4)
    fourth, _, last = plan.cells("digits", "classical", None)
    for cell in (fourth, last):
        plan.store.file(cell).unlink(missing_ok=True)
        plan.store.write(cell, {"failure": "the loss is nan"}, {})
    text = write_report(plan, tmp_path / "report").markdown()
    assert "| digits | classical | 1 | missing |" in text
    assert "| digits | classical | 2 | diverged |" in text
    assert "Missing: 1 of 6 runs." in text
    assert "Diverged: 2 of 6 runs." in text
    assert "Without a test: 1 of 1 comparison." in text
    assert "Without a test" not in write_report(filled(tmp_path), tmp_path / "report").markdown()


def test_a_missing_score_leaves_the_others(tmp_path):
    """Scores that were added to the study."""
    filled(tmp_path)
    plan = plan_of(tmp_path, scores=["loss", "kid"])
    text = write_report(plan, tmp_path / "report").markdown()
    assert "| digits | classical | 2 | 1.041 | missing |" in text
    assert "Missing: 6 of 6 runs." in text


def test_changes_are_in_per_cent_and_those_of_models_with_circuits(tmp_path):
    plan = plan_of(tmp_path, scores=["loss", "silenced"], seeds=[0])
    for model, change, quantum in (("circuits", 0.034, 2), ("classical", 0.0, 0)):
        (cell,) = plan.cells("digits", model, None)
        result = {"parameters": 10, "quantum": quantum, "curve": []}
        plan.store.write(cell, result, {"loss": 1.0, "silenced": change})
    text = write_report(plan, tmp_path / "report").markdown()
    assert "| seeds | loss | change of the loss in %, silenced |" in text
    assert "| circuits | 10 | - | 2 | 0.001 | 1 | 1 | 3.4 |" in text
    assert "| classical | 10 | - | 0 | 0.001 | 1 | 1 | - |" in text
    assert "| digits | circuits | 0 | 1 | 3.4 |" in text
    assert "| digits | classical | 0 | 1 | - |" in text


@pytest.mark.parametrize(
    ("interval", "name"),
    thinned([("t", "the t distribution"), ("bootstrap", "the studentised bootstrap")], every=2),
)
def test_the_conditions_say_what_the_numbers_are(tmp_path, interval, name):
    """Runs of another number of steps have other cells, which come back with it."""
    first = filled(tmp_path, scores=["loss", "silenced"], interval=interval)
    text = write_report(first, tmp_path / "report").markdown()
    assert "* Less is better: loss.\n" in text
    assert f"(of ratios: of the mean logarithm) over random seeds, by {name}" in text
    assert "These are all questions of the study on all data sets that have a test." in text
    assert "runs of other steps or options stay in the folder, and are not in this" in text
    with pytest.raises(HQDMError, match="holds no results"):
        write_report(plan_of(tmp_path, steps=5), tmp_path / "other")
    again = plan_of(tmp_path, scores=["loss", "silenced"], interval=interval)
    assert write_report(again, tmp_path / "again").markdown() == text


@pytest.mark.slow
def test_the_level_and_the_range_of_the_number_of_seeds(tmp_path):
    questions = [
        {"model": "circuits", "against": "classical", "score": score} for score in ("loss", "fid")
    ]
    changes = {"scores": ["loss", "fid"], "questions": questions}
    text = write_report(
        filled(tmp_path, n=10, seeds=[0, 1, 2, 3, 4], **changes), tmp_path / "report"
    ).markdown()
    assert "at the level 0.05/2, with which Holm's method over 2 comparisons begins" in text
    assert "| seeds for 1 % |" in text
    rows = [line for line in text.splitlines() if line.startswith("| digits: ")]
    assert all(row.endswith("] |") for row in rows)
    few = write_report(filled(tmp_path / "few", **changes), tmp_path / "few" / "report").markdown()
    rows = [line for line in few.splitlines() if line.startswith("| digits: ")]
    assert len(rows) == 2
    assert all(row.endswith("| - |") for row in rows)


def test_a_difference_without_a_ratio_has_a_panel_of_its_own(tmp_path):
    plan = filled(tmp_path, scores=["loss", "kid"])
    text = write_report(plan, tmp_path / "report").markdown()
    assert "digits: the KID of circuits is 0.1 " in text
    assert "Scores of samples: 1,024 by unipc." in text


@pytest.mark.slow
def test_the_importance_of_places_is_a_table_of_means_in_per_cent(tmp_path):
    """A model whose cells have none of it, for which they were measured before, has no row."""
    plan = filled(tmp_path, importance=True)
    text = write_report(plan, tmp_path / "report").markdown()
    assert "Importance of the places on digits: changes of the loss in %" in text
    assert "| circuits | vertex | 3 | 25 [25, 25] | 12.5 [12.5, 12.5] | - |" in text
    assert "Importance of a place: the change of the loss when all" in text
    assert (tmp_path / "report" / "importance_digits.png").stat().st_size > 100
    filled(tmp_path / "without")
    without = plan_of(tmp_path / "without", importance=True)
    text = write_report(without, tmp_path / "without" / "report").markdown()
    assert "| vertex |" not in text
    assert "Missing: 6 of 6 runs." in text


@pytest.mark.slow
def test_the_importance_on_a_data_set_is_that_of_its_own_runs(tmp_path):
    """The second data set has no results, and its table no rows."""
    data = {
        name: {"data": {**CONTENT["data"]["digits"]["data"], "name": name}}
        for name in ("digits", "mnist")
    }
    plan = plan_of(tmp_path, importance=True, data=data)
    for pair in plan.pairs:
        for cell in plan.cells(*pair, None):
            if pair[0] == "digits":
                write(plan.store, cell)
    page = write_report(plan, tmp_path / "report")
    rows = {sheet.title: len(sheet.rows) for sheet in page.sheets if "Importance" in sheet.title}
    assert list(rows.values()) == [2, 0]
