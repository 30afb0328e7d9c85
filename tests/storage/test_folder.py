"""Model folders: plain files that rebuild the object, and what the hub would get."""

import json
import shutil

import pytest
import torch

from hqdm.diffusion.loading import load_denoiser
from hqdm.storage.folder import read_folder, write_folder
from hqdm.storage.formats import check_version
from hqdm.utils.errors import HQDMError


def test_folder_round_trip(tmp_path):
    tensors = {"a": torch.arange(6).view(2, 3).T, "b": torch.tensor(2.0, dtype=torch.float64)}
    write_folder(tmp_path / "new", {"x": [1, None]}, tensors)
    config, loaded = read_folder(tmp_path / "new")
    assert config == {"x": [1, None]}
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], value) for name, value in tensors.items())
    assert json.loads((tmp_path / "new" / "config.json").read_text())["format_version"] == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is damaged"),
        ("[]", "states no format_version"),
        ("{}", "states no format_version"),
        ('{"format_version": 4}', "has format version 4, this hqdm reads up to 3"),
        ('{"format_version": 0}', "is damaged: it has format version 0, expected 1 to 3"),
        ('{"format_version": -1}', "is damaged: it has format version -1, expected 1 to 3"),
        ('{"format_version": 1}', "is damaged .no denoiser"),
    ],
)
def test_damaged_configuration_is_refused(tmp_path, text, said):
    write_folder(tmp_path, {}, {"a": torch.zeros(1)})
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(HQDMError, match=said):
        read_folder(tmp_path)


def test_version_has_to_be_a_number():
    assert check_version({"format_version": 1}, 2, "it") == 1
    for wrong in ("1", True, None):
        with pytest.raises(HQDMError, match="it is not a file of hqdm"):
            check_version({"format_version": wrong}, 2, "it")


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    load_denoiser(trained / "last.ckpt").save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("network", 3, "network: expected keys with a name, got 3"),
        ("network.name", None, "network: expected keys with a name, got {"),
        ("network.dim", "wide", "network.dim: expected a whole number, got 'wide'"),
        ("network.dim", 8.0, "network.dim: expected a whole number, got 8.0"),
        ("network.heads", True, "network.heads: expected a whole number, got True"),
        ("network.mults", 3, "network.mults: expected a list of whole numbers, got 3"),
        ("network.mults", ["1", 2], "network.mults: expected a list of whole numbers, got ['1'"),
        ("network.n_classes", "x", "network.n_classes: expected a whole number or null, got 'x'"),
        ("network.hybrid", [1], "network.hybrid: expected keys with values or null, got [1]"),
        ("network.hybrid.vertex", 3, "network.hybrid.vertex: expected keys with values, got 3"),
        ("network.hybrid.vertex.groups", "x", "network.hybrid.vertex.groups: expected a whole n"),
        ("network.hybrid.vertex.n_layers", None, "network.hybrid.vertex.n_layers: expected a whol"),
        ("network.width", 3, "unknown option of the network 'UNet' 'width': expected one of"),
        ("schedule", None, "schedule: expected keys with a name, got None"),
        ("schedule.s", "x", "schedule.s: expected a number, got 'x'"),
        ("schedule.lam_min", None, "schedule.lam_min: expected a number, got None"),
        ("schedule.offset", 1, "unknown option of the schedule 'cosine' 'offset': expected one of"),
        ("objective.loss", 3, "objective.loss: expected text, got 3"),
        ("objective.weight", "p2", "objective.weight: expected keys with a name, got 'p2'"),
        ("objective.weight.gamma", "x", "objective.weight.gamma: expected a number, got 'x'"),
        ("objective.weight.g", 1, "unknown option of the weight 'p2' 'g': expected one of gamma"),
    ],
)
def test_the_key_of_a_value_of_another_type_is_named(exported, tmp_path, key, value, said):
    config = json.loads((exported / "config.json").read_text())
    *groups, last = key.split(".")
    place = config["denoiser"]
    for group in groups:
        place = place[group]
    place[last] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    shutil.copy(exported / "model.safetensors", tmp_path)
    with pytest.raises(HQDMError) as error:
        load_denoiser(tmp_path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
