"""Checkpoints from disk: what is damaged, foreign, newer or unsafe is refused in one line."""

import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest
import torch

from hqdm.diffusion.loading import (
    checkpoint_in,
    find_model,
    load_denoiser,
    model_digest,
    model_file,
)
from hqdm.storage.checkpoint import read_checkpoint
from hqdm.utils.errors import HQDMError


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def last(trained):
    return trained / "last.ckpt"


def test_weights_of_both_kinds_are_those_of_the_checkpoint(last):
    state = read_checkpoint(last).tensors
    for weights, prefix in (("raw", "denoiser."), ("averaged", "ema.module.")):
        denoiser = load_denoiser(last, weights)
        assert not denoiser.training
        for name, value in denoiser.state_dict().items():
            assert torch.equal(value, state[prefix + name])


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.999])
def test_truncated_file_is_refused(last, tmp_path, keep):
    content = last.read_bytes()
    size = keep if keep > 1 else int(keep * len(content))
    (tmp_path / "part.ckpt").write_bytes(content[:size])
    with pytest.raises(HQDMError, match=r"part.ckpt is not a whole checkpoint .*damaged"):
        load_denoiser(tmp_path / "part.ckpt")


@pytest.mark.parametrize("content", [b"hello\n" * 99, bytes(range(256)) * 20, b"PK\x03\x04zip"])
def test_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "other.ckpt").write_bytes(content)
    with pytest.raises(HQDMError, match=r"other.ckpt is not a whole checkpoint"):
        load_denoiser(tmp_path / "other.ckpt")


def save_bare(content, path):
    """A plain pickle, without the archive that torch puts around it."""
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("save", [torch.save, save_bare])
def test_code_in_a_file_is_not_run(tmp_path, save):
    mark, path = tmp_path / "exploded", tmp_path / "bomb.ckpt"
    save({"hqdm": Bomb(mark)}, path)
    with pytest.raises(HQDMError, match=r"bomb.ckpt is not a whole checkpoint"):
        load_denoiser(path)
    assert not mark.exists()


@pytest.mark.parametrize("content", [[1], {"hqdm": 3}, {"state_dict": {}}, {"hqdm": {}}])
def test_checkpoint_of_another_program_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(HQDMError, match="is not a file of hqdm: it states no format_version"):
        load_denoiser(tmp_path / "other.ckpt")


def changed(last, tmp_path, **own):
    contents = dict(read_checkpoint(last).contents)
    contents["hqdm"] |= own
    torch.save(contents, tmp_path / "changed.ckpt")
    return tmp_path / "changed.ckpt"


def test_newer_format_is_refused(last, tmp_path):
    with pytest.raises(HQDMError, match="has format version 99, this hqdm reads up to 3: upgrade"):
        load_denoiser(changed(last, tmp_path, format_version=99))


def test_weights_that_do_not_fit_their_configuration_are_refused(last, tmp_path):
    config = read_checkpoint(last).denoiser
    wider = {**config, "network": {**config["network"], "dim": 10}}
    with pytest.raises(HQDMError, match=r"is of another architecture: network\.\S+ should be"):
        load_denoiser(changed(last, tmp_path, denoiser=wider))


def test_missing_pieces_are_named(last, tmp_path):
    torch.save({"hqdm": {"format_version": 1}}, tmp_path / "hollow.ckpt")
    with pytest.raises(HQDMError, match="is not a whole checkpoint: it holds no 'denoiser'"):
        load_denoiser(tmp_path / "hollow.ckpt")
    with pytest.raises(HQDMError, match=r"there is no model .*nosuch"):
        load_denoiser(tmp_path / "nosuch")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        HQDMError, match=r"empty holds no model: neither the last.ckpt of a run nor"
    ):
        load_denoiser(tmp_path / "empty")
    for nothing in (None, "", 3):
        with pytest.raises(HQDMError, match=r"on the hub \(owner/name\), got"):
            load_denoiser(nothing)


def test_the_shipped_model_has_a_name(tmp_path, monkeypatch):
    folder = find_model("mnist")
    assert {file.name for file in folder.iterdir()} >= {"config.json", "model.safetensors"}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()  # such as a data set
    assert find_model("mnist") == folder
    (tmp_path / "mnist" / "config.json").touch()  # a model of this name comes first
    assert find_model("mnist") == Path("mnist")


def test_names_on_the_hub_are_downloaded(monkeypatch, tmp_path):
    asked = []

    def download(name, allow_patterns):
        asked.append((name, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert find_model("someone/model") == tmp_path
    assert asked == [("someone/model", ["config.json", "model.safetensors"])]
    for path in ("runs/x/last.ckpt", "runs/last.ckpt", "./model", "model", "/no/model"):
        assert find_model(path) == Path(path)
    assert len(asked) == 1


def test_the_home_folder_is_expanded(monkeypatch, tmp_path, last):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run").symlink_to(last.parent)
    assert find_model("~/run") == tmp_path / "run"
    assert load_denoiser("~/run/last.ckpt").sample_shape == load_denoiser(last).sample_shape


def test_a_misspelt_path_is_not_asked_of_the_hub(monkeypatch, tmp_path):
    (tmp_path / "runs" / "mnist_qvunet").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", None)
    said = r"^there is no model runs/mnist_qvnet: .* \(did you mean 'runs/mnist_qvunet'\?\)$"
    with pytest.raises(HQDMError, match=said):
        find_model("runs/mnist_qvnet")
    with pytest.raises(HQDMError, match="did you mean 'runs/mnist_qvunet'"):
        load_denoiser("./runs/mnist_qvune")


def test_what_is_neither_here_nor_on_the_hub(monkeypatch):
    def download(name, allow_patterns):
        raise OSError("404")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    said = r"^there is no model some/one: neither a file nor a folder .*"
    with pytest.raises(HQDMError, match=rf"{said}: no model of this name on the hub \(404\)$"):
        find_model("some/one")


def test_an_exported_model_comes_before_a_checkpoint_in_its_folder(tmp_path):
    (tmp_path / "last.ckpt").touch()
    assert checkpoint_in(tmp_path) == tmp_path / "last.ckpt"
    (tmp_path / "config.json").touch()
    assert checkpoint_in(tmp_path) == tmp_path


def test_an_exported_model_has_one_set_of_weights():
    with pytest.raises(HQDMError, match="has one set of weights: raw ones are in a checkpoint"):
        load_denoiser("mnist", "raw")


def test_a_model_is_named_by_the_digest_of_its_weights(trained, tmp_path):
    """The same file for a checkpoint and its folder; the weights of an exported folder."""
    content = (trained / "last.ckpt").read_bytes()
    assert model_file(trained) == model_file(trained / "last.ckpt") == trained / "last.ckpt"
    assert model_digest(trained) == hashlib.sha256(content).hexdigest()
    load_denoiser(trained).save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    assert model_file(tmp_path) == weights
    assert model_digest(tmp_path) == hashlib.sha256(weights.read_bytes()).hexdigest()
    origin = json.loads((tmp_path / "config.json").read_text())["provenance"]
    assert set(origin) == {"versions", "git", "host", "time"}
