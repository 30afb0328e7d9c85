"""`hqdm carleman wave`: its tables and its picture, and what it refuses."""

import json

import pytest
from marks import thinned
from surrogate_fits import fitted

from hqdm.data.images import load_images
from hqdm.diffusion.loading import load_denoiser
from hqdm.surrogate.fit import fit_carleman
from hqdm.surrogate.fit_files import fit_path
from hqdm.surrogate.waves.report import WAVES
from hqdm.surrogate.waves.study import Waves, study

QUICK = ("--qubits", "4", "--steps", 4, "--products", "2,4", "--n", 20)


@pytest.fixture(scope="module")
def checkpoint(trained, tmp_path_factory):
    """A checkpoint with a fit of two latents beside it."""
    path = tmp_path_factory.mktemp("fitted") / "last.ckpt"
    path.write_bytes((trained / "last.ckpt").read_bytes())
    images = load_images("digits", "train").images
    options = {"target": "noise", "samples": 2000, "nodes": 12}
    fit_carleman(load_denoiser(path), images, 2, 2, **options).save(fit_path(path))
    return path


@pytest.mark.slow
def test_tables_and_picture_are_written(hqdm, checkpoint, tmp_path):
    out = tmp_path / "out"
    code, said, _ = hqdm("carleman", "wave", "--checkpoint", checkpoint, *QUICK, "--out", out)
    assert code == 0
    assert {file.name for file in out.iterdir()} == set(WAVES.names)
    report = json.loads((out / "waves.json").read_text())
    assert len(report["probabilities"]) == 256
    assert [row["steps"] for row in report["products"]] == [2, 4]
    page = (out / "waves.md").read_text()
    assert page.count("| difference") == 3
    assert "the density of the flow sums to" in said
    assert (out / "waves.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_one_latent_is_drawn_as_a_line(tmp_path):
    report = study(fitted(1), Waves("", qubits=(4,), steps=4, products=(2,), n=20))
    WAVES.write(report, tmp_path)
    assert (tmp_path / "waves.png").read_bytes()[:4] == b"\x89PNG"
    assert "flow of 1 latents" not in (tmp_path / "waves.md").read_text()


@pytest.mark.parametrize(
    ("words", "line"),
    thinned(
        [
            (("--qubits", "9"), "qubits of a coordinate needs a whole number up to 8, got 9"),
            (("--qubits", "3"), "difference6 needs 4 qubits or more per coordinate, got 3"),
            (("--extent", -1), "the extent of a grid needs a positive number, got -1"),
            (("--products", "a"), "whole numbers from 1, separated by commas, got 'a'"),
            (("--fit", "nowhere"), "no Carleman fit nowhere"),
        ],
        every=3,
    ),
)
def test_bad_input_is_refused_in_one_line(refused, checkpoint, tmp_path, words, line):
    out = ("--out", tmp_path / "out")
    assert line in refused("carleman", "wave", "--checkpoint", checkpoint, *QUICK, *out, *words)
