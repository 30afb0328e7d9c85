"""Answers in words, and the pairs they follow from."""

import math

import pytest
from studies import plan_of, write

from hqdm.study.answers import Answer, answers_of, interval, p_text, runs_of, spread
from hqdm.study.file import Question
from hqdm.study.statistics import holm, paired

QUESTION = Question("circuits", "frozen", "loss")


def answer(scores, others, p=None, question=QUESTION, relative=True, **family):
    found = paired(scores, others, relative)
    return Answer("digits", question, found, found.p if p is None else p, **family)


def test_a_difference_is_stated_with_its_direction():
    lower = answer([0.98, 0.99, 0.985, 0.984], [1.0] * 4)
    assert lower.certain
    assert lower.sentence(0.01) == (
        "digits: the loss of circuits is 1.5 % [0.87, 2.2] lower than that of frozen "
        "(4 random seeds; interval of 95 %, unadjusted; p = 0.0052, adjusted by Holm's method over "
        "1 comparison)."
    )
    assert interval(lower.found) == "-1.5 % [-2.2, -0.87]"
    higher = answer([1.02, 1.01, 1.015, 1.016], [1.0] * 4)
    assert "is 1.5 % [0.87, 2.2] higher than that of frozen" in higher.sentence(0.01)
    assert spread(higher.found) == "1.5 % [0.87, 2.2]"


def test_without_a_difference_the_sentence_says_what_would_be_needed():
    none = answer([0.98, 1.03, 0.99, 1.01, 1.0], [1.0] * 5, asked=4)
    needed = none.found.seeds_for(0.05, 0.05 / 4)
    assert needed.likely > none.found.seeds_for(0.05).likely
    assert not none.certain
    assert none.sentence(0.05) == (
        "digits: no difference in loss was found between circuits and frozen: +0.19 % [-2.2, 2.6] "
        "(5 random seeds; interval of 95 %, unadjusted; p = 0.84, adjusted by Holm's method over "
        f"1 comparison); a difference of 5 % needs about {needed.likely} [{needed.low}, "
        f"{needed.high}] seeds at the level 0.05/4."
    )
    assert "about >10,000 [>10,000, >10,000] seeds" in none.sentence(1e-9)
    few = answer([0.98, 1.03, 0.99, 1.01], [1.0] * 4).sentence(0.05)
    assert few.endswith("over 1 comparison).")  # no number from the scatter of four pairs


def test_an_interval_that_excludes_0_without_a_difference_is_explained():
    """By Holm's method; on both sides."""
    for scores in ([0.98, 0.99, 0.985, 0.984], [1.02, 1.01, 1.015, 1.016]):
        one = answer(scores, [1.0] * 4, p=0.06, tested=12)
        assert not one.certain
        assert (
            "p = 0.06, adjusted by Holm's method over 12 comparisons); the interval, which is not "
            "adjusted, excludes 0." in one.sentence(0.01)
        )
    assert "excludes 0" not in answer([0.98, 1.03, 0.99], [1.0] * 3).sentence(0.01)


def test_pairs_without_scatter_have_no_test():
    same = answer([0.9, 1.8, 2.7], [1.0, 2.0, 3.0])
    assert not same.certain
    assert same.sentence(0.01) == (
        "digits: the loss of circuits is 10 % lower than that of frozen with each of 3 random "
        "seeds; pairs without scatter have no test."
    )


def test_where_there_is_no_interval_the_sentence_says_so():
    found = paired([0.98, 0.99, 0.985, 0.984], [1.0] * 4, kind="bootstrap")
    sentence = Answer("digits", QUESTION, found, found.p).sentence(0.01)
    assert "is 1.5 % [no interval] lower than that of frozen" in sentence


def test_one_random_seed_and_none():
    one = answer([0.98], [1.0])
    assert "with one random seed, the loss of circuits is 2 % lower" in one.sentence(0.01)
    assert interval(one.found) == "-2 %"
    missing = Answer("digits", QUESTION, None, math.nan).sentence(0.01)
    assert missing == "digits: no random seed has the loss of both circuits and frozen."


