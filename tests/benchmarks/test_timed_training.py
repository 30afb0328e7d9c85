"""Training by the clock: what counts as training, scores of known denoisers, stored runs."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hqdm import DDIM, CosineSchedule, Denoiser, DiffusionModule, UNet
from hqdm.evaluation.protocol import ScoringProtocol


@pytest.fixture
def timed(load):
    return load("timed_training")


def tiny_module():
    return DiffusionModule(Denoiser(UNet(size=8, dim=4, mults=(1,)), CosineSchedule()))


def test_the_clock_stops_while_a_function_runs(timed, monkeypatch):
    """Steps of one second, a function of a hundred; training ends after the last milestone."""
    now = [0.0]
    monkeypatch.setattr(timed.time, "process_time", lambda: now[0])
    trainer = SimpleNamespace(is_last_batch=False, should_stop=False)
    reached = []

    def score(trainer, module, spent):
        reached.append(spent)
        now[0] += 100

    clock, module = timed.Milestones([1.5, 2.5, 4.5, 5.5], score, before=1.5), tiny_module()
    clock.on_train_start(trainer, module)
    for step in range(1, 5):
        now[0] += 1
        trainer.is_last_batch = step == 3  # where no run resumes exactly
        clock.on_train_batch_end(trainer, module)
        assert trainer.should_stop == (step == 4)
    assert reached == [2.5, 5.5]


def test_training_ends_when_the_function_says_so(timed):
    trainer, module = SimpleNamespace(is_last_batch=False, should_stop=False), tiny_module()
    clock = timed.Milestones([1e-9, 1e9], lambda *_: True)
    clock.on_train_start(trainer, module)
    clock.on_train_batch_end(trainer, module)
    assert trainer.should_stop


class Constant(nn.Module):
    """A network that predicts the same number everywhere."""

    sample_shape = (1, 8, 8)

    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(float(value)))
        self.config, self.parts = {}, {}

    @classmethod
    def from_config(cls, config):
        raise NotImplementedError("nothing loads this network")

    def forward(self, x, t, y=None):
        return self.value.expand_as(x)


def test_the_error_of_a_constant_prediction_is_known(timed):
    """Outside of the range of the data it is clipped to its end."""
    judge = timed.Judge(ScoringProtocol("digits", n=20), DDIM(2), (1, 8, 8))
    for value, clipped in ((0.0, 0.0), (0.5, 0.5), (3.0, 1.0)):
        denoiser = Denoiser(Constant(value), CosineSchedule(), "x0")
        expected = float((judge.test - clipped).square().mean())
        assert judge.x0_error(denoiser) == pytest.approx(expected, rel=1e-6)


def test_results_are_taken_up_where_they_ended(timed, load, tmp_path):
    """With every machine that they come from, but not with other settings."""
    file, machines = tmp_path / "runs.json", [{"cpu": "a", "date": "1"}, {"cpu": "b", "date": "2"}]
    results = timed.resumed(file, {"n": 1}, machines[0])
    assert results == {"settings": {"n": 1}, "machines": machines[:1], "runs": []}
    assert timed.resumed(None, {"n": 1}, machines[0]) == results
    results["runs"].append({"seed": 0})
    table = load("speed.report").Table("title", ("a", "b"), [("1", "2")])
    timed.write_runs(file, results, table, "x.py")
    assert "| 1 | 2 |" in file.with_suffix(".md").read_text()
    assert timed.resumed(file, {"n": 1}, {"cpu": "a", "date": "3"}) == results  # on another day
    on_another = timed.resumed(file, {"n": 1}, machines[1])
    assert on_another == {**results, "machines": machines}
    with pytest.raises(SystemExit, match="has other settings"):
        timed.resumed(file, {"n": 2}, machines[0])
