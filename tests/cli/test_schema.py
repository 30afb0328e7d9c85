"""Every shipped configuration builds; real data trains a step and is sampled."""

import json
import math
from pathlib import Path

import pytest
import torch
from marks import slow, thinned

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.diffusion.loading import load_denoiser
from hqdm.diffusion.objective import P2, V
from hqdm.nn.parts import count, quantum_parameters
from hqdm.storage.checkpoint import read_checkpoint
from hqdm.study.file import words

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
PARAMETERS = {
    **{"mnist_unet": 483_321, "mnist_qvunet": 475_281, "mnist_fullqvunet": 429_369},
    **{"mnist_hybrid": 480_585, "fashion_hybrid": 480_585},
}


def test_configurations_are_found():
    assert {"digits_qvunet", "cifar10_qvunet", *PARAMETERS} <= {file.stem for file in CONFIGS}


@pytest.mark.parametrize("config", thinned(CONFIGS, every=5), ids=lambda file: file.stem)
def test_configuration_is_inspected(hqdm, config):
    outcome = hqdm("inspect", "--config", config)
    assert outcome.code == 0
    assert outcome.err == ""
    assert "total" in outcome.out
    if config.stem in PARAMETERS:
        assert f"{PARAMETERS[config.stem]:,}" in outcome.out


def test_the_hybrids_are_the_classical_network_with_other_convolutions():
    """904 parameters, 864 of them angles, in place of four convolutions of 910; one training."""
    classical = TrainingCLI(["--config", "mnist_unet"])
    for name in ("mnist_hybrid", "fashion_hybrid"):
        hybrid = TrainingCLI(["--config", name])
        network = hybrid.model.denoiser.network
        assert count(network.parameters()) == PARAMETERS["mnist_unet"] + 904 - 4 * 910
        assert count(quantum_parameters(network)) == 864
        (place,) = network.hybrid
        assert place == "encoder.0"
        assert network.hybrid[place].shift == math.pi / 2
        assert hybrid.model.options == classical.model.options
        assert hybrid.model.denoiser.objective == classical.model.denoiser.objective
        assert hybrid.datamodule.batch_size == classical.datamodule.batch_size
    assert hybrid.datamodule.name == "fashion_mnist"


def test_keys_reach_the_model(tiny):
    config = tiny(
        model__schedule="linear",
        model__schedule_options={"beta_1": 10.0},
        model__predict="v",
        model__loss="l1",
        model__p2_gamma=0.5,
        model__p2_k=2.0,
        model__lr=3e-4,
        model__betas=[0.8, 0.9],
        model__ema={"decay": 0.9, "every": 3, "start": 7},
        seed_everything=11,
    )
    module = TrainingCLI(["--config", str(config)]).model
    denoiser = module.denoiser
    assert denoiser.config["schedule"] == {"name": "linear", "beta_0": 0.1, "beta_1": 10.0}
    assert denoiser.objective == V(loss="l1", weight=P2(gamma=0.5, k=2.0))
    assert (module.lr, module.betas, module.seed) == (3e-4, (0.8, 0.9), 11)
    assert (module.ema.decay, module.ema.every, module.ema.start) == (0.9, 3, 7)
    assert denoiser.config["network"]["hybrid"]["vertex"]["ansatz"] == "HQConv"
    assert denoiser.sample_shape == (1, 8, 8)


def test_an_average_that_follows_the_run(tiny):
    config = tiny(model__ema={"sigma_rel": 0.1, "every": 1})
    ema = TrainingCLI(["--config", str(config)]).model.ema
    assert (ema.sigma_rel, ema.decay, ema.every, ema.start) == (0.1, None, 1, 100)
    flags = ("--model.ema.decay", "null", "--model.ema.sigma_rel", "0.2")
    assert TrainingCLI(["--config", str(tiny()), *flags]).model.ema.sigma_rel == 0.2


@pytest.mark.slow
def test_published_forms_from_yaml_and_flags_to_every_file(hqdm, refused, tiny, tmp_path):
    config = tiny(model__network__attention_norm="positions")
    flags = ("--model.network.gelu", "tanh", "--model.network.norm_eps", "1e-6")
    run, model = tmp_path / "run", tmp_path / "model"
    once = ("--out", run, "--trainer.max_steps", 1)
    assert hqdm("fit", "--config", config, *flags, *once).code == 0
    assert hqdm("export", "--checkpoint", run / "last.ckpt", "--out", model).code == 0
    published = {"attention_norm": "positions", "gelu": "tanh", "norm_eps": 1e-6}
    stated = json.loads((model / "config.json").read_text())["denoiser"]["network"]
    x, t = torch.randn(2, 1, 8, 8), torch.rand(2)
    outputs = []
    for source in (run / "last.ckpt", model):
        denoiser = load_denoiser(source)
        assert denoiser.config["network"] == stated
        assert stated.items() >= published.items()
        outputs.append(denoiser.network(x, t))
        shown = hqdm("inspect", "--checkpoint", source).out
        assert "attention_norm positions, gelu tanh, norm_eps 1e-06" in shown
    assert torch.equal(*outputs)
    again = ("--out", run, "--resume", run / "last.ckpt", "--trainer.max_steps", 2)
    assert "model.network.norm_eps" in refused("fit", "--config", config, *flags[:2], *again)
    assert hqdm("fit", "--config", run / "config.yaml", *again).code == 0
    # Weights go from one form to the other.
    other = ("--init-from", run / "last.ckpt", "--out", tmp_path / "other")
    assert hqdm("fit", "--config", tiny(), *other, "--trainer.max_steps", 1).code == 0


