"""ER-SDE-Solver: orders and moments, the published steps, its limits, its noise, its options."""

import pytest
import torch
from exact_flows import errors_of, even_grid, problems, slope_of, warm_grid
from gaussian_images import MEAN, VARIANCE, gaussian, noisy
from gaussian_moments import exact_moments, sampled_moments

from hqdm.diffusion.schedule import CosineSchedule, LinearSchedule
from hqdm.samplers import DDIM, DDPM, build_sampler
from hqdm.samplers.multistep import ERSDESolver
from hqdm.samplers.multistep.er_sde import NOISE_SCALES
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise

STEPS = [32, 48, 72, 108]


def published(denoiser, x, times, order, phi, noise):
    """Cui et al. 2023, algorithms 1 to 3, with integrals by the midpoint rule of 4,000 points."""
    times = torch.tensor(times, dtype=torch.float64)
    alpha, sigma = denoiser.schedule(times)
    rho = sigma / alpha
    data, slopes = [], []
    for i in range(len(times) - 1):
        data.append(denoiser(x, times[i]).x0)
        ratio, gap = phi(rho[i + 1]) / phi(rho[i]), rho[i] - rho[i + 1]
        points = rho[i + 1] + gap * (torch.arange(4000).double() + 0.5) / 4000
        mean = ratio * x / alpha[i] + (1 - ratio) * data[i]
        if order > 1 and i > 0:
            slopes.append((data[i] - data[i - 1]) / (rho[i] - rho[i - 1]))
            mean = mean + slopes[-1] * (phi(rho[i + 1]) * (gap / phi(points)).mean() - gap)
        if order > 2 and i > 1:
            second = 2 * (slopes[-1] - slopes[-2]) / (rho[i] - rho[i - 2])
            inner = phi(rho[i + 1]) * (gap * (points - rho[i]) / phi(points)).mean()
            mean = mean + second * (gap**2 / 2 + inner)
        std = (rho[i + 1] ** 2 - (rho[i] * ratio) ** 2).clamp_min(0).sqrt()
        x = alpha[i + 1] * (mean + std * noise.draw_like(x))
    return x


@pytest.mark.parametrize("order", [1, 2, 3])
def test_without_noise_the_error_falls_with_the_order(order):
    schedule = LinearSchedule()
    grids = [warm_grid(schedule, n) for n in STEPS]
    denoiser = problems(schedule)["mixture"]
    errors = errors_of(lambda _: ERSDESolver(order=order, noise_scale="ode"), denoiser, grids)
    assert abs(slope_of(errors, STEPS) - order) < 0.2, errors


def test_the_published_solver_of_order_3_has_order_2_without_noise():
    schedule = LinearSchedule()
    denoiser = problems(schedule)["mixture"]
    x, errors = torch.linspace(-2, 2, 9).double().view(9, 1, 1, 1), []
    for n in STEPS:
        grid = warm_grid(schedule, n)
        found = published(denoiser, x, grid, 3, lambda rho: rho, ImageNoise(0, 9))
        start, end = torch.tensor([grid[0], grid[-1]], dtype=torch.float64)
        errors.append(float((found - denoiser.flow(x, start, end)).square().mean().sqrt()))
    assert abs(slope_of(errors, STEPS) - 2) < 0.2, errors


@pytest.mark.parametrize("noise_scale", ["sde", "er-sde-5"])
@pytest.mark.parametrize(("order", "expected"), [(1, 1), (2, 2), (3, 2)])
def test_with_noise_the_moments_approach_those_of_the_data(order, expected, noise_scale):
    """Without random numbers: each step is linear in the noises of the steps before."""
    schedule, errors = CosineSchedule(), []
    for n in STEPS:
        grid = even_grid(schedule, n)
        found = sampled_moments(ERSDESolver(grid=grid, order=order, noise_scale=noise_scale))
        mean, variance = (found - exact_moments(grid[-1])).abs().tolist()
        assert mean < 1e-14
        errors.append(variance)
    assert abs(slope_of(errors, STEPS) - expected) < 0.1, errors


