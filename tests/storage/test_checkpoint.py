"""Training checkpoints: one schema, and every door refuses what does not follow it in one line."""

import re
import shutil
import zipfile
from copy import deepcopy

import numpy as np
import pytest
import torch
from marks import thinned

from hqdm.diffusion.loading import load_denoiser
from hqdm.storage.checkpoint import Checkpoint, ModuleOptions, read_checkpoint
from hqdm.training import DiffusionModule
from hqdm.utils.errors import HQDMError

MISSING = object()

DAMAGE = [
    ({"hqdm.seed": MISSING}, "it holds no 'seed'"),
    ({"hqdm.batches_seen": MISSING}, "it holds no 'batches_seen'"),
    ({"hqdm.frozen": MISSING}, "it holds no 'frozen'"),
    ({"hqdm.denoiser": MISSING}, "it holds no 'denoiser'"),
    ({"state_dict": MISSING}, "it holds no 'state_dict'"),
    ({"hqdm.seed": "0"}, "seed: expected a whole number, got '0'"),
    ({"hqdm.seed": -1}, "seed needs a whole number from 0, got -1"),
    ({"hqdm.batches_seen": 1.5}, "batches_seen: expected a whole number, got 1.5"),
    ({"hqdm.batches_seen": -6}, "batches_seen needs a whole number from 0, got -6"),
    ({"hqdm.frozen": "encoder"}, "frozen: expected a list of texts, got 'encoder'"),
    ({"hqdm.frozen": [1]}, "frozen: expected a list of texts, got [1]"),
    ({"hqdm.denoiser": [1]}, "denoiser: expected keys with values, got [1]"),
    ({"hqdm.module": 3}, "module: expected keys with values, got 3"),
    ({"hqdm.module": {"lr": "fast"}}, "module.lr: expected a number or null, got 'fast'"),
    ({"hqdm.module": {"ema_every": None}}, "module.ema_every: expected a whole number, got None"),
    ({"hqdm.module": {"rate": 1}}, "key of module 'rate': expected one of angle_lr_factor, betas"),
    ({"state_dict": [1]}, "state_dict: expected tensors by name"),
    ({"state_dict": {"denoiser.network": 3}}, "state_dict: expected tensors by name"),
    ({"state_dict": {3: torch.zeros(1)}}, "state_dict: expected tensors by name"),
]


def damaged(contents, changes):
    contents = deepcopy(contents)
    for name, value in changes.items():
        place, _, key = name.rpartition(".")
        holder = contents[place] if place else contents
        if value is MISSING:
            del holder[key]
        else:
            holder[key] = value
    return contents


@pytest.fixture(scope="module")
def contents(trained):
    return dict(read_checkpoint(trained / "last.ckpt").contents)


def test_a_whole_checkpoint_is_read(contents, trained):
    checkpoint = read_checkpoint(trained / "last.ckpt")
    assert (checkpoint.seed, checkpoint.batches_seen, checkpoint.frozen) == (0, 6, ())
    assert checkpoint.module["ema_decay"] == 0.5
    assert checkpoint.denoiser["network"]["name"] == "UNet"
    assert checkpoint.tensors.keys() == contents["state_dict"].keys()


def test_the_schema_has_the_options_of_the_module(trained):
    module = DiffusionModule.load_from_checkpoint(trained / "last.ckpt")
    assert {*module.options, "angle_lr_factor"} == set(
        ModuleOptions.__annotations__
    )  # stored if not 1
    without = {"lr": None, "betas": None}  # as a module with its own optimiser saves them
    other = damaged(torch.load(trained / "last.ckpt", weights_only=True), {})
    other["hqdm"]["module"] |= without
    assert Checkpoint.of(other, "it").module["lr"] is None


def test_the_first_name_of_an_option_is_read(contents):
    first = damaged(contents, {"hqdm.module": {"angle_lr": 3.0, "ema_every": 5}})
    assert Checkpoint.of(first, "it").module == {"angle_lr_factor": 3.0, "ema_every": 5}


@pytest.mark.parametrize(
    ("changes", "said"), thinned(DAMAGE, every=4), ids=[said[:40] for _, said in DAMAGE]
)
def test_every_door_refuses_a_damaged_checkpoint(contents, tmp_path, changes, said):
    path = tmp_path / "damaged.ckpt"
    torch.save(damaged(contents, changes), path)
    for door in (load_denoiser, DiffusionModule.load_from_checkpoint):
        with pytest.raises(HQDMError, match=re.escape(said)) as error:
            door(path)
        assert "damaged.ckpt is not a whole checkpoint: " in str(error.value)
        assert "\n" not in str(error.value)


