"""`hqdm fit` of models of quantum states: training, resuming, and options that are refused."""

import warnings
from pathlib import Path

import pytest
import torch
import yaml
from marks import thinned

from hqdm.cli.main import main
from hqdm.diffusion.loading import load_model
from hqdm.states.models.denoiser import StateDenoiser
from hqdm.states.runs.data import StateDataModule
from hqdm.states.runs.module import BackwardConfig, StateModule, build_state_module
from hqdm.storage.checkpoint import read_checkpoint

QGDM = {
    "data": {"ensemble": "low_rank_mixed", "n_states": 10, "n_val": 1, "batch_size": 1},
    "model": {
        "network": {"name": "TracedCircuit", "options": {"n_layers": 4}},
        "channel_options": {"n_steps": 10},
        "predict": "final",
        "lr": 0.03,
    },
    "trainer": {"max_steps": 150, "check_val_every_n_epoch": 5},
}
QUDDPM = {
    "data": {"ensemble": "cluster", "n_states": 50, "n_val": 50, "batch_size": 50},
    "model": {
        "network": {"options": {"n_layers": 2}},
        "channel": "scrambling",
        "channel_options": {"n_steps": 3, "h": [[1.0, 3.0, 3]]},
        "predict_options": {"batches": 4, "inputs": 60},
    },
    "trainer": {"max_steps": 12, "check_val_every_n_epoch": 100},
}
QGAN = {
    **QUDDPM,
    "model": {
        "network": {"options": {"n_layers": 2}},
        "channel": "scrambling",
        "channel_options": {"n_steps": 1, "h": [[1.0, 1.0, 1]]},
        "predict": "adversarial",
        "predict_options": {"discriminator_batches": 2, "generator_batches": 3},
    },
}
QUIET = ["--trainer.enable_progress_bar", "false", "--trainer.logger", "false"]


def fit(config, folder, *args):
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    return main(["fit", "--config", str(file), "--out", str(folder / "run"), *QUIET, *args])


def test_qgdm_learns_a_mixed_state(tmp_path):
    assert fit(QGDM, tmp_path) == 0
    model = load_model(tmp_path / "run", StateDenoiser)
    data = StateDataModule("low_rank_mixed", n_states=1, batch_size=1)
    data.setup()
    # Untrained, 1 - F is that of 1 / d, above 0.02 for this state.
    assert model.distance(data.train_set, torch.Generator()) < 1e-3


@pytest.mark.parametrize(
    "config", thinned([QUDDPM, QGAN], every=2), ids=["layerwise", "adversarial"]
)
def test_a_resumed_run_equals_one_that_was_not_interrupted(tmp_path, config):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    assert fit(config, tmp_path / "whole") == 0
    assert fit(config, tmp_path / "parts", "--trainer.max_steps", "7") == 0
    last = tmp_path / "parts" / "run" / "last.ckpt"
    assert fit(config, tmp_path / "parts", "--resume", str(last)) == 0
    ends = [read_checkpoint(tmp_path / name / "run" / "last.ckpt") for name in ("whole", "parts")]
    for key, tensor in ends[0].tensors.items():
        assert torch.equal(tensor, ends[1].tensors[key]), key
    loaded = StateModule.load_from_checkpoint(last)
    assert loaded.batches_seen == 12


CONFIGS = sorted((Path(__file__).parents[3] / "configs" / "states").glob("*.yaml"))


@pytest.mark.parametrize("file", thinned(CONFIGS, every=6), ids=lambda file: file.stem)
def test_every_configuration_trains(file, tmp_path):
    if "wasserstein" in file.read_text():
        pytest.importorskip("ot", reason="POT is of the extra states")
    out, few = str(tmp_path / "run"), ["--trainer.max_steps", "2", "--data.n_val", "10"]
    assert main(["fit", "--config", str(file), "--out", out, *QUIET, *few]) == 0
    module = StateModule.load_from_checkpoint(tmp_path / "run" / "last.ckpt")
    states = module.denoiser.generate(3, torch.Generator())
    assert states.isfinite().all()
    published = yaml.safe_load(file.read_text())
    batches = module.denoiser.objective.n_batches(module.denoiser.channel.n_steps)
    assert batches in (None, published["trainer"]["max_steps"])


@pytest.mark.parametrize(
    ("args", "message"),
    thinned(
        [
            (["--model.network.options.n_steps", "3"], "n_steps is set by model.channel_options"),
            (["--model.predict", "dream"], "objective of states 'dream'"),
            (["--model.channel", "sphere"], "channel 'sphere'"),
            (["--model.network.name", "UNet"], "backward model 'UNet'"),
            (["--data.n_qubits", "0"], "n_qubits"),
            (["--model.network.n_qubits", "2"], 'must be given via "data.n_qubits"'),
        ],
        every=2,
    ),
)
def test_options_that_cannot_be_used_are_one_line(tmp_path, capsys, args, message):
    assert fit(QUDDPM, tmp_path, *args) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.count("\n") == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("config", "args", "message"),
    [
        (QUDDPM, ["--data.as_density", "true"], "of kets and the data are density matrices"),
        (
            QUDDPM,
            ["--model.predict_options.inputs", "3"],
            "predict_options.inputs is 3, fewer than",
        ),
        (
            {**QUDDPM, "model": {"network": {}, "channel": "depolarising"}},
            [],
            "of density matrices and the data are kets",
        ),
    ],
)
def test_data_that_do_not_fit_the_model_are_one_line(tmp_path, capsys, config, args, message):
    assert fit(config, tmp_path, *args) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.count("\n") == 0
    assert not (tmp_path / "run").exists()


def test_kets_of_an_objective_of_their_average_are_accepted():
    data = StateDataModule("random_pure", n_states=2, n_val=1, batch_size=1)
    data.setup()
    build_state_module(BackwardConfig("TracedCircuit"), predict="final").check_run(data, 1)


def test_a_run_shorter_than_its_objective_is_noted():
    data = StateDataModule(n_states=2, n_val=1, batch_size=1)
    data.setup()
    channel = {"channel": "scrambling", "channel_options": {"n_steps": 3, "h": [[1.0, 3.0, 3]]}}
    module = build_state_module(BackwardConfig(), **channel, predict_options={"batches": 4})
    with pytest.warns(UserWarning, match="in 12 batches, and the run ends after 11"):
        module.check_run(data, 11)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module.check_run(data, 12)
