"""Grids fitted to a denoiser by each method: measured on noise that they have not seen."""

import json

import pytest
import torch
from marks import thinned

from hqdm.diffusion.analytic import MixtureDenoiser
from hqdm.diffusion.loading import load_denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.samplers.grids import T_CUT, build_grid
from hqdm.samplers.optimised import noise_pair, optimise_grid
from hqdm.samplers.optimised.fit import REFERENCE_STEPS
from hqdm.samplers.registry import build_sampler
from hqdm.utils.errors import HQDMError

SCHEDULE = CosineSchedule()


@pytest.fixture
def denoiser():
    weights, means, variances = torch.tensor(
        [[0.4, 0.6], [-0.7, 0.5], [0.01, 0.02]], dtype=torch.float64
    )
    return MixtureDenoiser(weights, means, variances, SCHEDULE)


@pytest.fixture
def noises():
    return tuple(noise.double() for noise in noise_pair(0, 32, (1, 4, 4)))


def distance(denoiser, grid, x1, name="unipc3"):
    """To where the flow goes exactly, which the fit has not seen."""
    x0 = build_sampler(name, grid=grid)(denoiser, x1)
    start, end = torch.tensor([1.0, 0.0], dtype=torch.float64)
    return float((x0 - denoiser.flow(x1, start, end)).square().mean().sqrt())


@pytest.mark.slow
def test_fitted_grid_is_better_on_other_noise(denoiser, noises):
    x1, held_out = noises
    grid = optimise_grid(denoiser, "unipc3", 8, x1, held_out, trials=60)
    assert grid.after < 0.9 * grid.before
    even = build_grid("lambda", SCHEDULE, 1.0, 0.0, 8).tolist()
    assert distance(denoiser, grid.times, held_out) < 0.9 * distance(denoiser, even, held_out)
    assert (len(grid.times), grid.times[0], grid.times[-2:]) == (9, 1.0, [T_CUT, 0.0])
    assert grid.trials == 60
    assert optimise_grid(denoiser, "unipc3", 8, x1, held_out, trials=60) == grid


def test_progress_counts_the_reference_and_the_grids(denoiser, noises):
    told = []
    optimise_grid(denoiser, "ddim", 5, *noises, trials=9, progress=lambda *now: told.append(now))
    total = 2 * REFERENCE_STEPS
    steps = [("reference solutions", i, total) for i in range(total + 1)]
    assert told == [*steps, *(("grids", i, 9) for i in range(10))]


def test_more_trials_are_not_worse(denoiser, noises):
    """On the noise of the fit, of which the best grid is kept."""
    x1, _ = noises
    few, more = (optimise_grid(denoiser, "ddim", 5, x1, x1, trials=n) for n in (2, 30))
    assert more.after < few.after <= few.before


@pytest.mark.parametrize("steps", [4, 8, 12])
def test_steps_of_ddim_along_a_solution_are_chosen_better_than_even_ones(denoiser, noises, steps):
    """GITS: on other noise, and better than both even grids."""
    x1, held_out = noises
    grid = optimise_grid(denoiser, "ddim", steps, x1, held_out, method="gits")
    assert grid.after < grid.before
    found = distance(denoiser, grid.times, held_out, "ddim")
    for name in ("lambda", "time"):
        even = build_grid(name, SCHEDULE, 1.0, 0.0, steps).tolist()
        assert found < 0.99 * distance(denoiser, even, held_out, "ddim")
    assert found == pytest.approx(grid.after, rel=0.02)  # the reference has an error, too
    assert (len(grid.times), grid.times[0], grid.times[-1]) == (steps + 1, 1.0, 0.0)


@pytest.mark.parametrize("method", thinned(["gits", "ays"], every=2))
def test_dynamic_programming_does_not_depend_on_the_sampler(denoiser, noises, method):
    one, other = (
        optimise_grid(denoiser, name, 6, *noises, method=method) for name in ("ddim", "unipc3")
    )
    assert one.times == other.times
    assert one.after != other.after
    assert (one.method, one.trials) == (method, 1)
    assert optimise_grid(denoiser, "ddim", 6, *noises, method=method) == one


def test_the_noise_that_is_added_to_images_has_a_random_seed(denoiser, noises):
    times = [
        optimise_grid(denoiser, "ddim", 9, *(x[:1] for x in noises), method="ays", seed=seed).times
        for seed in (0, 1)
    ]
    assert times[0] != times[1]


def test_a_grid_of_as_many_steps_as_the_reference(denoiser, noises):
    """Which has no other nodes to choose."""
    reference = build_grid("lambda", SCHEDULE, 1.0, 0.0, REFERENCE_STEPS)
    for method in ("gits", "ays"):
        few = (noise[:2] for noise in noises)
        grid = optimise_grid(denoiser, "ddim", REFERENCE_STEPS, *few, method=method)
        assert grid.times == reference.tolist()


@pytest.mark.parametrize(("method", "nodes"), [("gits", 60), ("ays", 60)])
def test_progress_counts_the_nodes(denoiser, noises, method, nodes):
    told = []
    few = (noise[:1] for noise in noises)
    optimise_grid(denoiser, "ddim", 3, *few, method=method, progress=lambda *now: told.append(now))
    assert told[2 * REFERENCE_STEPS + 1 :] == [("costs", i, nodes) for i in range(nodes + 1)]