def test_a_trainer_refuses_a_damaged_checkpoint(contents, trained):
    module = DiffusionModule.load_from_checkpoint(trained / "last.ckpt")
    with pytest.raises(HQDMError, match="the checkpoint is not a whole checkpoint: .*'seed'"):
        module.on_load_checkpoint(damaged(contents, {"hqdm.seed": MISSING}))


@pytest.mark.parametrize(
    ("changes", "said"),
    thinned(
        [
            *DAMAGE[::6],
            ({"loops": MISSING}, "it holds no 'loops'"),
            ({"optimizer_states": MISSING}, "it holds no 'optimizer_states'"),
            ({"optimizer_states": {}}, "optimizer_states: expected a list, got {}"),
            ({"ImageDataModule": 3}, "is of another run: data.name is None"),
            ({"ImageDataModule": MISSING}, "is of another run: data.name is None"),
        ],
        every=4,
    ),
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_no_run_is_resumed_from_a_damaged_checkpoint(
    refused, tiny, contents, tmp_path, changes, said
):
    path = tmp_path / "damaged.ckpt"
    torch.save(damaged(contents, changes), path)
    line = refused("fit", "--config", tiny(), "--resume", path, "--out", tmp_path / "run")
    assert said in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("dropped", "added"),
    thinned(
        [
            ("ema.n_averaged", None),
            ("ema.module.network.head.conv.bias", None),
            ("denoiser.network.head.conv.bias", None),
            (None, "denoiser.network.x"),
            (None, "x"),
        ],
        every=5,
    ),
)
def test_no_run_is_resumed_with_other_tensors(refused, tiny, contents, tmp_path, dropped, added):
    changed = damaged(contents, {})
    changed["state_dict"].pop(dropped, None)
    if added:
        changed["state_dict"][added] = torch.zeros(1)
    torch.save(changed, tmp_path / "other.ckpt")
    line = refused(
        *("fit", "--config", tiny(), "--resume", tmp_path / "other.ckpt"),
        *("--out", tmp_path / "run"),
    )
    assert "other.ckpt is of another architecture: " in line
    assert not (tmp_path / "run").exists()


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_no_code_in_a_checkpoint_is_run(contents, tmp_path):
    """Also not where everything that is read is in order."""
    mark = tmp_path / "exploded"
    torch.save({**contents, "extra": Bomb(mark)}, tmp_path / "bomb.ckpt")
    with pytest.raises(HQDMError, match="it holds more than tensors"):
        read_checkpoint(tmp_path / "bomb.ckpt")
    assert not mark.exists()


def test_a_truncated_file_is_named(trained, tmp_path):
    data = (trained / "last.ckpt").read_bytes()
    (tmp_path / "short.ckpt").write_bytes(data[: len(data) // 2])
    with pytest.raises(HQDMError, match=r"short.ckpt is not a whole checkpoint .*damaged"):
        read_checkpoint(tmp_path / "short.ckpt")


def flip(path, places):
    data = bytearray(path.read_bytes())
    for place in places:
        data[place] ^= 1
    path.write_bytes(data)


def test_flipped_bytes_of_a_run_are_refused(trained, refused, tmp_path):
    places = np.random.default_rng(0).integers((trained / "last.ckpt").stat().st_size, size=(8, 10))
    for chosen in places:
        path = shutil.copy(trained / "last.ckpt", tmp_path / "a.ckpt")
        flip(path, chosen)
        with pytest.raises(HQDMError, match="is damaged"):
            read_checkpoint(path)
    line = refused("sample", "--checkpoint", path, "--out", tmp_path / "out")
    assert "a.ckpt is damaged" in line


def test_old_archives_are_read_and_checked_by_their_own_checksums(trained, tmp_path):
    path = tmp_path / "old.ckpt"
    torch.save(torch.load(trained / "last.ckpt"), path)
    assert read_checkpoint(path).contents["global_step"] == 6
    with zipfile.ZipFile(path) as archive:
        tensor = next(m for m in archive.infolist() if m.filename.endswith("data/1"))
    flip(path, range(tensor.header_offset + 200, tensor.header_offset + 210))
    assert torch.load(path)  # torch does not look
    with pytest.raises(HQDMError, match="does not match its checksum"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"junk", b"PK junk", bytes(range(256))])
def test_files_of_other_contents_are_refused(content, tmp_path):
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(HQDMError, match=r"last\.ckpt "):
        read_checkpoint(tmp_path / "last.ckpt")
