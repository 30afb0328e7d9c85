"""`hqdm study`: two models and two random seeds on digits, stopped, continued and reported."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest
import yaml
from marks import slow, thinned

from hqdm.cli.commands import study
from hqdm.data import images
from hqdm.study.cells import Store
from hqdm.study.chains import plan
from hqdm.utils.errors import Interrupted

NETWORK = {
    "dim": 8,
    "mults": [1, 2],
    "hybrid": {"vertex": {"groups": 1, "channels_per_group": 1, "ansatz": "HQConv", "n_layers": 1}},
}
DATA = {"name": "digits", "batch_size": 16, "limit": 48, "val_limit": 16}
CONTENT = {
    "data": {"digits": {"data": DATA}},
    "models": {
        "circuits": {
            "model": {"network": NETWORK, "ema": {"decay": 0.5, "every": 2, "start": 2}},
            "trainer": {"accelerator": "cpu", "log_every_n_steps": 1},
            "checkpoint_every": 2,
        }
    },
    "controls": {"classical": {"of": "circuits", "model": {"network": {"hybrid": {}}}}},
    "seeds": [0, 1],
    "steps": 4,
}


@pytest.fixture
def written(tmp_path):
    """Writes a study with other keys, and returns its file."""

    def write(**changes):
        file = tmp_path / "digits.yaml"
        content = {k: v for k, v in {**CONTENT, **changes}.items() if v is not ...}
        file.write_text(yaml.safe_dump(content))
        return file

    return write


def stop_at(monkeypatch, *places):
    """Send SIGINT at steps of trainings, counted over all of them; returns the words of each."""
    trained, seen = [], iter(range(1, 1000))

    class Stopping(study.StepReport):
        def on_train_batch_end(self, *args, **kwargs):
            super().on_train_batch_end(*args, **kwargs)
            if next(seen) in places:
                os.kill(os.getpid(), signal.SIGINT)

    original = study.train
    monkeypatch.setattr(study, "StepReport", Stopping)
    monkeypatch.setattr(
        study, "train", lambda words, stepped: (trained.append(words), original(words, stepped))
    )
    return trained, seen


def test_a_study_that_was_stopped_has_the_same_report(hqdm, written, tmp_path, monkeypatch):
    """Stopped within the first and the third training; no step is taken twice."""
    file = written()
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    decoded, decode = [], images.decode
    monkeypatch.setattr(
        images, "decode", lambda rows, *args: (decoded.append(len(rows)), decode(rows, *args))[1]
    )
    assert hqdm("study", "run", file, "--out", whole).code == 0
    assert decoded == [48, 16, 360], "training, validation and test images, each of them once"
    trained, seen = stop_at(monkeypatch, 1, 10)
    for _ in range(2):
        outcome = hqdm("study", "run", file, "--out", parts)
        assert outcome.code == 128 + signal.SIGINT
        assert f"continue with hqdm study run {file} --out {parts}" in outcome.err
    assert hqdm("study", "run", file, "--out", parts).code == 0
    assert next(seen) == 4 * 4 + 1
    assert [("--resume" in words) for words in trained] == [False, True, False, False, True, False]
    for out in (whole, parts):
        outcome = hqdm("study", "report", file, "--out", out)
        assert outcome.code == 0
        assert "digits: no difference in loss was found between circuits and classical" in (
            " ".join(outcome.out.split())
        )
    for name in ("report.md", "report.tex", "differences.png", "curves_digits.png"):
        first, second = ((out / "report" / name).read_bytes() for out in (whole, parts))
        assert first == second, name
    assert hqdm("study", "run", file, "--out", parts).code == 0
    assert len(trained) == 6


OTHERS = ("digits_places", "digits_options", "mnist_models", "cifar10", "few_images")


@pytest.mark.parametrize("name", ["states_2q", *map(slow, OTHERS)])
def test_the_studies_of_the_package_are_ready_to_run(name, repository, tmp_path, data_dir):
    """Each configuration is resolved, with all that is checked before a training."""
    read = study.read_study(repository / "configs" / "studies" / f"{name}.yaml")
    planned = plan(read, Store(tmp_path), study.resolve, partial(study.check, study=read))
    assert len(planned.pairs) == len(read.data) * len(read.models)
    assert read.questions
    assert [*tmp_path.iterdir()] == []


STATES = {
    "data": {"cluster": {"data": {"ensemble": "cluster", "n_states": 20, "n_val": 5}}},
    "models": {
        "quddpm": {
            "data": {"batch_size": 5},
            "model": {
                "network": {"options": {"n_layers": 1}},
                "channel": "scrambling",
                "channel_options": {"n_steps": 2, "h": [[1.0, 2.0, 2]]},
                "predict_options": {"batches": 2, "inputs": 5},
            },
            "trainer": {"accelerator": "cpu"},
        }
    },
    "controls": {
        "qdt": {
            "of": "quddpm",
            "model": {
                "channel_options": {"n_steps": 1, "h": [[1.0, 1.0, 1]]},
                "predict_options": {"batches": 4},
            },
        }
    },
    "scores": ["loss", "infidelity", "mmd"],
    "samples": {"n": 10},
    "search": {"trials": 2, "steps": 2},
}


def test_models_of_states_are_compared(hqdm, written, tmp_path):
    """With a search of the learning rate; scores of images are refused."""
    file = written(**STATES)
    assert hqdm("study", "run", file, "--out", tmp_path / "out").code == 0
    outcome = hqdm("study", "report", file, "--out", tmp_path / "out")
    assert outcome.code == 0
    words = " ".join(outcome.out.split())
    for question in ("loss", "infidelity of the averages", "MMD²"):
        assert f"cluster: no difference in {question} was found between quddpm and qdt" in words
    assert "Losses on up to 1,024 test states." in words
    assert "Scores of samples: 10 states." in words
    assert "by the loss on 5 validation states with random seed 1000" in words
    file = written(**{**STATES, "scores": ["loss", "fid"]})
    outcome = hqdm("study", "run", file, "--out", tmp_path / "images")
    assert outcome.code == 2
    assert "quddpm on cluster: fid is a score of images, and the model generates states" in (
        outcome.err
    )


@pytest.mark.parametrize(
    "stop", [Interrupted(signal.SIGINT, Path("last.ckpt")), KeyboardInterrupt()], ids=repr
)
def test_the_line_to_continue_has_the_options(hqdm, written, tmp_path, monkeypatch, forget, stop):
    """Those that decide where a study runs and what is defined; with names that have spaces."""

    def run_study(*args):
        raise stop

    monkeypatch.setattr(study, "run_study", run_study)
    plugin = tmp_path / "my circuits.py"
    plugin.write_text("")
    options = ("--out", tmp_path / "out", "--processes", 3, "--ray", "auto")
    outcome = hqdm("study", "run", written(), *options, "--plugin", plugin)
    assert outcome.code == 128 + signal.SIGINT
    again = f"hqdm study run {written()} --out {tmp_path / 'out'} --processes 3 --ray auto"
    assert outcome.err.strip().endswith(f"continue with {again} --plugin '{plugin}'")


WRONG = [
    ({"seed": 1}, "digits.yaml: unknown key 'seed'"),
    ({"seeds": []}, "digits.yaml: seeds: expected one or more random seeds"),
    (
        {"questions": [{"model": "circuits", "against": "frozen"}]},
        "digits.yaml: unknown model in questions[0] 'frozen'",
    ),
    ({"models": {"circuits": {"config": "mnist_qvnet"}}}, "unknown configuration 'mnist_qvnet'"),
    (
        {"models": {"circuits": {"model": {"network": {"dimm": 8}}}}},
        "circuits on digits: unknown key model.network.dimm: did you mean model.network.dim?",
    ),
    (
        {"data": {"d": {"data": {"batch_size": 9999}}}},
        "circuits on d: data set 'digits' has 1437 training images, fewer than batch_size 9999",
    ),
    (
        {"scores": ["kid"], "samples": {"sampler": "uss"}},
        "circuits on digits: uss ",
    ),
    (
        {"search": {"trials": 1, "steps": 1}},
        "circuits on digits: the search would select learning rates on test images",
    ),
]


@pytest.mark.parametrize(("changes", "message"), thinned(WRONG, every=3))
def test_what_is_wrong_is_named_before_anything_runs(refused, written, tmp_path, changes, message):
    assert message in refused("study", "run", written(**changes), "--out", tmp_path / "out")


def test_other_lines(refused, written, tmp_path):
    out = ("--out", tmp_path / "out")
    assert "there is no study" in refused("study", "run", tmp_path / "x.yaml", *out)
    assert "unknown action of hqdm study 'runn'" in refused("study", "runn", written(), *out)
    assert "--processes needs" in refused("study", "run", written(), "--processes", 0, *out)
    assert "holds no results" in refused("study", "report", written(), *out)
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    assert "broken.yaml is not YAML" in refused("study", "run", broken, *out)
