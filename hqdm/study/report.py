"""The report of a study: tables, plots, and a sentence for each question.

    FOLDER/report/report.md         for the terminal and Markdown
    FOLDER/report/report.tex        the same in LaTeX
    FOLDER/report/differences.png   differences of the pairs with their intervals, a panel for
                                    each data set and score
    FOLDER/report/curves_DATA.png   learning curves: geometric means over random seeds with
                                    the intervals of the logarithms

It is computed from the results alone, and has no times: equal results give equal files.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hqdm.study.answers import (
    PERCENT,
    Answer,
    Run,
    answers_of,
    interval,
    level_text,
    runs_of,
    seeds_text,
)
from hqdm.study.cells import failed, learning_rate
from hqdm.study.chains import Plan
from hqdm.study.scores import SCORES, TESTED
from hqdm.study.search import SPLITS
from hqdm.study.statistics import LEAST_PAIRS, LEVEL, POWER, interval_of
from hqdm.training.optim import VAL_LOSS
from hqdm.utils.errors import HQDMError
from hqdm.utils.files import together, write_file
from hqdm.utils.pictures import save_figure
from hqdm.utils.tables import Page, Sheet, counted, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKDOWN, LATEX, DIFFERENCES = "report.md", "report.tex", "differences.png"
DIGITS = 4  # of scores
FOUND, OTHER = "blue", "grey"  # colours of differences
DIFFERENCE_LABELS = {
    FOUND: f"a difference: p < {1 - LEVEL:.2g}, adjusted by Holm's method",
    OTHER: "no difference found, or no test",
}
CURVES = {VAL_LOSS: "validation loss", "train_loss": "training loss"}
INTERVAL_NAMES = {
    "t": "the t distribution",
    "bootstrap": f"the studentised bootstrap, from {LEAST_PAIRS} values",
}


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
            save_curves(own, data, plan.study.interval, folder / curves_file(data))
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
    names, kind = plan.study.scores, plan.study.interval
    rows = []
    for model in plan.study.models:
        own = [run for run in runs if (run.data, run.model) == (data, model)]
        scored = [run.result for run in own if run.result is not None and not failed(run.result)]
        size = [_count(scored, key) for key in ("parameters", "trained", "quantum")]
        means = [_mean(own, name, kind) for name in names]
        rows.append((model, *size, _rate(own), str(len(scored)), *means))
    labels = [SCORES[name].label for name in names]
    columns = ("model", "parameters", "trained", "quantum", "learning rate", "seeds", *labels)
    return Sheet(f"Scores on {data}: means with intervals of {PERCENT}", columns, rows)


def _count(results: Sequence[Mapping[str, Any]], key: str) -> str:
    """A number of parameters, which all random seeds share."""
    return f"{results[0][key]:,}" if results and key in results[0] else "-"


def _rate(runs: Sequence[Run]) -> str:
    cell = runs[0].cell
    rate = None if cell is None else learning_rate(cell.settings)
    return "-" if rate is None else f"{rate:.3g}"


def _shown(run: Run, name: str) -> float | None:
    """A score as it is shown, changes in per cent; None without a value or without circuits."""
    value, change = run.score(name), SCORES[name].change
    if value is None or run.result is None or (change and not run.result["quantum"]):
        return None
    return 100 * value if change else value


def _mean(runs: Sequence[Run], name: str, kind: str) -> str:
    """The mean of a score with its interval."""
    known = [value for run in runs if (value := _shown(run, name)) is not None]
    if not known:
        return "-"
    mean, low, high = interval_of(known, kind)
    ends = "" if np.isnan(low) else f" [{figure(low, DIGITS)}, {figure(high, DIGITS)}]"
    return figure(mean, DIGITS) + ends


def _answer_sheet(plan: Plan, answers: Sequence[Answer]) -> Sheet:
    """The comparisons."""
    rows = []
    for answer in answers:
        q, found = answer.question, answer.found
        name = f"{answer.data}: {SCORES[q.score].label} of {q.model} against {q.against}"
        if found is None:
            rows.append((name, "0", *["-"] * 5))
            continue
        needed = answer.seeds_for(plan.study.difference)
        numbers = (found.effect, found.p, answer.p)
        shown = ("-" if np.isnan(number) else f"{number:.2g}" for number in numbers)
        rows.append(
            (name, str(found.n), interval(found), *shown, seeds_text(needed) if needed else "-")
        )
    step = f"{100 * plan.study.difference:g} %"
    title = f"Differences of the pairs, with intervals of {PERCENT}, unadjusted"
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
        rows.append((run.data, run.model, str(run.seed), *(_cell(run, name) for name in names)))
    columns = ("data", "model", "seed", *(SCORES[name].label for name in names))
    return Sheet("All runs", columns, rows, n_text=2)


def _cell(run: Run, name: str) -> str:
    """The score of a run, or why it has none."""
    if failed(run.result):
        return "diverged"
    if run.score(name) is None:
        return "missing"
    value = _shown(run, name)
    return "-" if value is None else f"{value:.6g}"


def _conditions(plan: Plan, runs: Sequence[Run], answers: Sequence[Answer]) -> list[str]:
    """The conditions under which the numbers hold."""
    study = plan.study
    search, asked = study.search, len(answers)
    tested = sum(not np.isnan(answer.p) for answer in answers)
    better = [SCORES[name].label for name in study.scores if not SCORES[name].change]
    lines = [
        f"Each model: {study.steps:,} training steps, {counted(len(study.seeds), 'random seed')}.",
        f"Losses on up to {TESTED:,} test images.",
        *([f"Less is better: {', '.join(better)}."] if better else []),
        "Pairs have the same random seed. Differences of positive scores are those of ratios. "
        f"Intervals of {PERCENT}, of mean scores and mean differences (of ratios: of the mean "
        f"logarithm) over random seeds, by {INTERVAL_NAMES[study.interval]}; effect size: mean "
        "over standard deviation of the differences, with the small-sample correction.",
        "Results are those of the configurations that the study file has now: runs of other steps "
        "or options stay in the folder, and are not in this report.",
    ]
    if answers:
        lines += [
            "An interval is that of one comparison. p: paired t test; p (Holm): adjusted by Holm's "
            f"method over {counted(tested, 'comparison')}. These are all questions of the study on "
            f"all data sets that have a test. A difference is called one if this is "
            f"below {1 - LEVEL:.2g}; an interval that excludes 0 is not enough.",
            f"Number of seeds with which the t test at the level {level_text(asked)}, with which "
            f"Holm's method over {counted(asked, 'comparison')} begins, finds a difference with "
            f"probability {100 * POWER:g} %, from the scatter of these pairs; in brackets from the "
            f"interval of {PERCENT} of the scatter.",
        ]
    if tested < asked:
        lines.append(
            f"Without a test: {asked - tested} of {counted(asked, 'comparison')}. Adjusted "
            "p-values rise with each further one that has a test."
        )
    if any(SCORES[name].sampled for name in study.scores):
        drawn = study.samples
        steps = "" if drawn.steps is None else f", {drawn.steps} steps"
        lines.append(f"Scores of samples: {drawn.n:,} by {drawn.sampler}{steps}.")
    if search:
        splits = dict.fromkeys(
            base["data"].get("val_split", SPLITS["val_split"]) for base in plan.bases.values()
        )
        lines.append(
            f"Learning rates: {search.trials} trials of {search.steps:,} steps for each model, "
            f"from {search.low:g} to {search.high:g}, by the loss on images of the split "
            f"{', '.join(splits)} with random seed {search.seed}."
        )
    lost = sum(run.missing for run in runs)
    diverged = sum(failed(run.result) for run in runs)
    lines += [f"Missing: {lost} of {counted(len(runs), 'run')}."] if lost else []
    lines += [f"Diverged: {diverged} of {counted(len(runs), 'run')}."] if diverged else []
    return lines


def save_curves(runs: Sequence[Run], data: str, kind: str, path: Path) -> None:
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


def save_differences(answers: Sequence[Answer], path: Path) -> None:
    """Plot the differences with their intervals, a panel for each data set and score.

    Args:
        answers: The comparisons; those without a pair of results are left out.
        path: The file.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    panels: dict[str, list[Answer]] = {}
    for answer in answers:
        if answer.found is not None:
            title = f"{answer.data}: {SCORES[answer.question.score].label}"
            panels.setdefault(title, []).append(answer)
    rows = [len(own) for own in panels.values()] or [1]
    size = 9, 1 + sum(0.8 + 0.3 * n for n in rows)
    picture = Figure(figsize=size, layout="constrained")
    axes = picture.subplots(len(rows), squeeze=False, height_ratios=rows)[:, 0]
    for panel, (title, own) in zip(axes, panels.items(), strict=False):
        _plot_differences(panel, own)
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


def _plot_differences(axes: "Axes", answers: Sequence[Answer]) -> None:
    """Plot differences of one score, those of ratios in per cent."""
    names = []
    relative = SCORES[answers[0].question.score].relative
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
