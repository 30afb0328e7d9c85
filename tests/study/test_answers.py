"""Answers in words, and the pairs they follow from."""

import math

import pytest
from studies import plan_of, write

from hqdm.study.answers import Answer, answers_of, interval, p_text, runs_of, spread
from hqdm.study.file import Question
from hqdm.study.statistics import holm, paired

QUESTION = Question("circuits", "frozen", "loss")


def answer(scores, others, p=None, question=QUESTION, relative=True):
    found = paired(scores, others, relative)
    return Answer("digits", question, found, found.p if p is None else p)


def test_a_difference_is_stated_with_its_direction():
    lower = answer([0.98, 0.99, 0.985, 0.984], [1.0] * 4)
    assert lower.certain
    assert lower.sentence(0.01) == (
        "digits: the loss of circuits is 1.5 % [0.87, 2.2] lower than that of frozen "
        "(4 random seeds, p = 0.0052)."
    )
    assert interval(lower.found) == "-1.5 % [-2.2, -0.87]"
    higher = answer([1.02, 1.01, 1.015, 1.016], [1.0] * 4)
    assert "is 1.5 % [0.87, 2.2] higher than that of frozen" in higher.sentence(0.01)
    assert spread(higher.found) == "1.5 % [0.87, 2.2]"


def test_without_a_difference_the_sentence_says_what_would_be_needed():
    none = answer([0.98, 1.03, 0.99, 1.01], [1.0] * 4)
    n = none.found.seeds_for(0.05)
    assert not none.certain
    assert none.sentence(0.05) == (
        "digits: no difference in loss was found between circuits and frozen: +0.23 % [-3.2, 3.8] "
        f"(4 random seeds, p = 0.85); a difference of 5 % needs about {n} seeds."
    )
    assert "needs more seeds than can be computed" in none.sentence(1e-9)
    assert not answer([0.98, 0.99, 0.985, 0.984], [1.0] * 4, p=0.06).certain  # by Holm's method


def test_one_random_seed_and_none():
    one = answer([0.98], [1.0])
    assert "with one random seed, the loss of circuits is 2 % lower" in one.sentence(0.01)
    assert interval(one.found) == "-2 %"
    missing = Answer("digits", QUESTION, None, math.nan).sentence(0.01)
    assert missing == "digits: no random seed has the loss of both circuits and frozen."


def test_scores_without_a_ratio_have_no_per_cent():
    kid = Question("circuits", "frozen", "kid")
    found = answer([-0.02, -0.03, -0.025], [0.01, 0.0, 0.005], question=kid, relative=False)
    assert "the KID of circuits is 0.03 [0.03, 0.03] lower" in found.sentence(0.01)


def test_p_values_in_words():
    assert [p_text(p) for p in (0.0001, 0.0123, math.nan)] == ["p < 0.001", "p = 0.012", "no test"]


def test_pairs_are_those_random_seeds_that_both_models_have(tmp_path):
    plan = plan_of(tmp_path)
    first, second = (plan.cells("digits", model, None) for model in ("circuits", "classical"))
    for cell in (*first[:2], *second[1:]):
        write(plan.store, cell)
    plan.store.write(first[2], {"failure": "the loss is nan"}, {})
    runs = runs_of(plan)
    assert [run.missing for run in runs] == [False, False, False, True, False, False]
    (found,) = answers_of(plan, runs)
    assert found.found.n == 1
    assert found.found.mean == pytest.approx(0.9 - 1, abs=2e-3)


def test_holm_s_method_is_over_all_questions_and_data_sets(tmp_path):
    data = {name: {"data": {"name": name}} for name in ("digits", "mnist")}
    questions = [
        {"model": "circuits", "against": "classical"},
        {"model": "classical", "against": "circuits"},
    ]
    plan = plan_of(tmp_path, data=data, questions=questions)
    for pair in plan.pairs:
        for cell in plan.cells(*pair, None):
            write(plan.store, cell)
    answers = answers_of(plan, runs_of(plan))
    assert [a.data for a in answers] == ["digits", "digits", "mnist", "mnist"]
    assert [a.p for a in answers] == holm([a.found.p for a in answers])
    assert answers[0].p == pytest.approx(4 * answers[0].found.p)
