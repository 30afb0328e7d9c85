"""The commands for models of quantum states."""

import json

import numpy as np
import pytest
import torch
import yaml

from hqdm.cli.main import main
from hqdm.diffusion.loading import model_digest
from hqdm.states.models import StateDenoiser
from hqdm.states.runs.sampling import sample_states

QUDDPM = {
    "data": {"ensemble": "cluster", "n_states": 20, "n_val": 1, "batch_size": 10},
    "model": {
        "network": {"options": {"n_layers": 2}},
        "channel": "scrambling",
        "channel_options": {"n_steps": 3, "h": [[1.0, 3.0, 3]]},
        "predict_options": {"batches": 1, "inputs": 10},
    },
    "trainer": {"max_steps": 3, "logger": False, "enable_progress_bar": False},
}
QGDM = {
    "data": {"ensemble": "low_rank_mixed", "n_states": 1, "n_val": 1, "batch_size": 1},
    "model": {
        "network": {"name": "TracedCircuit", "options": {"n_layers": 2}},
        "channel_options": {"n_steps": 4},
        "predict": "final",
    },
    "trainer": {"max_steps": 1, "logger": False, "enable_progress_bar": False},
}


@pytest.fixture(scope="module", params=[QUDDPM, QGDM], ids=["quddpm", "qgdm"])
def run(request, tmp_path_factory):
    """The folder of a run with its configuration; tests only read it."""
    folder = tmp_path_factory.mktemp("states")
    (folder / "fit.yaml").write_text(yaml.safe_dump(request.param))
    assert main(["fit", "--config", str(folder / "fit.yaml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def exported(run):
    folder = run.parent / "exported"
    assert main(["export", "--checkpoint", str(run), "--out", str(folder)]) == 0
    return folder


def test_sample_writes_states_of_a_run_and_of_its_export(hqdm, run, exported, tmp_path):
    for source, name in ((run, "of_run"), (exported, "of_export")):
        outcome = hqdm("sample", "--checkpoint", source, "--n", 5, "--out", tmp_path / name)
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out.startswith("5 states: ")
    files = [tmp_path / name / "samples.npz" for name in ("of_run", "of_export")]
    assert files[0].read_bytes() == files[1].read_bytes()
    record = json.loads((tmp_path / "of_run" / "sample.json").read_text())
    assert (record["n"], record["seed"]) == (5, 0)
    assert record["checkpoint_sha256"] == model_digest(run)


def test_sample_draws_states_of_a_run_beside_its_data(hqdm, refused, run, exported, tmp_path):
    words = ("sample", "--checkpoint", run, "--n", 5, "--out", tmp_path / "run")
    written = hqdm(*words).out
    for name in ("bloch_strip.png", "observables.png"):
        assert str(tmp_path / "run" / name) in written
        assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")
    (tmp_path / "run" / "samples.npz").unlink()
    assert "already holds" in refused(*words)
    of_export = hqdm("sample", "--checkpoint", exported, "--n", 5, "--out", tmp_path / "export")
    assert "no pictures: an exported model does not name the ensemble of its run" in of_export.out
    assert not list((tmp_path / "export").glob("*.png"))


def test_the_exported_model_is_that_of_the_run(exported, hqdm, tmp_path):
    model = StateDenoiser.from_pretrained(exported)
    assert hqdm("sample", "--checkpoint", exported, "--n", 4, "--out", tmp_path).code == 0
    with np.load(tmp_path / "samples.npz") as arrays:
        found = torch.from_numpy(arrays["states"])
    assert torch.equal(found, sample_states(model, 4).states)


def test_the_card_runs(exported, monkeypatch):
    monkeypatch.chdir(exported)
    code = (exported / "README.md").read_text().split("```python\n")[1].split("```")[0]
    names = {}
    exec(code, names)
    assert len(names["states"]) == 16


def test_samples_are_not_replaced(hqdm, refused, exported, tmp_path):
    words = ("sample", "--checkpoint", exported, "--n", 2, "--out", tmp_path)
    assert hqdm(*words).code == 0
    assert "already holds samples.npz, sample.json: --overwrite" in refused(*words)
    assert hqdm(*words, "--overwrite").code == 0


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        (("--sampler", "ddim"), "--sampler"),
        (("--steps", 3), "--steps"),
        (("--guidance", 1.0), "--guidance"),
        (("--label", "3"), "--label"),
        (("--save", "png"), "--save"),
        (("--devices", 2), "--processes"),
    ],
)
def test_options_of_images_are_refused(refused, exported, tmp_path, given, flag):
    line = refused("sample", "--checkpoint", exported, *given, "--out", tmp_path / "out")
    assert line == f"error: {flag} does not apply to a model of quantum states: leave it out"


def test_other_commands_are_of_images(refused, exported, tmp_path):
    words = ("--images", "digits:0", "digits:1", "--out", tmp_path / "out")
    line = refused("interpolate", "--checkpoint", exported, *words)
    assert "is a model of quantum states: expected a model of images" in line


def test_evaluate_scores_a_run(hqdm, run):
    outcome = hqdm("evaluate", "--checkpoint", run, "--n", 8)
    assert (outcome.code, outcome.err) == (0, "")
    for text in ("fidelity of the averages", "MMD²", "Petz chain"):
        assert text in outcome.out
    report = json.loads((run / "evaluation" / "metrics.json").read_text())
    assert report["protocol"]["n"] == 8
    assert report["checkpoint_sha256"] == model_digest(run)


def test_evaluate_of_an_exported_model_takes_the_data_of_a_configuration(
    hqdm, refused, exported, run, tmp_path
):
    out = ("--n", 8, "--out", tmp_path / "report")
    line = refused("evaluate", "--checkpoint", exported, *out)
    assert "does not name the ensemble of its run: name the configuration" in line
    configuration = ("--data", run.parent / "fit.yaml")
    assert hqdm("evaluate", "--checkpoint", exported, *configuration, *out).code == 0
    of_export = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert hqdm("evaluate", "--checkpoint", run, "--n", 8, "--out", tmp_path / "run").code == 0
    of_run = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert of_export["scores"] == of_run["scores"]


def test_evaluate_refuses_what_is_of_images(refused, run, exported, tmp_path):
    out = ("--out", tmp_path / "report")
    line = refused("evaluate", "--checkpoint", run, "--extractor", "digits", *out)
    assert line.startswith("error: --extractor does not apply to a model of quantum states")
    line = refused("evaluate", "--checkpoint", exported, "--data", "digits_qvunet", *out)
    assert "--data is a configuration of images: name one of quantum states" in line


def test_evaluate_of_images_needs_a_data_set(refused):
    assert "the following arguments are required: --data" in refused(
        "evaluate", "--checkpoint", "mnist"
    )


def test_inspect_shows_a_run_and_its_configuration(hqdm, run):
    sources = (("--checkpoint", run), ("--config", run.parent / "fit.yaml"))
    texts = [hqdm("inspect", *source) for source in sources]
    assert [text.err for text in texts] == ["", ""]
    assert texts[0].out == texts[1].out
    for expected in ("for states of 1 qubit", "channel: ", "objective: ", "depth: ", "control"):
        assert expected in texts[0].out


def test_inspect_of_an_exported_model_has_no_controls(hqdm, exported):
    outcome = hqdm("inspect", "--checkpoint", exported)
    assert outcome.code == 0
    assert "controls: unknown, an exported model does not name the ensemble" in outcome.out


def test_inspect_refuses_what_is_of_images(refused, exported):
    line = refused("inspect", "--checkpoint", exported, "--spectrum")
    assert line == "error: --spectrum does not apply to a model of quantum states: leave it out"
