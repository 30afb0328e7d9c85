"""Plots of the reproduction table: energy distances of the models of each task of a data set."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes

from amplitude.rows import QUANTUM, ROWS, Row
from amplitude.search import best_tau, final_runs
from hqdm.study.statistics import interval_of
from hqdm.utils.pictures import label_decades

SCORE = "energy_distance"
KINDS = {"circuits": ("-", "o"), "control": (":", "X"), "classical": ("--", "s")}
"""Line and marker of each kind of model."""
Runs = Sequence[Mapping[str, Any]]


def kind_of(row: Row) -> str:
    """The kind of a row: a model of circuits, a control of one, or a classical network."""
    if row.is_control:
        return "control"
    return "circuits" if row.network in QUANTUM else "classical"


def tasks_of(results: dict[str, Any], key: str) -> Iterator[tuple[str, list[tuple[Row, Runs]]]]:
    """Each task of a data set with its finished rows, the best first."""
    finished = [
        (row, runs) for row in ROWS if row.data == key and (runs := final_runs(results, row))
    ]
    for task in dict.fromkeys(row.task for row, _ in finished):
        own = [(row, runs) for row, runs in finished if row.task == task]
        yield task, sorted(own, key=lambda pair: interval_of(scores_of(pair[1]))[0])


def scores_of(runs: Runs) -> list[float]:
    """The score of each random seed after the number of steps of the table."""
    place = best_tau(runs)
    return [run["test"][SCORE][place] for run in runs]


def plot(results: dict[str, Any], key: str, file: Path) -> None:
    """Write the plot of a data set, with two panels per task.

    On the left the score of each random seed, the mean and its interval, after the number of steps
    that is the best on the validation images; on the right the mean against that number.
    """
    tasks = list(tasks_of(results, key))
    heights = [1.5 + 0.24 * len(own) for _, own in tasks]
    figure, axes = plt.subplots(
        len(tasks),
        2,
        figsize=(11, sum(heights)),
        squeeze=False,
        layout="constrained",
        gridspec_kw={"height_ratios": heights},
    )
    for (task, own), (left, right) in zip(tasks, axes, strict=True):
        colors = plt.get_cmap("tab20").resampled(20)(range(len(own)))
        plot_seeds(left, own, colors)
        plot_steps(right, own, colors, results["settings"]["taus"])
        for axis, line in ((left, left.axvline), (right, right.axhline)):
            line(results["floors"][key][SCORE], color="grey", linewidth=1, label="real images")
            axis.set_title(task, fontsize=10)
        right.legend(handles=[*right.get_lines()[-1:], *handles()], fontsize=8)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def handles() -> list[Any]:
    """Entries of the legend for the kinds of models."""
    return [
        plt.Line2D([], [], color="black", linestyle=line, marker=marker, markersize=4, label=kind)
        for kind, (line, marker) in KINDS.items()
    ]


def plot_seeds(axis: Axes, own: Sequence[tuple[Row, Runs]], colors: Any) -> None:
    """Scores of single seeds, means and intervals, one line per model, the best on top."""
    for height, ((row, runs), color) in enumerate(zip(own, colors, strict=True)):
        values = scores_of(runs)
        mean, low, high = interval_of(values)
        axis.plot(values, [height] * len(values), "|", color=color, markersize=9)
        axis.plot([max(low, mean / 20), high], [height] * 2, color=color, linewidth=1)
        axis.plot(mean, height, KINDS[kind_of(row)][1], color=color, markersize=6)
    labels = [f"{row.model} ({runs[0]['parameters']:,})" for row, runs in own]
    axis.set_yticks(range(len(own)), labels, fontsize=8)
    axis.invert_yaxis()
    axis.set(xscale="log", xlabel="energy distance: seeds, mean, 95 % interval")
    label_decades(axis.xaxis)


def plot_steps(
    axis: Axes, own: Sequence[tuple[Row, Runs]], colors: Any, taus: Sequence[int]
) -> None:
    """Mean scores against the number of steps."""
    for (row, runs), color in zip(own, colors, strict=True):
        mean = torch.tensor([run["test"][SCORE] for run in runs]).mean(0)
        line, marker = KINDS[kind_of(row)]
        axis.plot(taus, mean, line, marker=marker, markersize=3, linewidth=1.2, color=color)
    axis.set(yscale="log", xlabel="steps in sampling", ylabel="energy distance, mean")
    axis.set_xticks(taus[::2] if len(taus) > 10 else taus)
    label_decades(axis.yaxis)
