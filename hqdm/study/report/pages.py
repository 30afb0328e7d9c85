"""The tables and sentences of the report of a study.

They are computed from the results alone, and have no times: equal results give equal pages.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hqdm.evaluation.importance import CHANGES
from hqdm.study.answers import PERCENT, Answer, Run, interval, level_text, seeds_text
from hqdm.study.cells import failed, learning_rate
from hqdm.study.chains import Plan
from hqdm.study.scores.names import IMAGES, SCORES, STATES, TESTED
from hqdm.study.scores.protocol import kind_of
from hqdm.study.search import SPLITS
from hqdm.study.statistics import LEAST_PAIRS, LEVEL, POWER, interval_of
from hqdm.utils.tables import Page, Sheet, counted, figure

DIGITS = 4  # of scores
INTERVAL_NAMES = {
    "t": "the t distribution",
    "bootstrap": f"the studentised bootstrap, from {LEAST_PAIRS} values",
}


def page_of(plan: Plan, runs: Sequence[Run], answers: Sequence[Answer]) -> Page:
    """The tables and sentences of a report."""
    sheets = [_score_sheet(plan, data, runs) for data in plan.study.data]
    sheets += [_answer_sheet(plan, answers)] if answers else []
    sheets += [_importance_sheet(plan, data, runs) for data in plan.study.measured]
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
    return _percent(value) if change else value


def _percent(value: float | None) -> float | None:
    """A relative change in per cent; None stays None."""
    return None if value is None else 100 * value


def _mean(runs: Sequence[Run], name: str, kind: str) -> str:
    """The mean of a score with its interval."""
    return _mean_of([_shown(run, name) for run in runs], kind)


def _mean_of(values: Sequence[float | None], kind: str) -> str:
    """The mean of the values that are known with its interval."""
    known = [value for value in values if value is not None]
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


def _importance_sheet(plan: Plan, data: str, runs: Sequence[Run]) -> Sheet:
    """The changes of the loss by place of each model on a data set."""
    rows = []
    for model in plan.study.models:
        known = [
            run.importance
            for run in runs
            if (run.data, run.model) == (data, model) and run.importance is not None
        ]
        for place in known[0] if known else ():
            means = [
                _mean_of([_percent(places[place][change]) for places in known], plan.study.interval)
                for change in CHANGES
            ]
            rows.append((model, place, str(len(known)), *means))
    title = f"Importance of the places on {data}: changes of the loss in %"
    return Sheet(title, ("model", "place", "seeds", *CHANGES.values()), rows, n_text=2)


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
        f"Losses on up to {TESTED:,} test {_kinds(plan)}.",
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
    if study.importance:
        lines.append(
            "Importance of a place: the change of the loss when all its convolutions, or its "
            "circuits, give their mean over the batch, or its circuits have random angles."
        )
    if any(SCORES[name].sampled for name in study.scores):
        lines.append(f"Scores of samples: {_drawn(plan)}.")
    if search:
        selected = dict.fromkeys(_selection(base["data"]) for base in plan.bases.values())
        lines.append(
            f"Learning rates: {search.trials} trials of {search.steps:,} steps for each model, "
            f"from {search.low:g} to {search.high:g}, by the loss on {', '.join(selected)} with "
            f"random seed {search.seed}."
        )
    lost = sum(run.missing for run in runs)
    diverged = sum(failed(run.result) for run in runs)
    lines += [f"Missing: {lost} of {counted(len(runs), 'run')}."] if lost else []
    lines += [f"Diverged: {diverged} of {counted(len(runs), 'run')}."] if diverged else []
    return lines


def _kinds(plan: Plan) -> str:
    """Images, states or both, which the models of a study generate."""
    return " and ".join(sorted({kind_of(base["data"]) for base in plan.bases.values()}))


def _drawn(plan: Plan) -> str:
    """The samples of each model in words."""
    samples, kinds = plan.study.samples, _kinds(plan)
    if kinds == STATES:
        return f"{samples.n:,} {kinds}"
    steps = "" if samples.steps is None else f", {samples.steps} steps"
    of = "" if kinds == IMAGES else ", of images"
    return f"{samples.n:,}{of} by {samples.sampler}{steps}"


def _selection(data: Mapping[str, Any]) -> str:
    """The data of a validation loss in words."""
    if kind_of(data) == IMAGES:
        return f"images of the split {data.get('val_split', SPLITS['val_split'])}"
    return f"{data['n_val']:,} validation states"
