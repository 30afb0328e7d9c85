"""Grids fitted to a denoiser: better on noise they have not seen, and for nothing else."""

import json

import pytest
import torch

from hqdm.diffusion.analytic import MixtureDenoiser
from hqdm.diffusion.loading import load_denoiser
from hqdm.diffusion.schedule import CosineSchedule, LinearSchedule
from hqdm.samplers.grids import T_CUT, build_grid
from hqdm.samplers.optimised import (
    REFERENCE_STEPS,
    noise_pair,
    optimise_grid,
    read_grid,
    times_of,
)
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


def distance(denoiser, grid, x1):
    """To where the flow goes exactly, which the search has not seen."""
    x0 = build_sampler("unipc3", grid=grid)(denoiser, x1)
    start, end = torch.tensor([1.0, 0.0], dtype=torch.float64)
    return float((x0 - denoiser.flow(x1, start, end)).square().mean().sqrt())


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


def test_no_weights_are_the_even_grid():
    times = times_of(SCHEDULE, torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(
        torch.tensor(times).double(), build_grid("lambda", SCHEDULE, 1.0, 0.0, 7)
    )


def test_weights_are_shares_of_the_way_in_lambda():
    times = times_of(SCHEDULE, torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64).log() + 3)
    lam = SCHEDULE.lam(torch.tensor(times[:-1]).double())
    steps = lam.diff() / (lam[-1] - lam[0])
    torch.testing.assert_close(steps[1:], torch.tensor([2 / 3, 1 / 3]).double())


def test_one_trial_keeps_the_even_grid(denoiser, noises):
    grid = optimise_grid(denoiser, "ddim", 4, *noises, trials=1)
    assert grid.after == grid.before > 0


def test_file_brings_the_times_back(denoiser, noises, tmp_path):
    grid = optimise_grid(denoiser, "unipc2", 3, *noises, trials=3)
    grid.write(tmp_path / "grid.json")
    assert read_grid(tmp_path / "grid.json", "unipc2", SCHEDULE) == grid.times
    with pytest.warns(
        UserWarning, match="was fitted for unipc2 and may be less accurate with ddim"
    ):
        read_grid(tmp_path / "grid.json", "ddim", SCHEDULE)
    with pytest.raises(HQDMError, match="was fitted for the schedule .*cosine.*linear"):
        read_grid(tmp_path / "grid.json", "unipc2", LinearSchedule())
    with pytest.raises(HQDMError, match="there is no grid"):
        read_grid(tmp_path / "other.json", "unipc2", SCHEDULE)
    for damaged in ("{", "[1]", "{}"):
        (tmp_path / "grid.json").write_text(damaged)
        with pytest.raises(HQDMError, match="is not a grid of `hqdm optimise-grid`"):
            read_grid(tmp_path / "grid.json", "unipc2", SCHEDULE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 2}, "steps of a grid to optimise needs a whole number from 3, got 2"),
        ({"steps": 10**9}, "needs a whole number up to 100000, got 1000000000"),
        ({"trials": 0}, "trials needs a whole number from 1, got 0"),
        ({"name": "ddpm"}, "ddpm is stochastic or adaptive"),
        ({"name": "dpm-adaptive"}, "dpm-adaptive is stochastic or adaptive"),
        ({"name": "dpm4"}, "unknown sampler 'dpm4'"),
    ],
)
def test_bad_input_is_named(denoiser, noises, change, said):
    options = {"name": "ddim", "steps": 4, "trials": 1, **change}
    x1, held_out = noises
    with pytest.raises(HQDMError, match=said):
        optimise_grid(denoiser, x1=x1, held_out=held_out, **options)


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
