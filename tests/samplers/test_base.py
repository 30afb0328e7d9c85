"""The driver: grid, evaluations, callbacks, trajectories, noise of each image's own."""

import pytest
import torch

from hqdm.diffusion.analytic import GaussianDenoiser
from hqdm.diffusion.objective import Prediction
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.samplers import DDIM, DDPM, AdaptiveDPMSolver, DPMSolver, DPMSolverPP, UniPC
from hqdm.samplers.registry import SAMPLERS, build_sampler
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise

NETWORK = [name for name, entry in SAMPLERS.items() if entry.network]
FIXED = [name for name in NETWORK if not SAMPLERS[name].adaptive]


@pytest.fixture
def denoiser():
    return GaussianDenoiser(torch.tensor(0.2), torch.tensor(0.5), CosineSchedule())


@pytest.fixture
def x1():
    return ImageNoise(0, 6).draw((1, 3, 3))


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("steps", [1, 2, 13])
def test_evaluations_are_counted_and_the_end_is_finite(denoiser, x1, name, steps):
    sampler = build_sampler(name, steps)
    result = sampler.run(denoiser, x1, return_trajectory=True)
    assert result.evaluations == (steps - 1) * sampler.evaluations_per_step + 1
    assert sampler.steps_for(result.evaluations) == steps
    assert sampler.steps_for(1) == 1
    assert result.trajectory.shape == (steps + 1, *x1.shape)
    assert (result.times.diff() < 0).all()
    assert result.times[0] == 1
    assert result.times[-1] == 0
    torch.testing.assert_close(result.trajectory[0], x1, rtol=0, atol=0)
    torch.testing.assert_close(result.trajectory[-1], result.x0, rtol=0, atol=0)
    assert result.x0.isfinite().all()
    assert result.x0.dtype == torch.float32


def test_callback_sees_every_step(denoiser, x1):
    seen = []
    x0 = DDIM(4)(denoiser, x1, callback=lambda i, t, x: seen.append((i, float(t), x)))
    assert [(i, t) for i, t, _ in seen] == [(1, 0.75), (2, 0.5), (3, 0.25), (4, 0.0)]
    assert seen[-1][2] is x0


def test_starting_in_between_goes_on_with_the_same_flow(denoiser):
    """From t to 0 in one run, or via a midpoint that is on the same grid."""
    x1 = ImageNoise(0, 2).draw((1, 2, 2)).double()
    whole = DDIM(8).run(denoiser, x1, return_trajectory=True)
    half = DDIM(4)(denoiser, whole.trajectory[4], t_start=0.5)
    torch.testing.assert_close(half, whole.x0, rtol=0, atol=1e-12)


def test_batches_do_not_matter(denoiser):
    """Image i of a run is the same alone, in a batch, or in another batch: bit for bit."""
    whole = ImageNoise(5, 6)
    x0 = DDPM(5).run(denoiser, whole.draw((1, 3, 3)), noise=whole).x0
    for first, n in ((0, 2), (2, 3), (5, 1)):
        noise = ImageNoise(5, n, first)
        part = DDPM(5).run(denoiser, noise.draw((1, 3, 3)), noise=noise).x0
        assert torch.equal(part, x0[first : first + n])


@pytest.mark.parametrize("name", FIXED)
def test_the_trajectory_may_end_before_the_data(denoiser, x1, name):
    sampler = build_sampler(name, 30)
    result = sampler.run(denoiser, x1.double(), t_start=0.8, t_end=0.3)
    assert result.times[0] == 0.8
    assert result.times[-1] == 0.3
    start, end = result.times[0], result.times[-1]
    if sampler.reversible:
        flow = denoiser.flow(x1.double(), start, end)
        torch.testing.assert_close(result.x0, flow, rtol=0, atol=0.02)


OWN_TIMES = [*torch.linspace(1, 0.01, 200).double().tolist(), 0.0]