@pytest.mark.parametrize(
    ("option", "value"), [("attention_norm", "feature"), ("gelu", "fast"), ("norm_eps", "-1")]
)
def test_forms_that_do_not_exist(refused, tiny, tmp_path, option, value):
    change = (f"--model.network.{option}", value)
    assert option in refused("fit", "--config", tiny(), *change, "--out", tmp_path / "run")


@pytest.mark.slow
def test_a_control_of_all_circuits(tiny, tmp_path, refused):
    """One key for any network; a part of a U-Net keeps its own. Files without it are as before."""
    hybrid = {"channels_per_group": 1, "ansatz": "HQConv", "n_layers": 1}
    config = tiny(model__network__hybrid={"vertex": hybrid, "head": {**hybrid, "control": "zeros"}})
    flags, own = ("--model.network.control", "frozen"), {"vertex": None, "head": "zeros"}
    network = TrainingCLI(["--config", str(config), *flags]).model.denoiser.network
    assert {k: part.control for k, part in network.hybrid.items()} == {**own, "vertex": "frozen"}
    network = TrainingCLI(["--config", str(config)]).model.denoiser.network
    assert {k: part.control for k, part in network.hybrid.items()} == own
    command = ("fit", "--out", tmp_path / "run", *flags, "--config")
    assert "hybrid is empty" in refused(*command, tiny(model__network__hybrid={}))
    classical = tiny(model__network={"name": "SmallUNet"})
    assert "SmallUNet has none that a control replaces" in refused(*command, classical)


@pytest.mark.parametrize(
    "name", thinned(["uss_digits", "qdense_digits_guided", "qunet_digits"], every=3)
)
def test_a_control_of_a_study_keeps_the_model(name):
    """Its key is merged with the model's options, as in the arguments of a cell."""
    small = {"model": {"network": {"options": {"n_layers": 12}}}}
    control = {"model": {"network": {"control": "matched"}}}
    model, other = (
        TrainingCLI(words([name, *layers])).model.denoiser.network
        for layers in ([small], [small, control])
    )
    assert other.config == {**model.config, "control": "matched"}
    assert count(other.parameters()) == count(model.parameters())


@pytest.mark.slow
def test_a_control_that_is_not_trained(hqdm, tmp_path, same_run):
    """Trained and resumed by the command line, inspected, exported and sampled."""
    fit = ("fit", "--config", "uss_digits", "--model.network.control", "orthogonal")
    fit = (*fit, "--sample-every", 0, "--trainer.accelerator", "cpu", "--out")
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert hqdm(*fit, whole, "--trainer.max_steps", 3).code == 0
    assert hqdm(*fit, halves, "--trainer.max_steps", 2).code == 0
    resume = ("--resume", halves / "last.ckpt", "--trainer.max_steps", 3)
    assert hqdm(*fit, halves, *resume).code == 0
    same_run(read_checkpoint(whole / "last.ckpt"), read_checkpoint(halves / "last.ckpt"))
    shown = hqdm("inspect", "--checkpoint", whole).out
    assert "control orthogonal" in shown
    assert "the network is classical" in shown
    model = tmp_path / "model"
    assert hqdm("export", "--checkpoint", whole / "last.ckpt", "--out", model).code == 0
    sample = ("sample", "--checkpoint", model, "--n", 2, "--steps", 2, "--sampler")
    assert hqdm(*sample, "iterate", "--out", tmp_path / "images").code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "mnist_qvunet",
        slow("fashion_mnist_qvunet"),
        slow("mnist_hybrid"),
        slow("fashion_hybrid"),
        slow("cifar10_qvunet"),
    ],
)
def test_real_data_trains_one_step_and_is_sampled(hqdm, data_dir, tmp_path, repository, name):
    config = repository / "configs" / f"{name}.yaml"
    small = ("--data.batch_size", 8, "--data.val_limit", 8, "--trainer.max_steps", 1)
    out = tmp_path / "run"
    outcome = hqdm("fit", "--config", config, "--out", out, *small, "--offline")
    assert outcome.code == 0
    assert read_checkpoint(out / "last.ckpt").contents["global_step"] == 1
    sample = ("sample", "--checkpoint", out / "last.ckpt", "--n", 2, "--steps", 2)
    assert hqdm(*sample, "--out", tmp_path / "samples").code == 0
    assert (tmp_path / "samples" / "grid.png").exists()
