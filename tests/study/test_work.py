"""The work of one cell: what exists is not computed again, and a training that diverges counts."""

import pytest
from studies import plan_of

from hqdm.diffusion.loading import load_denoiser
from hqdm.nn.parts import quantum_parameters
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


@pytest.mark.slow
def test_the_curve_is_that_of_the_validation_or_else_the_training_loss(plan, cell, trained):
    logs = plan.store.run(cell) / "csv" / "version_0" / "metrics.csv"
    fit = Fit(trained)
    for column, other in (("val_loss", "train_loss"), ("train_loss", "lr")):
        logs.parent.mkdir(parents=True, exist_ok=True)
        logs.write_text(f"step,{column},{other}\n1,0.5,0.6\n3,0.25,0.3\n")
        plan.store.file(cell).unlink(missing_ok=True)
        complete(cell, plan.store, fit, lambda step: None)
        result = plan.store.result(cell)
        assert result["curve_of"] == column
        assert [loss for _, loss in result["curve"]] == [0.5, 0.25]


@pytest.mark.slow
def test_parameters_that_are_not_trained_are_not_counted_as_such(plan, cell, trained, monkeypatch):
    """Frozen circuits are quantum, and nothing is trained there."""
    denoiser = load_denoiser(trained)
    angles = list(quantum_parameters(denoiser))
    for parameter in angles:
        parameter.requires_grad_(False)
    monkeypatch.setattr("hqdm.study.work.load_any", lambda path: denoiser)
    complete(cell, plan.store, Fit(trained), lambda step: None)
    result = plan.store.result(cell)
    assert result["quantum"] == sum(parameter.numel() for parameter in angles)
    assert result["trained"] == result["parameters"] - result["quantum"]


@pytest.mark.slow
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
