"""The work of one cell: what exists is not computed again, and a training that diverges counts."""

import pytest
from studies import plan_of

from hqdm.storage.checkpoint import LAST
from hqdm.study.work import complete
from hqdm.training.finite import Diverged
from hqdm.utils.errors import HQDMError


class Fit:
    """Takes over a trained run in place of training."""

    def __init__(self, trained):
        self.trained, self.calls = trained, []

    def __call__(self, words, stepped):
        self.calls.append(words)
        out = words[words.index("--out") + 1]
        (out := type(self.trained)(out)).mkdir(parents=True, exist_ok=True)
        (out / LAST).write_bytes((self.trained / LAST).read_bytes())
        stepped(4)


@pytest.fixture
def plan(tmp_path):
    return plan_of(tmp_path, seeds=[0])


@pytest.fixture
def cell(plan):
    return plan.cells("digits", "circuits", None)[0]


def test_a_cell_is_trained_once_and_scored(plan, cell, trained):
    fit, steps = Fit(trained), []
    complete(cell, plan.store, fit, steps.append)
    result = plan.store.result(cell)
    assert result["scores"]["loss"] > 0
    assert result["quantum"] > 0
    assert result["parameters"] > result["quantum"]
    assert steps == [4]
    assert "--resume" not in fit.calls[0]
    complete(cell, plan.store, fit, steps.append)
    assert len(fit.calls) == 1
    plan.store.file(cell).unlink()
    complete(cell, plan.store, fit, steps.append)
    assert fit.calls[1][-2:] == ["--resume", str(plan.store.run(cell) / LAST)]


def test_a_score_that_is_added_is_computed_alone(plan, cell, trained, tmp_path, monkeypatch):
    complete(cell, plan.store, Fit(trained), lambda step: None)
    asked = []
    monkeypatch.setattr(
        "hqdm.study.work.scores_of",
        lambda denoiser, names, protocol: asked.append(names) or dict.fromkeys(names, 1.0),
    )
    more = plan_of(tmp_path, seeds=[0], scores=["loss", "silenced"])
    complete(more.cells("digits", "circuits", None)[0], plan.store, Fit(trained), lambda step: None)
    assert asked == [["silenced"]]


def test_a_training_that_diverges_is_a_result(plan, cell):
    def fit(words, stepped):
        raise Diverged("the loss is nan at step 2")

    complete(cell, plan.store, fit, lambda step: None)
    assert plan.store.result(cell)["failure"] == "the loss is nan at step 2"


def test_another_error_names_the_cell(plan, cell):
    def fit(words, stepped):
        raise HQDMError("the disk is full")

    with pytest.raises(HQDMError, match="^digits, circuits, seed 0: the disk is full"):
        complete(cell, plan.store, fit, lambda step: None)
    assert plan.store.result(cell) is None
