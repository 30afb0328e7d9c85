"""The report of a study: tables, plots, and a sentence for each question.

    FOLDER/report/report.md         for the terminal and Markdown
    FOLDER/report/report.tex        the same in LaTeX
    FOLDER/report/differences.png   differences of the pairs with their intervals
    FOLDER/report/curves_DATA.png   learning curves: means over random seeds with intervals

It is computed from the results alone, and has no times: equal results give equal files.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hqdm.study.answers import Answer, Run, answers_of, interval, runs_of
from hqdm.study.cells import failed, learning_rate
from hqdm.study.chains import Plan
from hqdm.study.scores import SCORES, TESTED
from hqdm.study.statistics import LEVEL, POWER, mean_interval
from hqdm.utils.errors import HQDMError
from hqdm.utils.files import together, write_file
from hqdm.utils.pictures import save_figure
from hqdm.utils.tables import Page, Sheet, counted, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKDOWN, LATEX, DIFFERENCES = "report.md", "report.tex", "differences.png"
DIGITS = 4  # of scores


def curves_file(data: str) -> str:
    """The name of the plot of learning curves on a data set."""
    return f"curves_{re.sub(r'[^A-Za-z0-9_-]', '_', data)}.png"


def report_files(plan: Plan) -> list[str]:
    """The names of the files of a report."""
    return [MARKDOWN, LATEX, DIFFERENCES, *(curves_file(data) for data in plan.study.data)]


def write_report(plan: Plan, folder: Path) -> Page:
    """Write the report of a study.

    Args:
        plan: The plan.
        folder: The folder of the report.

    Returns:
        The tables and sentences.

    Raises:
        HQDMError: If no cell has a result.
    """
    runs = runs_of(plan)
    if all(run.result is None for run in runs):
        raise HQDMError(f"{plan.store.folder} holds no results: `hqdm study run` computes them")
    answers = answers_of(plan, runs)
    page = page_of(plan, runs, answers)
    with together():
        write_file(folder / MARKDOWN, page.markdown())
        write_file(folder / LATEX, page.latex())
        save_differences(answers, folder / DIFFERENCES)
        for data in plan.study.data:
            own = [run for run in runs if run.data == data]
            save_curves(own, data, folder / curves_file(data))
    return page


def page_of(plan: Plan, runs: Sequence[Run], answers: Sequence[Answer]) -> Page:
    """The tables and sentences of a report."""
    sheets = [_score_sheet(plan, data, runs) for data in plan.study.data]
    sheets += [_answer_sheet(plan, answers)] if answers else []
    sheets += [_search_sheet(plan)] if plan.study.search else []
    sheets += [_run_sheet(plan, runs)]
    sentences = [answer.sentence(plan.study.difference) for answer in answers]
    return Page(sheets, {"Answers": sentences, "Conditions": _conditions(plan, runs, answers)})


def _score_sheet(plan: Plan, data: str, runs: Sequence[Run]) -> Sheet:
    """Mean scores of the models on a data set."""
    names = plan.study.scores
    rows = []
    for model in plan.study.models:
        own = [run for run in runs if (run.data, run.model) == (data, model)]
        scored = [run.result for run in own if run.result is not None and not failed(run.result)]
        size = [f"{scored[0][key]:,}" for key in ("parameters", "quantum")] if scored else ["-"] * 2
        values = [[run.score(name) for run in own] for name in names]
        rows.append((model, *size, _rate(own), str(len(scored)), *map(_with_interval, values)))
    labels = [SCORES[name].label for name in names]
    columns = ("model", "parameters", "quantum", "learning rate", "seeds", *labels)
    return Sheet(f"Scores on {data}: means with intervals of {LEVEL:.0%}", columns, rows)


def _rate(runs: Sequence[Run]) -> str:
    cell = runs[0].cell
    rate = None if cell is None else learning_rate(cell.settings)
    return "-" if rate is None else f"{rate:.3g}"


def _with_interval(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean, half = mean_interval(known)
    ends = f" [{figure(mean - half, DIGITS)}, {figure(mean + half, DIGITS)}]"
    return figure(mean, DIGITS) + (ends if len(known) > 1 else "")


def _answer_sheet(plan: Plan, answers: Sequence[Answer]) -> Sheet:
    """The comparisons."""
    rows = []
    for answer in answers:
        q, found = answer.question, answer.found
        name = f"{answer.data}: {SCORES[q.score].label} of {q.model} against {q.against}"
        if found is None:
            rows.append((name, "0", *["-"] * 5))
            continue
        needed = found.seeds_for(plan.study.difference)
        numbers = (found.effect, found.p, answer.p)
        shown = ("-" if np.isnan(number) else f"{number:.2g}" for number in numbers)
        rows.append((name, str(found.n), interval(found), *shown, str(needed or "-")))
    step = f"{100 * plan.study.difference:g} %"
    title = f"Differences of the pairs, with intervals of {LEVEL:.0%}"
    columns = (
        *("comparison", "seeds", "difference", "effect size"),
        *("p", "p (Holm)", f"seeds for {step}"),
    )
    return Sheet(title, columns, rows)


def _search_sheet(plan: Plan) -> Sheet:
    """The trials of the searches."""
    rows = [
        (data, model, f"{rate:.3g}", figure(value, DIGITS))
        for data, model in plan.pairs
        for rate, value in plan.trials(data, model)
    ]
    columns = ("data", "model", "learning rate", "validation loss")
    return Sheet("Trials of the learning rate", columns, rows, n_text=2)


def _run_sheet(plan: Plan, runs: Sequence[Run]) -> Sheet:
    """Every run."""
    names = plan.study.scores
    rows = []
    for run in runs:
        values = (run.score(name) for name in names)
        cells = ["missing" if run.missing else "-" if v is None else f"{v:.6g}" for v in values]
        if failed(run.result):
            cells = ["diverged"] * len(names)
        rows.append((run.data, run.model, str(run.seed), *cells))
    columns = ("data", "model", "seed", *(SCORES[name].label for name in names))
    return Sheet("All runs", columns, rows, n_text=2)


def _conditions(plan: Plan, runs: Sequence[Run], answers: Sequence[Answer]) -> list[str]:
    """The conditions under which the numbers hold."""
    study = plan.study
    search = study.search
    lines = [
        f"Each model: {study.steps:,} training steps, {counted(len(study.seeds), 'random seed')}.",
        f"Losses on up to {TESTED:,} test images.",
        "Pairs have the same random seed. Differences of positive scores are those of ratios; "
        "intervals by the t distribution; effect size: mean over standard deviation of the "
        "differences, with the small-sample correction.",
        f"p: paired t test; Holm's method over all {counted(len(answers), 'comparison')}. Number "
        f"of seeds with which a difference is found with probability {POWER:.0%}, from the scatter "
        "of these pairs.",
    ]
    if any(SCORES[name].sampled for name in study.scores):
        drawn = study.samples
        steps = "" if drawn.steps is None else f", {drawn.steps} steps"
        lines.append(f"Scores of samples: {drawn.n:,} by {drawn.sampler}{steps}.")
    if search:
        lines.append(
            f"Learning rates: {search.trials} trials of {search.steps:,} steps for each model, "
            f"from {search.low:g} to {search.high:g}, by the validation loss with random seed "
            f"{search.seed}."
        )
    lost = sum(run.missing for run in runs)
    diverged = sum(failed(run.result) for run in runs)
    lines += [f"Missing: {lost} of {counted(len(runs), 'run')}."] if lost else []
    lines += [f"Diverged: {diverged} of {counted(len(runs), 'run')}."] if diverged else []
    return lines


def save_curves(runs: Sequence[Run], data: str, path: Path) -> None:
    """Plot the loss against training steps: means over the random seeds with intervals."""
    from matplotlib.figure import Figure  # slow to import

    picture = Figure(figsize=(7, 4), layout="constrained")
    axes = picture.subplots()
    for model in dict.fromkeys(run.model for run in runs):
        curves = [
            dict(run.result["curve"])
            for run in runs
            if run.model == model and run.result is not None and not failed(run.result)
        ]
        _plot_mean(axes, curves, model)
    axes.set(title=data, xlabel="step", ylabel="loss", yscale="log")
    if axes.lines:
        axes.legend()
    axes.grid(alpha=0.3)
    save_figure(picture, path)


def _plot_mean(axes: "Axes", curves: Sequence[dict[int, float]], label: str) -> None:
    steps = [step for step in curves[0] if all(step in c for c in curves)] if curves else []
    if not steps:
        return
    means = [mean_interval([curve[step] for curve in curves]) for step in steps]
    mean, half = np.array(means).T
    (line,) = axes.plot(steps, mean, "-" if len(steps) > 1 else "o", label=label)
    axes.fill_between(steps, mean - half, mean + half, alpha=0.2, color=line.get_color())


def save_differences(answers: Sequence[Answer], path: Path) -> None:
    """Plot the differences with their intervals: those of ratios in per cent, others beside."""
    from matplotlib.figure import Figure

    kinds = [
        [a for a in answers if a.found is not None and a.found.relative is relative]
        for relative in (True, False)
    ]
    shown = [kind for kind in kinds if kind]
    rows = max(map(len, shown), default=1)
    picture = Figure(figsize=(9, 1.2 + 0.35 * rows * max(1, len(shown))), layout="constrained")
    panels = picture.subplots(max(1, len(shown)), squeeze=False)[:, 0]
    for axes, kind in zip(panels, shown, strict=False):
        _plot_differences(axes, kind)
    save_figure(picture, path)


def _plot_differences(axes: "Axes", answers: Sequence[Answer]) -> None:
    names = []
    for place, answer in enumerate(answers):
        found, q = answer.found, answer.question
        assert found is not None
        scale = 100 if found.relative else 1
        color = "C0" if answer.certain else "grey"
        below, above = found.mean - found.low, found.high - found.mean
        errors = [[scale * below], [scale * above]] if found.n > 1 else None
        axes.errorbar(scale * found.mean, place, xerr=errors, fmt="o", color=color, capsize=3.0)
        names.append(f"{answer.data}: {SCORES[q.score].label} of {q.model}, against {q.against}")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    found = answers[0].found
    unit = " in per cent" if found is not None and found.relative else ""
    axes.set_xlabel(f"difference{unit}; left is better for the first model")
    axes.grid(axis="x", alpha=0.3)
