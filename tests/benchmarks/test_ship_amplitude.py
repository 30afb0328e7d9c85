"""The amplitude-embedded models of benchmarks/models, and the script that trains them."""

import re
import sys

import pytest
import torch
from marks import thinned

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.diffusion.loading import AMPLITUDE, load_denoiser
from hqdm.storage.checkpoint import read_checkpoint
from hqdm.storage.shipped import shipped


@pytest.fixture
def script(load):
    return load("ship_amplitude")


@pytest.mark.parametrize("name", AMPLITUDE)
def test_the_models_are_those_of_their_configurations(script, name):
    _, config, _ = script.CONFIGS[name]
    model = load_denoiser(name)
    assert model.config == TrainingCLI(["--config", config]).model.denoiser.config
    assert (shipped("models") / name / "model.safetensors").stat().st_size < 100_000


@pytest.mark.parametrize("name", thinned(AMPLITUDE, every=3))
def test_the_models_have_the_scores_of_their_cards(script, name):
    """Rounding of float32 over 20 steps is far below the last digit, but for a pixel at a clamp."""
    _, _, sampler = script.CONFIGS[name]
    found = script.drawn(load_denoiser(name), sampler)
    text = (shipped("models") / name / "README.md").read_text()
    assert int(re.search(r"--steps (\d+)", text)[1]) == found.tau
    distance = float(re.search(r"energy distance ([0-9.]+)", text)[1])
    assert found.scores["energy_distance"] == pytest.approx(distance, abs=2e-3)


@pytest.mark.slow
def test_a_short_run_and_its_files(script, monkeypatch, tmp_path):
    """One model of two updates; a run that is finished is not trained again."""
    config = ("USS", "uss_digits", "uss")
    monkeypatch.setattr(script, "CONFIGS", {"uss_digits": config})
    runs, models = tmp_path / "runs", tmp_path / "models"
    words = ["--runs", runs, "--models", models, "--picture", tmp_path / "rows.png"]
    monkeypatch.setattr(sys, "argv", ["ship_amplitude.py", *map(str, words), "--updates", "2"])
    script.main()
    last = runs / "uss_digits" / "last.ckpt"
    assert read_checkpoint(last).contents["global_step"] == 2
    written = last.stat().st_mtime_ns
    script.main()
    assert last.stat().st_mtime_ns == written
    weights = [load_denoiser(path).state_dict() for path in (last, models / "uss_digits")]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name])
    assert "1,008 parameters" in (models / "uss_digits" / "README.md").read_text()
    assert (tmp_path / "rows.png").stat().st_size > 0