def test_scores_without_a_ratio_have_no_per_cent():
    kid = Question("circuits", "frozen", "kid")
    found = answer([-0.02, -0.03, -0.025], [0.01, 0.0, 0.005], question=kid, relative=False)
    assert "with each of 3 random seeds" in found.sentence(0.01)  # -0.03 each
    scores = [-0.02, -0.03, -0.02, -0.03, -0.04]
    found = answer(scores, [0.0] * 5, question=kid, relative=False)
    assert "the KID of circuits is 0.028 [0.018, 0.038] lower" in found.sentence(0.01)
    none = answer(scores, [-0.03] * 5, question=kid, relative=False).sentence(0.01)
    assert "no difference in KID was found" in none
    assert "needs" not in none


def test_p_values_in_words():
    assert [p_text(p) for p in (0.0001, 0.0123)] == ["p < 0.001", "p = 0.012"]


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
    assert found.left_out == {"score missing": [0], "circuits diverged": [2]}
    assert found.sentence(0.01).endswith(
        "nothing follows from one. Left out: seed 0 (score missing); seed 2 (circuits diverged)."
    )


def test_seeds_of_trainings_that_diverged_are_named(tmp_path):
    """Of one model, of the other, of both; and a score that is not finite."""
    plan = plan_of(tmp_path, seeds=list(range(8)))
    first, second = (plan.cells("digits", model, None) for model in ("circuits", "classical"))
    for cell in (*first, *second):
        write(plan.store, cell)
    for cell in (first[1], first[4], second[1], second[3], second[6]):
        plan.store.file(cell).unlink()
        plan.store.write(cell, {"failure": "the loss is nan"}, {})
    plan.store.write(first[0], {"quantum": 2}, {"loss": math.nan})
    (found,) = answers_of(plan, runs_of(plan))
    assert found.found.n == 3
    assert found.sentence(0.01).endswith(
        " Left out: seed 0 (score not finite); seed 1 (circuits and classical diverged); "
        "seeds 3, 6 (classical diverged); seed 4 (circuits diverged)."
    )


def test_comparisons_without_a_test_do_not_count(tmp_path):
    """For Holm's method; for the level of the number of seeds they do, since they will."""
    data = {name: {"data": {"name": name}} for name in ("digits", "mnist")}
    plan = plan_of(tmp_path, data=data, seeds=[0, 1, 2, 3, 4])
    for model in ("circuits", "classical"):
        for cell in plan.cells("digits", model, None):
            write(plan.store, cell)
    first, second = answers_of(plan, runs_of(plan))
    assert second.found is None
    assert (first.tested, first.asked) == (1, 2)
    assert first.p == first.found.p
    assert first.seeds_for(0.01) == first.found.seeds_for(0.01, 0.05 / 2)
    assert second.seeds_for(0.01) is None


def test_the_interval_is_that_of_the_study(tmp_path):
    ends = []
    for kind in ("t", "bootstrap"):
        plan = plan_of(tmp_path, seeds=[0, 1, 2, 3, 4], interval=kind)
        for pair in plan.pairs:
            for cell in plan.cells(*pair, None):
                write(plan.store, cell)
        (found,) = answers_of(plan, runs_of(plan))
        ends.append((found.found.low, found.found.high))
    assert ends[0] != ends[1]


def test_holm_s_method_is_over_all_questions_and_data_sets(tmp_path):
    data = {name: {"data": {"name": name}} for name in ("digits", "mnist")}
    plan = plan_of(tmp_path, data=data, scores=["loss", "fid"])
    for pair in plan.pairs:
        for cell in plan.cells(*pair, None):
            write(plan.store, cell)
    answers = answers_of(plan, runs_of(plan))
    assert [a.data for a in answers] == ["digits", "digits", "mnist", "mnist"]
    assert [a.p for a in answers] == holm([a.found.p for a in answers])
    assert answers[0].p == pytest.approx(4 * answers[0].found.p)
