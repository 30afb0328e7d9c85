"""Files of the first format: they load, resume, and give the samples that they gave."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from marks import thinned
from safetensors.torch import load_file

from hqdm.diffusion.loading import load_denoiser
from hqdm.diffusion.objective import P2, Eps
from hqdm.generation.sampling import sample_images
from hqdm.samplers import DDIM, build_sampler
from hqdm.samplers.optimised import read_grid
from hqdm.storage.checkpoint import read_checkpoint
from hqdm.storage.formats import MODEL_VERSION, migrate_model
from hqdm.surrogate.learned import load_fit
from hqdm.training import DiffusionModule
from hqdm.utils.errors import HQDMError
from hqdm.utils.pixels import to_uint8

FORMAT_1 = Path(__file__).parents[1] / "fixtures" / "format_1"


@pytest.mark.parametrize("name", thinned(["last.ckpt", "export"], every=2))
def test_models_load_and_draw_what_they_drew(name):
    """Stored as uint8; rounding may differ between machines by a grey level."""
    denoiser = load_denoiser(FORMAT_1 / name)
    assert denoiser.objective == Eps(weight=P2(gamma=1.0, k=1.0))
    assert denoiser.config["network"]["name"] == "UNet"
    images = to_uint8(sample_images(denoiser, DDIM(5), 4).images)
    expected = load_file(FORMAT_1 / "ddim5.safetensors")["images"]
    assert (images.int() - expected.int()).abs().max() <= 1


def test_the_fit_of_a_checkpoint_still_belongs_to_it():
    denoiser = load_denoiser(FORMAT_1 / "last.ckpt")
    fit = load_fit(FORMAT_1 / "last.ckpt", denoiser)
    images = sample_images(denoiser, build_sampler("gaussian", 2, fit=fit), 2).images
    assert images.isfinite().all()
    assert fit.latents.dim == 2


def test_grids_are_read():
    denoiser = load_denoiser(FORMAT_1 / "last.ckpt")
    times = read_grid(FORMAT_1 / "grid.json", "unipc3", denoiser.schedule)
    assert times[0] == 1
    assert times[-1] == 0


def test_a_run_is_resumed(hqdm, tmp_path):
    """Three steps more, with the configuration that the run wrote; nothing is complained of."""
    shutil.copytree(FORMAT_1, tmp_path / "run")
    run = tmp_path / "run"
    more = ("--out", run, "--resume", run / "last.ckpt", "--trainer.max_steps", 8)
    outcome = hqdm("fit", "--config", run / "config.yaml", *more)
    assert outcome.code == 0, outcome.err
    assert "note:" not in outcome.err
    checkpoint = read_checkpoint(run / "last.ckpt").contents
    assert checkpoint["global_step"] == 8
    assert checkpoint["hqdm"]["format_version"] == MODEL_VERSION


def test_the_module_is_loaded_with_default_options():
    module = DiffusionModule.load_from_checkpoint(FORMAT_1 / "last.ckpt")
    state = read_checkpoint(FORMAT_1 / "last.ckpt").tensors
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert module.batches_seen == 5


@pytest.mark.parametrize("version", [1, 2])
def test_hqconv_of_older_files_is_not_interleaved(version):
    """In a part of a U-Net as in any other network; what a file states stays as it is."""
    quantum = {"groups": 1, "ansatz": "HQConv", "n_layers": 1}
    network = {"hybrid": {"vertex": quantum, "encoder.0": {**quantum, "ansatz": "FQConv"}}}
    old = {"network": {**network, "conv": quantum}, "schedule": {}}
    if version == 1:
        old |= {"predict": "eps", "loss": "mse", "p2_gamma": 1.0, "p2_k": 1.0}
    migrated = migrate_model(old, version)["network"]
    for found in (migrated["hybrid"]["vertex"], migrated["conv"]):
        assert found == {**quantum, "ansatz_options": {"interleaved": False}}
    assert migrated["hybrid"]["encoder.0"] == network["hybrid"]["encoder.0"]
    assert migrate_model(old, MODEL_VERSION) == old


@pytest.mark.slow
def test_a_resumed_run_keeps_its_gate_order(hqdm, tmp_path):
    """The configuration that the run wrote does not state it."""
    shutil.copytree(FORMAT_1, tmp_path / "run")
    run = tmp_path / "run"
    resume = ("--out", run, "--resume", run / "last.ckpt", "--trainer.max_steps", 6)
    assert hqdm("fit", "--config", run / "config.yaml", *resume).code == 0
    hybrid = load_denoiser(run / "last.ckpt").config["network"]["hybrid"]["vertex"]
    assert hybrid["ansatz_options"] == {"interleaved": False}
    assert "interleaved: false" in (run / "config.yaml").read_text()


def test_migration_leaves_the_newest_format_as_it_is():
    config = json.loads((FORMAT_1 / "export" / "config.json").read_text())["denoiser"]
    migrated = migrate_model(config, 1)
    assert migrate_model(migrated, MODEL_VERSION) == migrated
    with pytest.raises(HQDMError, match="cannot be read: 'predict'"):
        migrate_model({"network": {}, "schedule": {}}, 1)


def test_only_quantum_convolutions_that_do_not_state_their_order_are_migrated():
    stated = {"groups": 1, "ansatz": "HQConv", "ansatz_options": {"interleaved": True}}
    other = {"ansatz": "HQConv", "width": 3}  # of a network that is no quantum convolution
    old = {"network": {"a": stated, "b": other}, "schedule": {}}
    assert migrate_model(old, 2) == old
