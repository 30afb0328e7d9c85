"""The report: made-up results in tables, sentences and plots, equal to the bit."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from studies import plan_of, write

from hqdm.study import report
from hqdm.study.answers import Answer
from hqdm.study.file import Question
from hqdm.study.report import report_files, save_curves, save_differences, write_report
from hqdm.study.scores import SCORES
from hqdm.study.statistics import interval_of, paired
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
    assert "| circuits | 10 | 8 | 2 | 0.001 | 3 | 0.919" in text
    assert "| digits | classical | 2 | 1.041 |" in text
    assert "* digits: the loss of circuits is " in text
    assert "p (Holm): adjusted by Holm's method over 1 comparison." in text
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
    ("interval", "name"), [("t", "the t distribution"), ("bootstrap", "the studentised bootstrap")]
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


@pytest.fixture
def drawn(monkeypatch):
    """The axes of the figures that are saved."""
    found = []
    monkeypatch.setattr(report, "save_figure", lambda picture, path: found.extend(picture.axes))
    return found


def run_with(curve, **result):
    return SimpleNamespace(model="circuits", result={"curve": curve, **result})


def test_curves_have_positive_bands_around_the_mean_of_all_seeds(drawn, tmp_path):
    """Means and bands of logarithms, at the steps that all have."""
    losses = [0.1, 10.0, 0.2]
    curves = [[[2, loss], [4, loss / 2], *([[6, 1.0]] if loss > 1 else [])] for loss in losses]
    runs = [run_with(curve, curve_of="train_loss") for curve in curves]
    save_curves([*runs, run_with([], failure="")], "digits", "t", tmp_path)
    (axes,) = drawn
    (line,) = axes.lines
    mean, low, high = np.exp(interval_of([math.log(loss) for loss in losses]))
    assert line.get_xydata() == pytest.approx(np.array([[2, mean], [4, mean / 2]]))
    (band,) = axes.collections
    ends = band.get_paths()[0].vertices[:, 1]
    assert (ends.min(), ends.max()) == pytest.approx((low / 2, high))
    assert low > 0
    assert axes.get_legend_handles_labels()[1] == ["circuits: training loss"]
    save_curves([run_with(curves[0], curve_of="val_loss")], "digits", "t", tmp_path)
    save_curves([run_with(curves[0])], "digits", "t", tmp_path)
    labels = [axes.get_legend_handles_labels()[1] for axes in drawn[1:]]
    assert labels == [["circuits: validation loss"], ["circuits: loss"]]


def answer(scores, p, score="loss", data="digits", **options):
    found = paired(scores, [1.0] * len(scores), SCORES[score].relative, **options)
    return Answer(data, Question("circuits", "classical", score), found, p)


def test_differences_are_drawn_with_their_ends_and_colours(drawn, tmp_path):
    """Ratios in per cent, differences as they are; bars only where there is an interval."""
    answers = [
        answer([0.9, 0.8, 0.85], 0.01),
        answer([0.9, 0.8, 0.99], 0.2),
        answer([0.7], math.nan),
        answer([0.9, 0.8, 0.85], 0.01, kind="bootstrap"),
        answer([0.5, 0.6, 0.7], 0.04, "kid"),
    ]
    save_differences(answers, tmp_path)
    ratios, plain = drawn
    for axes, own, scale in ((ratios, answers[:4], 100), (plain, answers[4:], 1)):
        for place, (one, drawn_one) in enumerate(zip(own, axes.containers, strict=True)):
            points, _, bars = drawn_one
            found = one.found
            assert points.get_xydata() == pytest.approx(np.array([[scale * found.mean, place]]))
            color = report.FOUND if one.certain else report.OTHER
            assert to_rgba(points.get_color()) == to_rgba(color)
            if math.isnan(found.low):
                assert not bars
            else:
                ends = bars[0].get_segments()[0][:, 0]
                assert ends == pytest.approx(scale * np.array([found.low, found.high]))
    assert [bool(one[2]) for one in ratios.containers] == [True, True, False, False]
    assert [one[0].get_color() for one in ratios.containers] == ["blue", "grey", "grey", "blue"]
    assert "in per cent" in ratios.get_xlabel()
    assert "per cent" not in plain.get_xlabel()
    (legend,) = plain.figure.legends
    assert "intervals of 95 %, unadjusted; below 0 the first" in legend.get_title().get_text()
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[0] == "a difference: p < 0.05, adjusted by Holm's method"
    assert [line.get_color() for line in legend.get_lines()] == ["blue", "grey"]


def test_differences_have_a_panel_for_each_data_set_and_score(drawn, tmp_path):
    """A loss that differs by 1 % is not drawn on the axis of a FID that differs by half.

    Each has a line at 0, rows of the same height, and nothing is cut off.
    """
    values = {"loss": [0.99, 1.0, 0.98], "fid": [0.4, 0.6, 0.5]}
    answers = [
        answer(values[score], 0.2, score, data)
        for data in ("digits", "mnist")
        for score in ("loss", "fid", "fid")
    ]
    nothing = replace(answers[0], found=None)
    save_differences([nothing, *answers], tmp_path)
    titles = ["digits: loss", "digits: FID", "mnist: loss", "mnist: FID"]
    assert [axes.get_title() for axes in drawn] == titles
    assert [len(axes.containers) for axes in drawn] == [1, 2, 1, 2]
    for axes in drawn:
        zero, ends = axes.lines[-1], axes.get_xlim()
        assert set(zero.get_xdata()) == {0}
        assert ends[0] < 0 < ends[1]
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert names == ["circuits against classical"] * len(axes.containers)
        assert axes.get_ylim() == (len(names) - 0.5, -0.5)
    assert drawn[0].get_xlim()[0] > -10
    assert drawn[1].get_xlim()[0] < -50
    picture = drawn[0].figure
    picture.draw_without_rendering()
    inside, width, height = picture.get_tightbbox(), *picture.get_size_inches()
    assert 0 <= inside.x0 < inside.x1 <= width
    assert 0 <= inside.y0 < inside.y1 <= height


def test_without_a_pair_the_plot_says_so(drawn, tmp_path):
    save_differences([replace(answer([0.9, 0.8], 0.01), found=None)], tmp_path)
    (axes,) = drawn
    assert axes.get_title() == "no pair of results"


def test_a_difference_without_a_ratio_has_a_panel_of_its_own(tmp_path):
    plan = filled(tmp_path, scores=["loss", "kid"])
    text = write_report(plan, tmp_path / "report").markdown()
    assert "digits: the KID of circuits is 0.1 " in text
    assert "Scores of samples: 1,024 by unipc." in text


def test_without_results_there_is_no_report(tmp_path):
    with pytest.raises(HQDMError, match="holds no results: `hqdm study run` computes them"):
        write_report(plan_of(tmp_path), tmp_path / "report")
    assert not (tmp_path / "report").exists()
