"""The results of a study: scores of every cell, and an answer to each question.

All comparisons of a study, over its questions and data sets, are one family for Holm's method.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hqdm.study.cells import Cell, failed
from hqdm.study.chains import Plan
from hqdm.study.file import Question
from hqdm.study.scores.names import IMPORTANCE, SCORES
from hqdm.study.statistics import LEVEL, MAX_SEEDS, Difference, Seeds, holm, paired
from hqdm.utils.tables import counted, figure

PERCENT = f"{100 * LEVEL:g} %"  # of intervals


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
    def importance(self) -> Mapping[str, Mapping[str, float | None]] | None:
        """The changes of the loss by place, see `hqdm.study.scores.names`; None if missing."""
        return None if self.result is None else self.result["scores"].get(IMPORTANCE)

    @property
    def missing(self) -> bool:
        """True if a score is missing and the training did not diverge."""
        names = () if self.cell is None else self.cell.scores
        if not names or self.result is None:
            return True
        return not failed(self.result) and not set(names) <= set(self.result["scores"])


@dataclass(frozen=True)
class Answer:
    """The answer to a question on a data set.

    Attributes:
        data: Name of the data set.
        question: The question.
        found: The difference; None without a pair of results.
        p: Its p-value, adjusted by Holm's method; nan without a test.
        tested: Number of comparisons that have a test, over which it is adjusted.
        asked: Number of comparisons of the study.
        left_out: Random seeds without a pair, by the reason.
    """

    data: str
    question: Question
    found: Difference | None
    p: float
    tested: int = 1
    asked: int = 1
    left_out: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def certain(self) -> bool:
        """True if there is a difference, with all comparisons of the study considered."""
        return self.p < 1 - LEVEL

    def seeds_for(self, difference: float) -> Seeds | None:
        """See `Difference.seeds_for`, at the level with which Holm's method begins.

        Args:
            difference: See `hqdm.study.file.Study`.
        """
        level = (1 - LEVEL) / self.asked
        return None if self.found is None else self.found.seeds_for(difference, level)

    def sentence(self, difference: float) -> str:
        """The answer in words.

        Args:
            difference: See `hqdm.study.file.Study`.
        """
        seeds = "; ".join(
            f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))} ({why})"
            for why, seeds in self.left_out.items()
        )
        left_out = f" Left out: {seeds}." if seeds else ""
        return f"{self.data}: {self._finding(difference)}.{left_out}"

    def _finding(self, difference: float) -> str:
        q, found, label = self.question, self.found, SCORES[self.question.score].label
        if found is None:
            return f"no random seed has the {label} of both {q.model} and {q.against}"
        seeds = counted(found.n, "random seed")
        size = f"{sized(found, found.mean)} {_direction(found.mean)} than that of {q.against}"
        if found.n == 1:
            return (
                f"with one random seed, the {label} of {q.model} is {size}; nothing follows from "
                "one"
            )
        if math.isnan(self.p):
            return (
                f"the {label} of {q.model} is {size} with each of {seeds}; pairs without scatter "
                "have no test"
            )
        tested = (
            f"({seeds}; interval of {PERCENT}, unadjusted; {p_text(self.p)}, adjusted by Holm's "
            f"method over {counted(self.tested, 'comparison')})"
        )
        if self.certain:
            size = f"{spread(found)} {_direction(found.mean)} than that of {q.against}"
            return f"the {label} of {q.model} is {size} {tested}"
        alone = found.low > 0 or found.high < 0
        excludes = "; the interval, which is not adjusted, excludes 0" if alone else ""
        needed = self.seeds_for(difference)
        more = (
            f"; a difference of {sized(found, difference)} needs about {seeds_text(needed)} seeds "
            f"at the level {level_text(self.asked)}"
            if needed
            else ""
        )
        return (
            f"no difference in {label} was found between {q.model} and {q.against}: "
            f"{interval(found)} {tested}{excludes}{more}"
        )


def _direction(mean: float) -> str:
    return "lower" if mean < 0 else "higher"


def level_text(asked: int) -> str:
    """The level with which Holm's method over some comparisons begins."""
    return f"{1 - LEVEL:.2g}" + (f"/{asked}" if asked > 1 else "")


def seeds_text(needed: Seeds) -> str:
    """Numbers of seeds: 57 [20, 340]."""
    likely, low, high = (f">{MAX_SEEDS:,}" if n is None else f"{n:,}" for n in needed)
    return f"{likely} [{low}, {high}]"


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
    if math.isnan(low):
        return "[no interval]"
    scale = 100 if found.relative else 1
    return f"[{figure(scale * low, 2)}, {figure(scale * high, 2)}]"


def p_text(p: float) -> str:
    """A p-value in words."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


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
    found = [_difference(runs, data, question, plan.study.interval) for data, question in asked]
    adjusted = holm([math.nan if one is None else one.p for one, _ in found])
    counts = sum(not math.isnan(p) for p in adjusted), len(asked)
    return [
        Answer(*pair, one, p, *counts, left_out)
        for pair, (one, left_out), p in zip(asked, found, adjusted, strict=True)
    ]


def _difference(
    runs: Sequence[Run], data: str, question: Question, kind: str
) -> tuple[Difference | None, dict[str, list[int]]]:
    """The difference over the random seeds that have both scores, and the others by reason."""
    first, second = (
        {run.seed: run for run in runs if (run.data, run.model) == (data, model)}
        for model in (question.model, question.against)
    )
    pairs: list[tuple[float, float]] = []
    left_out: dict[str, list[int]] = {}
    for seed, run in first.items():
        both = run, second[seed]
        a, b = (one.score(question.score) for one in both)
        if a is not None and b is not None and math.isfinite(a) and math.isfinite(b):
            pairs.append((a, b))
            continue
        diverged = " and ".join(one.model for one in both if failed(one.result))
        lost = "score missing" if None in (a, b) else "score not finite"
        left_out.setdefault(f"{diverged} diverged" if diverged else lost, []).append(seed)
    if not pairs:
        return None, left_out
    scores, others = zip(*pairs, strict=True)
    # The loss of a state may be zero, or below by rounding.
    relative = SCORES[question.score].relative and min(*scores, *others) > 0
    return paired(scores, others, relative, kind), left_out
