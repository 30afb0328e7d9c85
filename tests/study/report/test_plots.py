"""The plots of a report: what is drawn where."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from hqdm.study.answers import Answer
from hqdm.study.file import Question
from hqdm.study.report import plots
from hqdm.study.report.plots import save_curves, save_differences, save_importance
from hqdm.study.scores.names import SCORES
from hqdm.study.statistics import interval_of, paired


@pytest.fixture
def drawn(monkeypatch):
    """The axes of the figures that are saved."""
    found = []
    monkeypatch.setattr(plots, "save_figure", lambda picture, path: found.extend(picture.axes))
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
            color = plots.FOUND if one.certain else plots.OTHER
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


def run_of(model, *places):
    """A run with the changes of its places."""
    names = ("silenced", "circuits_silenced", "random_angles")
    found = {place: dict(zip(names, changes, strict=True)) for place, *changes in places}
    return SimpleNamespace(model=model, importance=found or None)


def test_the_importance_of_a_place_is_a_mean_over_random_seeds(drawn, tmp_path):
    """In per cent, that of circuits in brackets; models and places as far as they are measured."""
    runs = [
        run_of("circuits", ("encoder.0", 1.0, 0.2, 0.1), ("vertex", -0.004, None, None)),
        run_of("circuits", ("encoder.0", 2.0, 0.4, 0.1), ("vertex", -0.002, None, None)),
        run_of("circuits"),
        run_of("small", ("encoder.0", -1.6, None, None)),
        run_of("missing"),
    ]
    save_importance(runs, "digits", tmp_path)
    axes = drawn[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["encoder.0", "vertex"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["circuits", "small"]
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): "+150\n(+30)", (1, 0): "-0.3", (0, 1): "-160"}
    (image,) = axes.images
    expected = np.array([[150.0, -0.3], [-160.0, np.nan]])
    np.testing.assert_allclose(np.ma.filled(image.get_array(), np.nan), expected)
    assert (image.norm.vmin, image.norm.vmax) == (-160, 160)


def test_without_a_place_the_importance_is_an_empty_plot(drawn, tmp_path):
    save_importance([run_of("missing")], "digits", tmp_path)
    (axes,) = drawn
    assert not axes.images
    assert not axes.texts
