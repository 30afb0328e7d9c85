"""The plots of the report of a study: learning curves, differences, importance of places."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from hqdm.study.answers import PERCENT, Answer, Run
from hqdm.study.cells import failed
from hqdm.study.scores.names import SCORES
from hqdm.study.statistics import LEVEL, interval_of
from hqdm.training.optim import VAL_LOSS
from hqdm.utils.pictures import save_figure

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

FOUND, OTHER = "blue", "grey"  # colours of differences
DIFFERENCE_LABELS = {
    FOUND: f"a difference: p < {1 - LEVEL:.2g}, adjusted by Holm's method",
    OTHER: "no difference found, or no test",
}
CURVES = {VAL_LOSS: "validation loss", "train_loss": "training loss"}
LINEAR = 0.1  # per cent, below which colours of the importance are linear, and logarithmic above


def save_curves(runs: Sequence[Run], data: str, kind: str, path: "Path") -> None:
    """Plot the loss against training steps.

    Args:
        runs: The runs on a data set.
        data: Its name.
        kind: The kind of interval.
        path: The file.
    """
    from matplotlib.figure import Figure  # slow to import

    picture = Figure(figsize=(7, 4), layout="constrained")
    axes = picture.subplots()
    for model in dict.fromkeys(run.model for run in runs):
        results = [
            run.result
            for run in runs
            if run.model == model and run.result is not None and not failed(run.result)
        ]
        names = dict.fromkeys(CURVES.get(result.get("curve_of", ""), "loss") for result in results)
        curves = [dict(result["curve"]) for result in results]
        _plot_mean(axes, curves, f"{model}: {', '.join(names)}", kind)
    axes.set(title=data, xlabel="step", ylabel="loss", yscale="log")
    if axes.lines:
        axes.legend()
    axes.grid(alpha=0.3)
    save_figure(picture, path)


def _plot_mean(axes: "Axes", curves: Sequence[dict[int, float]], label: str, kind: str) -> None:
    """Plot the geometric mean of curves, with the interval of the logarithms."""
    steps = [step for step in curves[0] if all(step in c for c in curves)] if curves else []
    if not steps:
        return
    logs = [[math.log(curve[step]) for curve in curves] for step in steps]
    mean, low, high = np.exp([interval_of(values, kind) for values in logs]).T
    (line,) = axes.plot(steps, mean, "-" if len(steps) > 1 else "o", label=label)
    axes.fill_between(steps, low, high, alpha=0.2, color=line.get_color())


def save_differences(answers: Sequence[Answer], path: "Path") -> None:
    """Plot the differences with their intervals, a panel for each data set and score.

    Ratios and other differences of a score have panels of their own.

    Args:
        answers: The comparisons; those without a pair of results are left out.
        path: The file.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    panels: dict[tuple[str, bool], list[Answer]] = {}
    for answer in answers:
        if answer.found is not None:
            title = f"{answer.data}: {SCORES[answer.question.score].label}"
            panels.setdefault((title, answer.found.relative), []).append(answer)
    rows = [len(own) for own in panels.values()] or [1]
    size = 9, 1 + sum(0.8 + 0.3 * n for n in rows)
    picture = Figure(figsize=size, layout="constrained")
    axes = picture.subplots(len(rows), squeeze=False, height_ratios=rows)[:, 0]
    for panel, ((title, relative), own) in zip(axes, panels.items(), strict=False):
        _plot_differences(panel, own, relative)
        panel.set_title(title, fontsize=10)
    if not panels:
        axes[0].set_title("no pair of results", fontsize=10)
    lines = [
        Line2D([], [], color=color, marker="o", label=label)
        for color, label in DIFFERENCE_LABELS.items()
    ]
    note = (
        f"means of the pairs with intervals of {PERCENT}, unadjusted; below 0 the first model is "
        "better"
    )
    picture.legend(
        handles=lines, loc="outside lower center", fontsize=8, title=note, title_fontsize=8
    )
    save_figure(picture, path)


def _plot_differences(axes: "Axes", answers: Sequence[Answer], relative: bool) -> None:
    """Plot differences of one score, those of ratios in per cent."""
    names = []
    scale = 100 if relative else 1
    for place, answer in enumerate(answers):
        found, q = answer.found, answer.question
        assert found is not None
        color = FOUND if answer.certain else OTHER
        below, above = found.mean - found.low, found.high - found.mean
        errors = None if np.isnan(found.low) else [[scale * below], [scale * above]]
        axes.errorbar(scale * found.mean, place, xerr=errors, fmt="o", color=color, capsize=3.0)
        names.append(f"{q.model} against {q.against}")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("difference in per cent" if relative else "difference", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.3)


def save_importance(runs: Sequence[Run], data: str, path: "Path") -> None:
    """Plot the importance of the places of each model, means over random seeds.

    Args:
        runs: The runs on a data set.
        data: Its name.
        path: The file.
    """
    from matplotlib.colors import SymLogNorm
    from matplotlib.figure import Figure

    models = [
        model
        for model in dict.fromkeys(run.model for run in runs)
        if any(run.importance for run in runs if run.model == model)
    ]
    means = {model: _mean_changes(runs, model) for model in models}
    places = list(dict.fromkeys(place for model in models for place in means[model]))
    size = 2.5 + 0.9 * max(len(places), 3), 1.8 + 0.45 * max(len(models), 1)
    picture = Figure(figsize=size, layout="constrained")
    axes = picture.subplots()
    axes.set_title(f"{data}: change of the loss in % when the place is silenced (its circuits)")
    axes.title.set_fontsize(9)
    if places:
        table = [
            [means[model].get(place, (np.nan, None))[0] for place in places] for model in models
        ]
        largest = max(LINEAR, float(np.nanmax(np.abs(table))))
        norm = SymLogNorm(LINEAR, vmin=-largest, vmax=largest)
        axes.imshow(table, norm=norm, cmap="RdBu_r", aspect="auto", alpha=0.5)
    axes.set_xticks(range(len(places)), places, fontsize=8)
    axes.set_yticks(range(len(models)), models, fontsize=8)
    for row, model in enumerate(models):
        for column, place in enumerate(places):
            if place in means[model]:
                text = _change_text(*means[model][place])
                axes.text(column, row, text, ha="center", va="center", fontsize=7)
    save_figure(picture, path)


def _mean_changes(runs: Sequence[Run], model: str) -> dict[str, tuple[float, float | None]]:
    """Mean changes in per cent of each place: silenced, and with its circuits silenced."""
    known = [run.importance for run in runs if run.model == model and run.importance]
    found: dict[str, tuple[float, float | None]] = {}
    for place in known[0]:
        whole, circuits = (
            [100 * value for places in known if (value := places[place][change]) is not None]
            for change in ("silenced", "circuits_silenced")
        )
        found[place] = fmean(whole), fmean(circuits) if circuits else None
    return found


def _change_text(whole: float, circuits: float | None) -> str:
    """Changes of a place in per cent, that of its circuits in brackets."""
    shown, *inner = (
        f"{value:+,.0f}" if abs(value) >= 10 else f"{value:+.2g}"
        for value in (whole, circuits)
        if value is not None
    )
    return "\n".join([shown, *(f"({value})" for value in inner)])
