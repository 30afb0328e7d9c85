"""Restart: the times and evaluations it takes, moments, contraction, its noise, its options."""

import pytest
import torch
from gaussian_images import MEAN, VARIANCE, gaussian, noisy
from gaussian_moments import Units, exact_moments, sampled_moments
from networks import Toy

from hqdm.diffusion.analytic import GaussianDenoiser
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import CosineSchedule, VarianceExplodingSchedule
from hqdm.samplers import DDIM, DDPM, AdaptiveDPMSolver, DPMSolverExact, UniPC
from hqdm.samplers.stochastic import Restart
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise


def test_the_interval_is_repeated():
    result = Restart(DDIM(10), 0.52, 0.19, 2).run(gaussian(), noisy(), return_trajectory=True)
    tenths = [10, 9, 8, 7, 6, 5, 4, 3, 2, *(5, 4, 3, 2) * 2, 1, 0]
    assert result.times.tolist() == pytest.approx([tenth / 10 for tenth in tenths])
    assert result.evaluations == 10 + 2 * 3
    assert len(result.trajectory) == len(tenths)


def test_no_restart_is_the_other_sampler():
    expected = UniPC(9)(gaussian(), noisy())
    assert torch.equal(Restart(UniPC(9), 0.5, 0.2, 0)(gaussian(), noisy()), expected)


def test_a_restart_begins_without_a_history():
    """One restart is the solver from new noise, as a run of its own."""
    noise = ImageNoise(2, 3)
    found = Restart(UniPC(10), 0.5, 0.2).run(gaussian(), noisy(), noise=noise).x0
    x = UniPC(8).run(gaussian(), noisy(), t_end=0.2).x0
    alpha, sigma = gaussian().schedule(torch.tensor([0.5, 0.2], dtype=torch.float64))
    ratio = alpha[0] / alpha[1]
    x = ratio * x + (sigma[0] ** 2 - (ratio * sigma[1]) ** 2).sqrt() * ImageNoise(2, 3).draw_like(x)
    expected = UniPC(5).run(gaussian(), x, t_start=0.5).x0
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("schedule", [None, VarianceExplodingSchedule(20.0)], ids=["vp", "ve"])
def test_the_moments_are_those_of_the_data(schedule):
    sampler = UniPC(200, order=3)
    sampler.times = torch.linspace(0.9, 0.1, 201, dtype=torch.float64).tolist()
    restarted = Restart(sampler, 0.6, 0.3, 3)
    found = sampled_moments(restarted, schedule)
    torch.testing.assert_close(found, exact_moments(0.1, schedule), rtol=1e-4, atol=0)


@pytest.mark.slow
def test_a_restart_contracts_errors_by_the_ratio_of_the_variances():
    """Of Gaussian data: noise shrinks the error of the variance, and the flow is linear."""
    denoiser = gaussian()
    times = torch.linspace(0.5, 0.2, 201, dtype=torch.float64)
    (_, first), (_, last) = (exact_moments(float(t)) for t in (0.5, 0.2))
    alpha, _ = denoiser.schedule(times[[0, -1]])
    factor = (alpha[0] / alpha[1]) ** 2 * last / first
    x = torch.zeros(5, 1, 1, 1, dtype=torch.float64)
    x[1] = 1.1  # a variance of 1.21 in place of `first`
    centred = GaussianDenoiser(0 * denoiser.mean, denoiser.variance, denoiser.schedule)

    def error(restarts):
        grid = [*times.tolist(), 0.19]
        sampler = Restart(UniPC(grid=grid, order=3), 0.5, 0.2, restarts)
        result = sampler.run(
            centred, x, t_start=0.5, t_end=0.19, noise=Units(), return_trajectory=True
        )
        return float(result.trajectory[-2].square().sum() - last)

    before = error(0)
    assert abs(before) > 0.01
    for restarts in (1, 2, 3):
        assert error(restarts) == pytest.approx(before * float(factor) ** restarts, abs=1e-5)


def test_random_samples_have_the_moments_of_the_data():
    n = 20_000
    noise = ImageNoise(0, 1)
    x1 = noise.draw((n, 1, 1)).double()
    x0 = Restart(UniPC(60, "lambda"), 0.6, 0.3, 2).run(gaussian(), x1, noise=noise).x0
    assert abs(x0.mean() - MEAN) < 3 * (VARIANCE / n) ** 0.5
    # The variance of a variance of normal numbers is 2 variance^2 / n; the end is cut at T_CUT.
    assert abs(x0.var() - VARIANCE) < 3 * VARIANCE * (2 / n) ** 0.5 + 1e-3


def test_the_noise_of_an_image_does_not_depend_on_the_batch():
    sampler, whole = Restart(DDIM(6), 0.7, 0.3, 2), ImageNoise(5, 6)
    x0 = sampler.run(gaussian(), whole.draw((1, 3, 3)).double(), noise=whole).x0
    for first, n in ((0, 2), (2, 3), (5, 1)):
        noise = ImageNoise(5, n, first)
        part = sampler.run(gaussian(), noise.draw((1, 3, 3)).double(), noise=noise).x0
        assert torch.equal(part, x0[first : first + n])


def test_settings_are_those_of_both():
    sampler = Restart(UniPC(7), 0.5, 0.2, 4)
    own = {"t_max": 0.5, "t_min": 0.2, "restarts": 4}
    assert sampler.settings == {**UniPC(7).settings, **own}
    assert sampler.name == "restart-unipc"


def test_the_denoiser_is_evaluated_as_the_other_sampler_does():
    """Derivatives are those of a network in float32."""
    network = Toy()
    network.gain = torch.nn.Parameter(torch.ones(()))
    half = Denoiser(network, CosineSchedule()).bfloat16()
    for sampler, dtype in ((DPMSolverExact(9), torch.float32), (DDIM(9), torch.bfloat16)):
        denoiser = Restart(sampler, 0.5, 0.2).evaluator(half, None).denoiser
        assert next(denoiser.parameters()).dtype == dtype


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Restart(DDPM(9), 0.5, 0.2), "deterministic solver with fixed steps, got ddpm"),
        (lambda: Restart(AdaptiveDPMSolver(), 0.5, 0.2), "fixed steps, got dpm-adaptive"),
        (lambda: Restart(DDIM(9), 0.2, 0.5), "needs 0 < t_min < t_max <= 1, got 0.5 and 0.2"),
        (lambda: Restart(DDIM(9), 1.5, 0.5), "needs 0 < t_min < t_max <= 1, got 0.5 and 1.5"),
        (lambda: Restart(DDIM(9), 0.5, 0.2, -1), "restarts needs a whole number from 0, got -1"),
        (lambda: Restart(DDIM(9), 0.5, 0.2).encode(gaussian(), noisy()), "cannot run from data"),
        (
            lambda: Restart(DDIM(4), 0.5, 0.48)(gaussian(), noisy()),
            "the grid has no step from t = 0.5 to 0.48 that another one follows: take more steps",
        ),
        (lambda: Restart(DDIM(4), 0.5, 0.01)(gaussian(), noisy()), "no step from t = 0.5 to 0.01"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(HQDMError, match=message):
        make()
