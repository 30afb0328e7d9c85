"""The file of a fit: its place, its digest, and files that are none."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hqdm.surrogate.fit_files import fit_path, read_fit, write_fit
from hqdm.utils.errors import HQDMError


def test_what_is_read_is_what_was_written(tmp_path):
    path = tmp_path / "fit.safetensors"
    tensors = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.zeros(0)}
    write_fit(path, {"degree": 2, "record": {"seed": 1}}, tensors)
    header, found = read_fit(path)
    assert {key: header[key] for key in ("degree", "record")} == {
        "degree": 2,
        "record": {"seed": 1},
    }
    assert "sha256" not in header
    assert set(found) == {"a", "b"}
    np.testing.assert_array_equal(found["a"], tensors["a"])


def test_a_changed_number_is_noticed(tmp_path):
    path = tmp_path / "fit.safetensors"
    write_fit(path, {}, {"a": np.ones(3)})
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert (load_file(path)["a"] != 1).any()
    with pytest.raises(HQDMError, match="is damaged"):
        read_fit(path)


def test_the_file_lies_beside_the_model(trained, tmp_path):
    name = "carleman.safetensors"
    assert fit_path(tmp_path / "best.ckpt") == tmp_path / f"best.{name}"
    assert fit_path(trained) == trained / f"last.{name}"  # the folder of a run
    assert fit_path(tmp_path) == tmp_path / name  # an exported folder


def test_a_file_without_a_header_and_no_file_are_refused(tmp_path):
    with pytest.raises(HQDMError, match="there is no Carleman fit .*: run `hqdm carleman fit`"):
        read_fit(tmp_path / "nothing")
    save_file({"mean": np.zeros(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(HQDMError, match="is not a fit of `hqdm carleman fit`"):
        read_fit(tmp_path / "plain.safetensors")