def test_one_trial_keeps_the_even_grid(denoiser, noises):
    grid = optimise_grid(denoiser, "ddim", 4, *noises, trials=1)
    assert grid.after == grid.before > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 2}, "steps of a grid to optimise needs a whole number from 3, got 2"),
        ({"steps": 10**9}, "needs a whole number up to 100000, got 1000000000"),
        ({"trials": 0}, "trials needs a whole number from 1, got 0"),
        ({"name": "ddpm"}, "ddpm is stochastic or adaptive"),
        ({"name": "dpm-adaptive"}, "dpm-adaptive is stochastic or adaptive"),
        ({"name": "dpm4"}, "unknown sampler 'dpm4'"),
        ({"method": "gist"}, "unknown method 'gist'.*did you mean 'gits'"),
        ({"method": "ays", "trials": 9}, "ays tries no grids: leave out trials"),
        ({"method": "gits", "trials": None, "steps": 61}, "a whole number up to 60, got 61"),
        ({"method": "ays", "trials": None, "name": "ddpm"}, "ddpm is stochastic or adaptive"),
    ],
)
def test_bad_input_is_named(denoiser, noises, change, said):
    options = {"name": "ddim", "steps": 4, "trials": 1, **change}
    x1, held_out = noises
    with pytest.raises(HQDMError, match=said):
        optimise_grid(denoiser, x1=x1, held_out=held_out, **options)


@pytest.mark.slow
def test_command_writes_a_grid_that_others_take(hqdm, refused, trained, tmp_path):
    model, path = ("--checkpoint", trained / "last.ckpt"), tmp_path / "grid.json"
    fit = ("optimise-grid", *model, "--steps", 3, "--n", 2, "--trials", 3, "--out", path)
    outcome = hqdm(*fit)
    assert outcome.code == 0
    grid = json.loads(path.read_text())
    errors = (
        f"{grid['before']:.4f} on the uniform grid in lambda, {grid['after']:.4f} on the new grid"
    )
    assert errors in outcome.out
    assert "already holds grid.json" in refused(*fit)
    drawing = ("--sampler", "unipc3", "--grid", path)
    out = tmp_path / "samples"
    assert hqdm("sample", *model, *drawing, "--n", 2, "--out", out).code == 0
    record = json.loads((out / "sample.json").read_text())
    assert (record["grid"], record["steps"]) == (grid["times"], 3)
    wrong = ("sample", *model, *drawing, "--steps", 4, "--out", tmp_path / "no")
    assert "the grid has 3 steps, got steps=4" in refused(*wrong)
    assert "there is no grid no.json" in refused("sample", *model, "--grid", "no.json")
    assert "needs a name that ends in .json, got grid" in refused(*fit[:-1], "grid")
    assert "n needs a whole number from 1, got 0" in refused(*fit, "--n", 0)


@pytest.mark.parametrize("method", thinned(["gits", "ays"], every=2))
def test_command_takes_a_method(hqdm, refused, trained, tmp_path, monkeypatch, method):
    monkeypatch.setattr("hqdm.samplers.optimised.fit.REFERENCE_STEPS", 5)
    model, path = ("--checkpoint", trained / "last.ckpt"), tmp_path / "grid.json"
    fit = ("optimise-grid", *model, "--method", method, "--steps", 3, "--n", 2, "--out", path)
    assert "tries no grids: leave out trials" in refused(*fit, "--trials", 3)
    assert hqdm(*fit).code == 0
    grid = json.loads(path.read_text())
    assert (grid["method"], grid["trials"]) == (method, 1)
    out = tmp_path / "samples"
    drawing = ("--sampler", "unipc3", "--grid", path, "--n", 1, "--out", out)
    assert hqdm("sample", *model, *drawing).code == 0
    assert json.loads((out / "sample.json").read_text())["grid"] == grid["times"]


@pytest.mark.slow  # scores twice
@pytest.mark.filterwarnings("ignore:.*are few for FID")
def test_evaluation_and_comparison_take_a_grid(hqdm, trained, tmp_path):
    """Restoration starts in between, where the sampler's own grid goes."""
    denoiser = load_denoiser(trained / "last.ckpt")
    noises = noise_pair(0, 2, denoiser.sample_shape)
    grid = optimise_grid(denoiser, "unipc3", 3, *noises, trials=3)
    path, out = tmp_path / "grid.json", tmp_path / "out"
    grid.write(path)
    common = ("--checkpoint", trained / "last.ckpt", "--data", "digits", "--n", 8, "--grid", path)
    assert hqdm("evaluate", *common, "--sampler", "unipc3", "--out", out).code == 0
    report = json.loads((out / "metrics.json").read_text())
    assert report["protocol"]["grid"] == grid.times
    plain = ("evaluate", *common[:-2], "--sampler", "unipc3", "--steps", 3, "--overwrite")
    assert hqdm(*plain, "--out", out).code == 0
    assert json.loads((out / "metrics.json").read_text())["restoration"] == report["restoration"]
    compared = ("compare-samplers", *common, "--samplers", "unipc3", "--nfe", "3")
    assert hqdm(*compared, "--out", tmp_path / "compared").code == 0