@pytest.mark.parametrize(
    "sampler",
    [
        DDIM(200),
        DPMSolver(30),
        DPMSolverPP(60),
        UniPC(40),
        DPMSolver(grid=OWN_TIMES, order=2),
    ],
)
def test_encoding_leads_back_to_the_images(sampler):
    mean, variance = torch.tensor(0.2).double(), torch.tensor(0.5).double()
    denoiser = GaussianDenoiser(mean, variance, CosineSchedule())
    x0 = 0.2 + 0.5**0.5 * ImageNoise(3, 6).draw((1, 3, 3)).double()
    encoded = sampler.encode(denoiser, x0, return_trajectory=True)
    assert encoded.times[-1] == 1
    alpha, sigma = denoiser.schedule(torch.ones(()).double())
    exact = alpha * mean + (alpha**2 * variance + sigma**2).sqrt() * (x0 - mean) / variance.sqrt()
    torch.testing.assert_close(encoded.x0, exact, rtol=0, atol=0.03)
    back = sampler(denoiser, encoded.x0)
    torch.testing.assert_close(back, x0, rtol=0, atol=0.03)


@pytest.mark.parametrize(
    "sampler", [DDPM(5), DDIM(5, eta=0.5), DPMSolverPP(5, sde=True), AdaptiveDPMSolver()]
)
def test_only_fixed_deterministic_steps_run_backwards(denoiser, x1, sampler):
    with pytest.raises(HQDMError, match="cannot run from data to noise: use a deterministic"):
        sampler.encode(denoiser, x1)


def test_bad_input(denoiser, x1):
    with pytest.raises(HQDMError, match="steps needs a whole number from 1, got 0"):
        DDIM(0)
    with pytest.raises(HQDMError, match="unknown sampler 'dimm'.*did you mean 'ddim'"):
        build_sampler("dimm")
    with pytest.raises(HQDMError, match=r"t_start needs a time in \(0, 1\], got 0"):
        DDIM(3)(denoiser, x1, t_start=0.0)
    with pytest.raises(HQDMError, match=r"t_end needs a time in \[0, 0.5\), got 0.5"):
        DDIM(3)(denoiser, x1, t_start=0.5, t_end=0.5)


class Exploding:
    """A denoiser whose noise is NaN below a time, for one of the samples."""

    def __init__(self, denoiser, below, value=float("nan")):
        self.denoiser, self.below, self.value = denoiser, below, value
        self.schedule = denoiser.schedule

    def __call__(self, x_t, t, y=None):
        x0, eps = self.denoiser(x_t, t, y)
        bad = (t.to(x_t).expand(len(x_t)) < self.below).view(-1, 1, 1, 1)
        bad = bad & (torch.arange(len(x_t)) == 1).view(-1, 1, 1, 1)
        return Prediction(*(torch.where(bad, self.value, part) for part in (x0, eps)))


@pytest.mark.parametrize("name", FIXED)
def test_the_time_of_the_first_value_that_is_not_finite_is_named(denoiser, x1, name):
    sampler = build_sampler(name, 4, "time")
    steps = {"heun", "rk4", "dpm2", "dpm3", "dpm-exact2", "dpm-exact3"}  # evaluate within the step
    expected = r"0\.(5|25) to 0(\.25)?" if name in steps else r"0\.25 to 0"
    with pytest.raises(HQDMError, match=rf"^1 of 6 samples .* step from t = {expected}:"):
        sampler.run(Exploding(denoiser, 0.3), x1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_adaptive_solver_ends_at_values_that_are_not_finite(denoiser, x1, value):
    with pytest.raises(HQDMError, match=r"^\d of \d samples .* step from t = 0\.\d+ to 0\.\d+:"):
        AdaptiveDPMSolver().run(Exploding(denoiser, 0.5, value), x1)


@pytest.mark.parametrize(
    ("times", "options"),
    [
        ([0.9, 0.4, 0.0], {}),
        ([1.0, 0.4, 0.1], {}),
        ([1.0, 0.4, 0.0], {"t_start": 0.5}),
        ([0.5, 0.0], {"t_start": 0.5, "t_end": 0.25}),
    ],
)
def test_a_grid_with_other_ends_is_refused(denoiser, x1, times, options):
    with pytest.raises(HQDMError, match=f"runs from t = {times[0]:g} to {times[-1]:g}, expected"):
        DDIM(grid=times).run(denoiser, x1, **options)
    start, end = options.get("t_start", 1.0), options.get("t_end", 0.0)
    fitting = [start, (start + end) / 2, end]
    assert DDIM(grid=fitting).run(denoiser, x1, **options).times.tolist() == fitting