def test_random_samples_have_the_moments_of_the_data():
    n = 20_000
    noise = ImageNoise(0, 1)
    x1 = noise.draw((n, 1, 1)).double()
    x0 = ERSDESolver(100, "lambda").run(gaussian(), x1, noise=noise).x0
    assert abs(x0.mean() - MEAN) < 3 * (VARIANCE / n) ** 0.5
    # The variance of a variance of normal numbers is 2 variance^2 / n; the end is cut at T_CUT.
    assert abs(x0.var() - VARIANCE) < 3 * VARIANCE * (2 / n) ** 0.5 + 1e-3


@pytest.mark.parametrize("noise_scale", NOISE_SCALES)
@pytest.mark.parametrize("order", [1, 2])
def test_the_steps_are_the_published_ones(order, noise_scale):
    denoiser = problems(CosineSchedule())["mixture"]
    times = [1.0, 0.9, 0.8, 0.75, 0.5, 0.4, 0.1]
    phi = {
        "ode": lambda rho: rho,
        "sde": lambda rho: rho**2,
        "er-sde-5": lambda rho: rho * ((rho**0.3).exp() + 10),
    }[noise_scale]
    expected = published(denoiser, noisy(), times, order, phi, ImageNoise(1, 3))
    sampler = ERSDESolver(grid=times, order=order, noise_scale=noise_scale)
    found = sampler.run(denoiser, noisy(), t_end=0.1, noise=ImageNoise(1, 3)).x0
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("noise_scale", "limit"), [("ode", DDIM), ("sde", DDPM)])
def test_order_one_is_ddim_or_ancestral_sampling(noise_scale, limit):
    x1, sampler = noisy(), ERSDESolver(8, "lambda", order=1, noise_scale=noise_scale)
    expected = limit(8, grid="lambda")(gaussian(), x1, noise=ImageNoise(3, 3))
    found = sampler(gaussian(), x1, noise=ImageNoise(3, 3))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_flow_draws_no_noise():
    noise = ImageNoise(0, 3)
    ERSDESolver(5, noise_scale="ode")(gaussian(), noisy(), noise=noise)
    assert torch.equal(noise.draw((2,)), ImageNoise(0, 3).draw((2,)))


def test_the_noise_of_an_image_does_not_depend_on_the_batch():
    whole = ImageNoise(5, 6)
    x0 = ERSDESolver(5).run(gaussian(), whole.draw((1, 3, 3)).double(), noise=whole).x0
    for first, n in ((0, 2), (2, 3), (5, 1)):
        noise = ImageNoise(5, n, first)
        part = ERSDESolver(5).run(gaussian(), noise.draw((1, 3, 3)).double(), noise=noise).x0
        assert torch.equal(part, x0[first : first + n])


def test_settings_and_names():
    assert build_sampler("er-sde").settings == {
        **{"sampler": "er-sde", "steps": 10, "grid": "time"},
        **{"order": 3, "noise_scale": "er-sde-5"},
    }
    assert [build_sampler(f"er-sde{k}").order for k in (1, 2, 3)] == [1, 2, 3]
    assert build_sampler("er-sde", own={"noise_scale": "ode"}).reversible
    assert not build_sampler("er-sde", own={"noise_scale": "sde"}).reversible


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"order": 4}, "ER-SDE-Solver needs an order of 1, 2, 3, got 4"),
        ({"noise_scale": "er-sde-4"}, "unknown noise scale function 'er-sde-4': expected one of "),
        ({"noise_scale": 5}, "noise_scale: expected text, got 5"),
    ],
)
def test_mistakes(own, message):
    with pytest.raises(HQDMError, match=f"^{message}"):
        build_sampler("er-sde", own=own)
