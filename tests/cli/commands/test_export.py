"""`hqdm export`, and the choice of weights that other commands share."""

import shutil

import pytest
import torch
from marks import thinned
from safetensors.torch import load_file

from hqdm.diffusion.loading import load_denoiser


@pytest.fixture
def run(trained, tmp_path):
    """A folder with the checkpoint of a run."""
    (tmp_path / "run").mkdir()
    shutil.copy(trained / "last.ckpt", tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_a_run_is_not_hidden_by_an_exported_model(refused, run, more):
    line = refused("export", "--checkpoint", run, "--out", run, *more)
    assert f"{run} is the folder of a run, whose last.ckpt the exported model would hide" in line
    assert [file.name for file in run.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("weights", thinned(["averaged", "raw"], every=2))
def test_weights_of_both_kinds_are_exported_and_drawn(hqdm, run, tmp_path, weights):
    options = ("--checkpoint", run, "--weights", weights)
    assert hqdm("export", *options, "--out", tmp_path / "out").code == 0
    found = load_file(tmp_path / "out" / "model.safetensors")
    expected = load_denoiser(run, weights).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    few = ("--n", 2, "--steps", 2, "--sampler", "ddim")
    assert hqdm("sample", *options, *few, "--out", tmp_path / "direct").code == 0
    again = ("--checkpoint", tmp_path / "out", *few, "--out", tmp_path / "exported")
    assert hqdm("sample", *again).code == 0
    files = (tmp_path / name / "images.safetensors" for name in ("direct", "exported"))
    drawn, same = (load_file(file)["images"] for file in files)
    assert torch.equal(drawn, same)
