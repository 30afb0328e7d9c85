"""The results of a study: scores of every cell, and an answer to each question.

All comparisons of a study, over its questions and data sets, are one family for Holm's method.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hqdm.study.cells import Cell, failed
from hqdm.study.chains import Plan
from hqdm.study.file import Question
from hqdm.study.scores import SCORES
from hqdm.study.statistics import LEVEL, Difference, holm, paired
from hqdm.utils.tables import counted, figure


@dataclass(frozen=True)
class Run:
    """A cell with its result.

    Attributes:
        data: Name of the data set.
        model: Name of the model.
        seed: Random seed.
        cell: The cell; None while the search of its learning rate is not complete.
        result: See `hqdm.study.cells.Store.result`; None if it is missing.
    """

    data: str
    model: str
    seed: int
    cell: Cell | None
    result: Mapping[str, Any] | None

    def score(self, name: str) -> float | None:
        """The value of a score; None if it is missing."""
        return None if self.result is None else self.result["scores"].get(name)

    @property
    def missing(self) -> bool:
        """True if a score is missing and the training did not diverge."""
        names = () if self.cell is None else self.cell.scores
        return not names or not (
            failed(self.result) or all(self.score(name) is not None for name in names)
        )


@dataclass(frozen=True)
class Answer:
    """The answer to a question on a data set.

    Attributes:
        data: Name of the data set.
        question: The question.
        found: The difference; None without a pair of results.
        p: Its p-value, adjusted by Holm's method.
    """

    data: str
    question: Question
    found: Difference | None
    p: float

    @property
    def certain(self) -> bool:
        """True if there is a difference, with all comparisons of the study considered."""
        return self.p < 1 - LEVEL

    def sentence(self, difference: float) -> str:
        """The answer in words.

        Args:
            difference: See `hqdm.study.file.Study`.
        """
        q, found, label = self.question, self.found, SCORES[self.question.score].label
        if found is None:
            return f"{self.data}: no random seed has the {label} of both {q.model} and {q.against}."
        seeds = counted(found.n, "random seed")
        if found.n == 1:
            return (
                f"{self.data}: with one random seed, the {label} of {q.model} is "
                f"{sized(found, found.mean)} {_direction(found.mean)} than that of {q.against}; "
                "nothing follows from one."
            )
        tested = f"({seeds}, {p_text(self.p)})"
        if self.certain:
            return (
                f"{self.data}: the {label} of {q.model} is {spread(found)} "
                f"{_direction(found.mean)} than that of {q.against} {tested}."
            )
        needed = found.seeds_for(difference)
        step = sized(found, difference)
        more = (
            f"a difference of {step} needs about {needed} seeds"
            if needed
            else (f"a difference of {step} needs more seeds than can be computed")
        )
        return (
            f"{self.data}: no difference in {label} was found between {q.model} and {q.against}: "
            f"{interval(found)} {tested}; {more}."
        )


def _direction(mean: float) -> str:
    return "lower" if mean < 0 else "higher"


def sized(found: Difference, value: float) -> str:
    """The size of a difference, in per cent if it is one of ratios."""
    return f"{figure(abs(100 * value), 2)} %" if found.relative else figure(abs(value), 2)


def spread(found: Difference) -> str:
    """A difference with its interval, without the sign of its mean: 0.8 % [0.3, 1.4]."""
    sign = -1 if found.mean < 0 else 1
    low, high = sorted((sign * found.low, sign * found.high))
    return f"{sized(found, found.mean)} {_ends(found, low, high)}"


def interval(found: Difference) -> str:
    """A difference with its sign and its interval: -0.8 % [-1.4, -0.3]."""
    sign = "-" if found.mean < 0 else "+"
    ends = _ends(found, found.low, found.high) if found.n > 1 else ""
    return f"{sign}{sized(found, found.mean)} {ends}".strip()


def _ends(found: Difference, low: float, high: float) -> str:
    scale = 100 if found.relative else 1
    return f"[{figure(scale * low, 2)}, {figure(scale * high, 2)}]"


def p_text(p: float) -> str:
    """A p-value in words."""
    return "no test" if math.isnan(p) else "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def runs_of(plan: Plan) -> list[Run]:
    """All cells of the random seeds of a study with their results."""
    found = []
    for data, model in plan.pairs:
        seeds = plan.study.seeds
        cells: Sequence[Cell | None] = plan.found_cells(data, model) or [None] * len(seeds)
        for seed, cell in zip(seeds, cells, strict=True):
            result = None if cell is None else plan.store.result(cell)
            found.append(Run(data, model, seed, cell, result))
    return found


def answers_of(plan: Plan, runs: Sequence[Run]) -> list[Answer]:
    """The answers to all questions on all data sets.

    Args:
        plan: The plan.
        runs: Its runs.
    """
    asked = [(data, question) for data in plan.study.data for question in plan.study.questions]
    found = [_difference(runs, data, question) for data, question in asked]
    adjusted = holm([math.nan if one is None else one.p for one in found])
    return [Answer(*pair, one, p) for pair, one, p in zip(asked, found, adjusted, strict=True)]


def _difference(runs: Sequence[Run], data: str, question: Question) -> Difference | None:
    """The difference over the random seeds that have both scores."""

    def scores(model: str) -> dict[int, float]:
        own = (run for run in runs if (run.data, run.model) == (data, model))
        values = {run.seed: run.score(question.score) for run in own}
        return {seed: value for seed, value in values.items() if value is not None}

    first, second = scores(question.model), scores(question.against)
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    relative = SCORES[question.score].relative
    return paired([first[s] for s in seeds], [second[s] for s in seeds], relative)
