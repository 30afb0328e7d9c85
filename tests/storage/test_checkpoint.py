"""Checkpoints are read whole or refused in one line."""

import shutil
import zipfile

import numpy as np
import pytest
import torch

from hqdm.storage.checkpoint import read_checkpoint
from hqdm.utils.errors import HQDMError


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
    assert read_checkpoint(path)["global_step"] == 6
    with zipfile.ZipFile(path) as archive:
        tensor = next(m for m in archive.infolist() if m.filename.endswith("data/1"))
    flip(path, range(tensor.header_offset + 200, tensor.header_offset + 210))
    assert torch.load(path)  # torch does not look
    with pytest.raises(HQDMError, match="does not match its checksum"):
        read_checkpoint(path)
