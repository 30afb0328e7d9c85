"""The search of learning rates of the reproduction table, from the runs so far.

Every row has as many trials, with random seed `SEARCH_SEED`: multiples of the paper's rate, then
one beside the best of them (`next_rate`). The score of a trial is the least energy distance to the
validation images over the numbers of steps.
"""

import math
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from amplitude.rows import CONTROL, FACTORS, Row, rounded

TRIALS = len(FACTORS) + 1  # learning rates of a row
BEYOND = 3.0  # from the best rate to the next, if it is the least or largest
SEARCH_SEED = 1000  # of which no score is shown


def tried_rates(results: dict[str, Any], row: Row) -> dict[float, float]:
    """The learning rates of the search so far, in order, with the least validation score of each.

    The score is the energy distance to the validation images, infinite for a run that diverged.
    """
    scores = {
        run["rate"]: min(run.get("validation", [math.inf]))
        for run in results["runs"]
        if run["row"] == row.key and run["seed"] == SEARCH_SEED
    }
    return dict(sorted(scores.items()))


def next_rate(results: dict[str, Any], row: Row) -> float | None:
    """The learning rate that the search tries next; None at its end."""
    scores, trials = tried_rates(results, row), results["settings"]["trials"]
    for rate in row.rates[:trials]:
        if rate not in scores:
            return rate
    best = chosen_rate(results, row)
    if row.network == CONTROL or len(scores) >= trials or best is None:
        return None
    rates = list(scores)
    place = rates.index(best)
    if place == 0:
        return rounded(best / BEYOND)
    if place == len(rates) - 1:
        return rounded(best * BEYOND)
    neighbour = min(rates[place - 1], rates[place + 1], key=scores.__getitem__)
    return rounded(math.sqrt(best * neighbour))


def chosen_rate(results: dict[str, Any], row: Row) -> float | None:
    """The best learning rate of the search so far; None if all runs diverged."""
    scores = tried_rates(results, row)
    best = min(scores, key=scores.__getitem__, default=None)
    return None if best is None or math.isinf(scores[best]) else best


def best_tau(runs: Sequence[dict[str, Any]]) -> int:
    """The place of the number of steps with the least energy distance to the validation images."""
    means = [fmean(values) for values in zip(*(run["validation"] for run in runs), strict=True)]
    return means.index(min(means))


def final_runs(results: dict[str, Any], row: Row) -> list[dict[str, Any]]:
    """The runs of a row with the chosen learning rate that did not diverge.

    None of them before the search has ended.
    """
    if next_rate(results, row) is not None:
        return []
    rate = chosen_rate(results, row)
    return [
        run
        for run in results["runs"]
        if (run["row"], run["rate"]) == (row.key, rate)
        and run["seed"] != SEARCH_SEED
        and "failure" not in run
    ]


def pending(results: dict[str, Any], row: Row, seeds: int) -> Iterator[tuple[float, int]]:
    """Learning rates and seeds of a row that are still to run, which are run one by one."""
    while (rate := next_rate(results, row)) is not None:
        yield rate, SEARCH_SEED
    done = {(run["row"], run["rate"], run["seed"]) for run in results["runs"]}
    best = chosen_rate(results, row)
    for seed in range(seeds):
        if best is not None and (row.key, best, seed) not in done:
            yield best, seed
