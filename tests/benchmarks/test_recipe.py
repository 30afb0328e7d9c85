"""The comparison of recipes and the time to a FID: tiny, and interrupted."""

import json
import sys

import pytest
from marks import thinned


@pytest.fixture
def run(load, monkeypatch, tmp_path):
    """Runs a script of the benchmarks; returns the runs in its JSON file."""

    def main(name, file, *options):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", "--out", str(tmp_path), *options])
        load(name).main()
        return json.loads((tmp_path / file).read_text())["runs"]

    return main


@pytest.fixture
def recipes(run, load, monkeypatch):
    """Runs recipes with a tiny network on the digits, for a moment each."""
    script = load("recipe")
    monkeypatch.setattr(script, "DATA", "digits")
    monkeypatch.setattr(script, "NARROW", {"dim": 4, "mults": [1]})

    def main(*names, seconds="0.2"):
        options = ["--seconds", seconds, "--seeds", "1", "--n", "8", "--steps", "2"]
        return run("recipe", "recipe_8.json", *options, "--recipes", *names)

    return main


def line_of(file, name):
    (line,) = (line for line in file.read_text().splitlines() if line.startswith(f"| {name} |"))
    return line


@pytest.mark.slow
def test_recipes_are_trained_once_and_compared(recipes, tmp_path):
    cosine, muon = "v, lr 0.003, warm-up and cosine", "v, Muon"
    before = recipes("papers", muon)
    runs = recipes("papers", muon, cosine)
    assert runs[:2] == before
    assert [one["recipe"] for one in runs] == ["papers", muon, cosine]
    for one in runs:
        assert one["seconds"] >= 0.2
        assert min(one["steps"], one["x0_error"], one["fid"]) > 0
    ratio = runs[1]["fid"] / runs[0]["fid"]
    assert f"| {ratio:.4g} |" in line_of(tmp_path / "recipe_8.md", muon)
    with pytest.raises(SystemExit, match="other settings"):
        recipes("papers", seconds="0.3")


@pytest.mark.parametrize(
    ("name", "sigma_rel", "predict", "lr", "optimizer"),
    thinned(
        [
            ("papers", None, "eps", 0.001, "Adam"),
            ("v, lr 0.003, warm-up and cosine", 0.1, "v", 0.003, "Adam"),
            ("v, Muon", 0.1, "v", 0.001, "MuonAdam"),
        ],
        every=3,
    ),
)
def test_a_recipe_reaches_the_module(load, tmp_path, name, sigma_rel, predict, lr, optimizer):
    script = load("recipe")
    options = script.options_of(script.RECIPES[name], 8, 3, 2000, tmp_path)
    module = load("timed_training").TrainingCLI(options).model
    built, schedule = module.build_optimizer()
    assert (module.seed, module.ema.sigma_rel) == (3, sigma_rel)
    assert (module.denoiser.predict, type(built).__name__) == (predict, optimizer)
    assert built.param_groups[0].get("initial_lr", built.param_groups[0]["lr"]) == lr
    if schedule is not None:
        assert (schedule.warmup, schedule.total) == (100, 2000)
    assert (schedule is not None) == ("cosine" in name)


@pytest.mark.slow
def test_an_interrupted_run_is_taken_up_at_its_last_score(run, load, monkeypatch, tmp_path):
    """From the checkpoint of the last score, with the seconds before it."""
    fids = iter([9.0, 8.0, None, 7.0, 2.0])

    def next_fid(judge, denoiser):
        fid = next(fids)
        if fid is None:
            raise SystemExit("killed")
        return fid

    monkeypatch.setattr(load("timed_training").Judge, "fid", next_fid)
    config = tmp_path / "tiny.yaml"
    network = "{dim: 4, mults: [1]}"
    config.write_text(f"data: {{name: digits, size: 8}}\nmodel: {{network: {network}}}\n")
    options = ["--configs", str(config), "--data", "digits", "--runs", str(tmp_path / "runs")]
    options += ["--n", "8", "--first", "0.05", "--growth", "2", "--limit", "60"]
    with pytest.raises(SystemExit, match="killed"):
        run("time_to_fid", "time_to_fid.json", *options)
    (before,) = json.loads((tmp_path / "time_to_fid.json").read_text())["runs"]
    assert [score["fid"] for score in before["scores"]] == [9.0, 8.0]
    assert not before["finished"]
    (after,) = run("time_to_fid", "time_to_fid.json", *options)
    assert after["finished"]
    assert after["scores"][:2] == before["scores"]
    assert [score["fid"] for score in after["scores"]] == [9.0, 8.0, 7.0, 2.0]
    for key in ("seconds", "steps"):
        values = [score[key] for score in after["scores"]]
        assert values == sorted(values)
    (kept,) = (tmp_path / "runs" / "tiny").glob("*.ckpt")
    assert kept.stem == f"step_{after['scores'][-1]['steps']}"
    assert "| 2.00 |" in line_of(tmp_path / "time_to_fid.md", config)


def test_times_of_scores_grow_up_to_the_limit(load):
    assert load("time_to_fid").times(10, 2, 50) == [10, 20, 40, 50]
