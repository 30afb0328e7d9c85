"""The demo, shortened: the whole way from nothing to samples and scores."""

import json

import pytest
from marks import thinned

from hqdm.cli.commands import demo
from hqdm.utils.pictures import save_loss_curve


def test_demo_leaves_what_it_names(hqdm, refused, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "SAMPLER_STEPS", 2)
    monkeypatch.setattr(demo, "SCORED", 8)
    monkeypatch.setattr("hqdm.training.callbacks.save_loss_curve", save_loss_curve)  # a real one
    out = tmp_path / "demo"
    outcome = hqdm("demo", "--out", out, "--steps", 2)
    assert outcome.code == 0
    named = [line.removeprefix("wrote ") for line in outcome.out.splitlines() if "wrote" in line]
    assert {str(out / name) for name in (*demo.FILES, "loss.png")} == set(named)
    assert len(named) == len(set(named))
    for file in named:
        assert (tmp_path / file).stat().st_size > 100
    for measure in ("parameters", "validation loss", "FID", "KID", "SSIM", "PSNR", "seconds"):
        assert measure in outcome.out
    notes = [line for line in outcome.err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1
    assert "8 images are few" in notes[0]
    report = json.loads((out / "metrics.json").read_text())
    assert report["val_loss"] > 0
    assert report["protocol"]["n"] == 8
    assert "already holds a run" in refused("demo", "--out", out, "--steps", 2)
    assert hqdm("demo", "--out", out, "--steps", 1, "--overwrite").code == 0
    files = {f.relative_to(out).as_posix() for f in out.rglob("*") if f.is_file()}
    manifest = ".hqdm-manifest.json"
    assert set(json.loads((out / manifest).read_text())["files"]) == files - {manifest}


@pytest.mark.parametrize("name", thinned(demo.FILES, every=4))
def test_demo_leaves_files_that_are_there(refused, tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    assert f"already holds {name}: --overwrite" in refused("demo", "--out", tmp_path)
    assert [f.read_text() for f in tmp_path.rglob("*") if f.is_file()] == ["mine"]


def test_demo_needs_a_step(refused, tmp_path):
    assert "steps needs 1 or more, got 0" in refused("demo", "--out", tmp_path / "x", "--steps", 0)
    assert not (tmp_path / "x").exists()
