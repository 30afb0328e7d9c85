"""Flipped bytes in any file that hqdm writes are refused; files without digests are read."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from hqdm.diffusion.loading import load_denoiser
from hqdm.diffusion.schedule import CosineSchedule, schedule_config
from hqdm.samplers.optimised import OptimisedGrid, read_grid
from hqdm.storage.checkpoint import write_checkpoint
from hqdm.storage.digests import check_archive, digest_of, sealed
from hqdm.surrogate.fit import CarlemanFit, fit_carleman
from hqdm.surrogate.fit_files import fit_path
from hqdm.utils.errors import HQDMError


def flip(path, places):
    data = bytearray(path.read_bytes())
    for place in places:
        data[place] ^= 1
    path.write_bytes(data)


def test_every_flipped_byte_of_a_checkpoint_is_found(tmp_path):
    path = tmp_path / "a.ckpt"
    write_checkpoint({"w": torch.arange(4.0)}, path)
    data = path.read_bytes()
    check_archive(data, path)
    assert torch.equal(torch.load(path)["w"], torch.arange(4.0))
    for place in range(len(data)):
        wrong = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(HQDMError, match="does not match its checksum"):
            check_archive(wrong, path)


def test_other_data_have_no_digest_to_check():
    for data in (b"", b"abc", bytes(1000)):
        check_archive(data, "it")
    with pytest.raises(HQDMError):
        check_archive(sealed(bytes(100))[:-1] + b"x", "it")


@pytest.mark.slow
def test_model_folder(trained, tmp_path):
    model = tmp_path / "model"
    load_denoiser(trained).save_pretrained(model)
    load_denoiser(model)
    header = (model / "config.json").read_text()
    size = (model / "model.safetensors").stat().st_size
    flip(model / "model.safetensors", range(size // 2, size // 2 + 10))
    with pytest.raises(HQDMError, match=r"model.safetensors is damaged .*checksum"):
        load_denoiser(model)
    plain = json.loads(header)
    del plain["sha256"]
    (model / "config.json").write_text(json.dumps(plain))
    load_denoiser(model)  # as an earlier version wrote it
    load_denoiser(trained).save_pretrained(model)
    (model / "config.json").write_text(header.replace('"gamma": 1.0', '"gamma": 1.5'))
    with pytest.raises(HQDMError, match=r"config.json is damaged .*checksum"):
        load_denoiser(model)


def test_grid(tmp_path):
    schedule = CosineSchedule()
    settings = {"before": 0.2, "after": 0.1, "n": 1, "seed": 0, "trials": 9}
    times = [1.0, 0.5, 0.25, 0.0]
    path = tmp_path / "grid.json"
    OptimisedGrid("unipc3", 3, dict(schedule_config(schedule)), times, **settings).write(path)
    assert read_grid(path, "unipc3", schedule) == times
    text = path.read_text()
    path.write_text(text.replace("0.25", "0.35"))
    with pytest.raises(HQDMError, match="does not match its checksum"):
        read_grid(path, "unipc3", schedule)
    plain = json.loads(text)
    del plain["sha256"]
    path.write_text(json.dumps(plain))
    assert read_grid(path, "unipc3", schedule) == times


def test_carleman_fit(trained, tmp_path):
    path = fit_path(shutil.copy(trained / "last.ckpt", tmp_path / "a.ckpt"))
    images = torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8)
    fit = fit_carleman(load_denoiser(trained), images, 2, target="noise", samples=50, nodes=4)
    fit.save(path)
    assert (CarlemanFit.load(path).noise.values == fit.noise.values).all()
    size = path.stat().st_size
    with safe_open(path, "numpy") as file:
        header = json.loads(file.metadata()["carleman"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    flip(path, range(size - 10, size))
    with pytest.raises(HQDMError, match="does not match its checksum"):
        CarlemanFit.load(path)
    for changes, damaged in (({"scale": 2.0}, True), ({"sha256": None}, False)):
        changed = {"carleman": json.dumps(header | changes)}
        save_file(tensors, path, metadata=changed)
        if damaged:
            with pytest.raises(HQDMError, match="does not match its checksum"):
                CarlemanFit.load(path)
        else:
            CarlemanFit.load(path)


def test_digest_depends_on_names_types_and_shapes():
    arrays = {"a": np.zeros(4), "b": np.ones(2)}
    changed = (
        *({"a": np.zeros(4)}, {"a": arrays["a"], "c": arrays["b"]}),
        *({**arrays, "a": np.zeros((2, 2))}, {**arrays, "a": np.zeros(8, dtype=np.float32)}),
    )
    digests = {digest_of(plain, arrays) for plain in ({}, {"x": 1}, {"x": 1.5})}
    digests |= {digest_of({}, other) for other in changed}
    assert len(digests) == 3 + len(changed)
    assert digest_of({"a": 1, "b": (2,)}) == digest_of({"b": [2], "a": 1})
