"""Equality with diffusers' schedulers, on the same levels and the same exact denoiser.

Their schedulers know discrete levels only, which are set by hand here. `DPMSolverMultistep`
computes in float32 whatever it gets, the others in the precision of the levels.
"""

import pytest
import torch

from hqdm.diffusion.analytic import MixtureDenoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.samplers import DDIM, DDPM, DPMSolverPP, UniPC
from hqdm.utils.seeds import ImageNoise

diffusers = pytest.importorskip("diffusers", reason="diffusers is for tests only")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SCHEDULE = CosineSchedule()
TIMES = torch.tensor([1.0, 0.9, 0.82, 0.7, 0.55, 0.42, 0.3, 0.2, 0.1], dtype=torch.float64)
ENDS = {"noise": TIMES, "data": torch.cat([TIMES, torch.zeros(1, dtype=torch.float64)])}


@pytest.fixture
def denoiser():
    means = torch.tensor([-0.5, 0.4], dtype=torch.float64)
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    return MixtureDenoiser(weights, means, torch.full_like(means, 0.05), SCHEDULE)


@pytest.fixture
def x1():
    return ImageNoise(0, 4).draw((1, 3, 3)).double()


class SameNoise:
    """Noise that both sides draw."""

    def __init__(self):
        self.streams = ImageNoise(7, 4)

    def draw_like(self, x):
        return self.streams.draw_like(x)


def by_multistep(scheduler, denoiser, x, times, **options):
    """Their walk over levels sigma / alpha, in float64, evaluated at our times."""
    alpha, sigma = SCHEDULE(times)
    scheduler.set_timesteps(len(times) - 1)
    scheduler.sigmas = sigma / alpha
    scheduler.timesteps = torch.arange(len(times) - 1, 0, -1)
    scheduler.set_begin_index(0)
    for t, step in zip(times[:-1], scheduler.timesteps, strict=True):
        noise = {name: stream.draw_like(x) for name, stream in options.items()}
        x = scheduler.step(denoiser(x, t).eps, step, x, **noise).prev_sample
    return x


def ours(sampler, denoiser, x, times, noise=None):
    return sampler.run(denoiser, x, t_end=float(times[-1]), noise=noise).x0


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim(denoiser, x1, end, eta):
    """With eta = 1, DDIM is the ancestral sampler too."""
    times = ENDS[end]
    steps = len(times) - 1
    alpha, _ = SCHEDULE(times)
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=steps, clip_sample=False)
    scheduler.set_timesteps(steps)
    # Level i is where step i ends, so that the last one is the end of the walk.
    scheduler.alphas_cumprod = (alpha[:-1] ** 2).flip(0)
    scheduler.final_alpha_cumprod = alpha[-1] ** 2
    x, noise = x1, SameNoise()
    for t, step in zip(times[:-1], scheduler.timesteps, strict=True):
        drawn = noise.draw_like(x) if eta else None
        x = scheduler.step(
            denoiser(x, t).eps, int(step), x, eta=eta, variance_noise=drawn
        ).prev_sample
    grid = times.tolist()
    for sampler in (DDIM(eta=eta, grid=grid), DDPM(grid=grid))[: 2 if eta == 1 else 1]:
        actual = ours(sampler, denoiser, x1, times, SameNoise())
        torch.testing.assert_close(actual, x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("sde", [False, True])
def test_dpm_solver_pp_2m(denoiser, x1, end, sde):
    times = ENDS[end]
    scheduler = diffusers.DPMSolverMultistepScheduler(
        algorithm_type="sde-dpmsolver++" if sde else "dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        lower_order_final=end == "data",
        final_sigmas_type="zero" if end == "data" else "sigma_min",
    )
    noise = {"variance_noise": SameNoise()} if sde else {}
    expected = by_multistep(scheduler, denoiser, x1, times, **noise)
    actual = ours(DPMSolverPP(grid=times.tolist(), sde=sde), denoiser, x1, times, SameNoise())
    # Nine steps that they take in float32.
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("b", ["h", "expm1"])
@pytest.mark.parametrize("predict", ["eps", "x0"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc(denoiser, x1, order, predict, b):
    scheduler = diffusers.UniPCMultistepScheduler(
        solver_order=order,
        predict_x0=predict == "x0",
        solver_type={"h": "bh1", "expm1": "bh2"}[b],
        lower_order_final=False,
        final_sigmas_type="sigma_min",
    )
    expected = by_multistep(scheduler, denoiser, x1, TIMES)
    sampler = UniPC(grid=TIMES.tolist(), order=order, predict=predict, b=b)
    actual = ours(sampler, denoiser, x1, TIMES)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


def test_unipc_to_data(denoiser, x1):
    """They lower the order of the last steps one by one, which for order 2 is what we do.

    At sigma = 0 their B(h) = h is infinite and gives no number.
    """
    times = ENDS["data"]
    scheduler = diffusers.UniPCMultistepScheduler(solver_order=2, solver_type="bh2")
    expected = by_multistep(scheduler, denoiser, x1, times)
    actual = ours(UniPC(grid=times.tolist(), order=2), denoiser, x1, times)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)
