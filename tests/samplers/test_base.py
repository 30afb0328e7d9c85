"""The driver: grid, evaluations, callbacks, trajectories, noise of each image's own."""

import copy
import math

import numpy as np
import pytest
import torch
from marks import slow, thinned
from networks import Toy
from simulated_gpu import SimulatedGPU, on_gpu

from hqdm.diffusion.analytic import GaussianDenoiser
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.objective import Prediction
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.guidance.clip import Clip
from hqdm.nn.unet import UNet
from hqdm.samplers import DDIM, DDPM, AdaptiveDPMSolver, DPMSolver, DPMSolverPP, UniPC
from hqdm.samplers.base import FiniteCheck
from hqdm.samplers.registry import SAMPLERS, build_sampler
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise

NETWORK = [name for name, entry in SAMPLERS.items() if entry.network and entry.objective is None]
LONG = ("dpm-exact2", "dpm-exact3", "dpm-adaptive")
FIXED = [name for name in NETWORK if not SAMPLERS[name].adaptive]


@pytest.fixture
def denoiser():
    return GaussianDenoiser(torch.tensor(0.2), torch.tensor(0.5), CosineSchedule())


@pytest.fixture
def x1():
    return ImageNoise(0, 6).draw((1, 3, 3))


@pytest.mark.parametrize("name", thinned(FIXED, every=3))
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


@pytest.mark.parametrize("name", thinned(FIXED, every=3))
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
    # Those that evaluate within the step:
    steps = {"heun", "rk4", "dpm2", "dpm3", "dpm-exact2", "dpm-exact3", "rex"}
    expected = r"0\.(5|25) to 0(\.25)?" if name in steps else r"0\.25 to 0"
    with pytest.raises(HQDMError, match=rf"^1 of 6 samples .* step from t = {expected}:"):
        sampler.run(Exploding(denoiser, 0.3), x1)


# Forward-mode derivatives copy a noise level per evaluation to the device.
@pytest.mark.parametrize(
    "name", thinned([name for name in FIXED if not name.startswith("dpm-exact")], every=3)
)
def test_a_gpu_is_waited_for_after_the_last_step_only(name, x1):
    denoiser = Clip(Denoiser(Toy(), CosineSchedule()))
    with SimulatedGPU() as gpu:
        x0 = build_sampler(name, 4)(denoiser, on_gpu(x1.float()))
    assert ["tolist" in wait for wait in gpu.waits] == [True]
    assert torch.equal(x0.held, build_sampler(name, 4)(denoiser, x1.float()))


def test_values_that_are_not_finite_are_refused_after_the_last_step_on_a_gpu():
    finite, bad = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    bad[1] = torch.inf
    times = torch.tensor([0.75, 0.5, 0.25, 0])
    check = FiniteCheck()
    with SimulatedGPU():
        for x, t, s in zip((finite, bad, bad), times, times[1:], strict=False):
            check.add(on_gpu(x), t, s)
        with pytest.raises(HQDMError, match=r"^1 of 2 samples .* step from t = 0\.5 to 0\.25:"):
            check.end()


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


class Wave(Toy):
    """Predicts v = gain cos(3 t) x."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(0.3))

    def forward(self, x_t, t, y=None):
        return self.gain * (3 * t).cos()[:, None, None, None] * x_t


def test_float64_is_float64_from_the_noise_to_the_images():
    """DDIM written in NumPy; any rounding to float32 on the way would show at 1e-8 or more."""
    denoiser = Denoiser(Wave().double(), CosineSchedule(), "v")
    denoiser.network.gain.data.fill_(1 / 3)
    x1 = denoiser.prior(ImageNoise(0, 5))
    assert x1.dtype == torch.float64
    phi_0 = 0.008 / 1.008 * math.pi / 2
    phi_1 = math.acos(math.cos(phi_0) / math.sqrt(1 + math.exp(12)))
    x = x1.numpy()
    for i in range(10):
        t, s = 1 - i / 10, 1 - (i + 1) / 10
        a, b = (math.cos(phi_0 + u * (phi_1 - phi_0)) / math.cos(phi_0) for u in (t, s))
        sigma_t, sigma_s = (math.sqrt(max(0.0, 1 - alpha**2)) for alpha in (a, b))
        v = math.cos(3 * t) / 3 * x
        x0 = np.clip(a * x - sigma_t * v, -1, 1)
        x = b * x0 + sigma_s * (x - a * x0) / sigma_t
    found = DDIM(10)(Clip(denoiser), x1)
    assert found.dtype == torch.float64
    # Steps amplify rounding errors of 1e-16 by 1 / alpha_1 = 400 at most.
    np.testing.assert_allclose(found.numpy(), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "name", thinned([slow(name) if name in LONG else name for name in NETWORK], every=4)
)
def test_samplers_of_a_model_in_half_precision(name, dtype):
    """As in float32 with the same weights, except for the rounding of the network's outputs."""
    half = Denoiser(UNet(size=4, dim=4, mults=(1,), heads=1, head_dim=4), CosineSchedule(), "v")
    half = half.to(dtype).eval()
    single = copy.deepcopy(half).float()
    steps = 2 if name == "dpm-exact3" else 4  # slow: six evaluations differentiated twice
    sampler = build_sampler(name, **({} if SAMPLERS[name].adaptive else {"steps": steps}))
    x1 = half.prior(ImageNoise(0, 2))
    assert x1.dtype == dtype
    x0 = sampler(Clip(half), x1)
    assert x0.dtype == dtype
    expected = sampler(Clip(single), x1.float())
    # Outputs of about 1 are rounded to 2^-9 (bfloat16) in each of some ten layers; steps of order 3
    # multiply differences of such outputs by up to 20.
    torch.testing.assert_close(x0.float(), expected, rtol=0, atol=0.25)
    if sampler.reversible:
        noise = sampler.encode(half, x0).x0
        assert noise.dtype == dtype
        assert noise.isfinite().all()


@pytest.mark.parametrize("name", ["ddim", "dpm-exact2", "dpm-adaptive"])
def test_samplers_under_autocast(name):
    model = Denoiser(UNet(size=4, dim=4, mults=(1,), heads=1, head_dim=4), CosineSchedule(), "v")
    sampler = build_sampler(name, **({} if SAMPLERS[name].adaptive else {"steps": 3}))
    x1 = model.prior(ImageNoise(0, 2))
    with torch.autocast("cpu", torch.bfloat16):
        x0 = sampler(Clip(model), x1)
    assert x0.dtype == torch.float32
    torch.testing.assert_close(x0, sampler(Clip(model), x1), rtol=0, atol=0.1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_steps_of_a_fine_grid_do_not_vanish_in_rounding(dtype):
    """1,000 steps of exact Gaussian denoising: only the ends are rounded to half precision."""
    denoiser = GaussianDenoiser(torch.tensor(0.2), torch.tensor(0.5), CosineSchedule())
    x1 = ImageNoise(0, 6).draw((1, 3, 3)).to(dtype)
    expected = DDIM(1000)(denoiser, x1.float())
    assert torch.equal(DDIM(1000)(denoiser, x1), expected.to(dtype))
