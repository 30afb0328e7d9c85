"""Rex: orders and moments, its first copy, exact inversion of paths, its noise, its options."""

import pytest
import torch
from exact_flows import errors_of, even_grid, problems, slope_of
from gaussian_images import gaussian, noisy
from gaussian_moments import exact_moments, sampled_moments
from hypothesis import given, settings
from hypothesis import strategies as st

from hqdm.diffusion.schedule import CosineSchedule, LinearSchedule, VarianceExplodingSchedule
from hqdm.samplers import DDIM, DDPM, build_sampler
from hqdm.samplers.base import Evaluator
from hqdm.samplers.exponential import level_at
from hqdm.samplers.stochastic.rex import Copies, Rex
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise, ReplayedNoise

STEPS = [32, 48, 72, 108]


@pytest.mark.parametrize("problem", ["gaussian", "mixture"])
def test_without_noise_the_order_is_two(problem):
    schedule = LinearSchedule()
    grids = [even_grid(schedule, n) for n in STEPS]
    errors = errors_of(lambda _: Rex(tau=0.0), problems(schedule)[problem], grids)
    assert abs(slope_of(errors, STEPS) - 2) < 0.1, errors


@pytest.mark.parametrize("tau", [0.5, 1.0])
@pytest.mark.parametrize("schedule", [CosineSchedule(), VarianceExplodingSchedule(20.0)])
def test_with_noise_the_moments_approach_those_of_the_data(schedule, tau):
    """Without random numbers: each step is linear in the noises of the steps before."""
    errors = []
    for n in STEPS:
        grid = even_grid(schedule, n)
        found = sampled_moments(Rex(grid=grid, tau=tau), schedule)
        mean, variance = (found - exact_moments(grid[-1], schedule)).abs().tolist()
        assert mean < 1e-13
        errors.append(variance)
    assert abs(slope_of(errors, STEPS) - 2) < 0.1, errors


@pytest.mark.parametrize(("tau", "one_step"), [(0.0, DDIM), (1.0, DDPM)])
def test_the_first_copy_takes_a_step_of_ddim_or_ancestral_sampling(tau, one_step):
    x, times = noisy(), torch.tensor([0.7, 0.4], dtype=torch.float64)
    denoise = Evaluator(gaussian())
    sampler = Rex(tau=tau)
    mean, (half, _) = sampler.step(denoise, x, *times, sampler.init(x), ImageNoise(3, 3))
    expected, _ = one_step().step(denoise, x, *times, None, ImageNoise(3, 3))
    torch.testing.assert_close(mean + half, expected, rtol=0, atol=1e-14)
    assert half.abs().max() > 1e-3


def test_the_second_copy_takes_the_step_with_the_prediction_at_its_end():
    """DDIM's coefficients, with x_0 predicted for the first copy at the time that it reached."""
    x, times = noisy(), torch.tensor([0.7, 0.4], dtype=torch.float64)
    sampler, denoise = Rex(tau=0.0), Evaluator(gaussian())
    mean, (half, _) = sampler.step(denoise, x, *times, sampler.init(x), ImageNoise(3, 3))
    (alpha_t, alpha_s), (sigma_t, sigma_s) = gaussian().schedule(times)
    x_0 = gaussian()(mean + half, times[1]).x0
    expected = sigma_s / sigma_t * x + (alpha_s - alpha_t * sigma_s / sigma_t) * x_0
    torch.testing.assert_close(mean - half, expected, rtol=0, atol=1e-14)


# Each schedule with the largest tau for which rounding errors, which encoding amplifies as the
# reverse-time SDE shrinks differences, remain below 1e-10 in float64.
SCHEDULES = [(CosineSchedule(), 1.0), (LinearSchedule(), 1.0), (VarianceExplodingSchedule(9), 0.3)]


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(SCHEDULES),
    st.floats(0, 1),
    st.lists(st.floats(0.2, 1), min_size=4, max_size=16),
    st.integers(0, 1000),
)
def test_a_path_is_the_same_in_both_directions(process, share, widths, seed):
    """From images to a pair of noise and back, on random grids: all images on the way."""
    schedule, most = process
    widths = torch.tensor(widths, dtype=torch.float64)
    grid = 1 - torch.cat([torch.zeros(1), widths.cumsum(0) / widths.sum()])
    grid[-1] = 0
    sampler = Rex(grid=grid.tolist(), tau=most * share)
    denoiser, x0 = problems(schedule)["mixture"], noisy(3, seed)
    encoded = sampler.encode(denoiser, x0, noise=ImageNoise(seed, 3), return_trajectory=True)
    assert encoded.times.tolist() == grid.flip(0).tolist()
    assert encoded.x0.shape == (3, 2, *x0.shape[1:])
    decoded = sampler.run(denoiser, encoded.x0, noise=ImageNoise(seed, 3), return_trajectory=True)
    assert (decoded.x0 - x0).abs().max() < 1e-10
    path = encoded.trajectory.flip(0)
    torch.testing.assert_close(decoded.trajectory, path, rtol=1e-10, atol=1e-10)


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from([schedule for schedule, _ in SCHEDULES]),
    st.floats(0, 1),
    st.floats(0.05, 1),
    st.floats(0.1, 0.95),
)
def test_steps_from_noise_are_inverted(schedule, tau, t, share):
    """From copies that differ, which a run of several steps has."""
    t, s = torch.tensor([t, share * t], dtype=torch.float64)
    sampler, denoise = Rex(tau=tau), Evaluator(problems(schedule)["mixture"])
    x, half = noisy(), 0.1 * noisy(3, 1)
    after = sampler.step(denoise, x, t, s, Copies(half, paired=True), ImageNoise(5, 3))
    replayed = ReplayedNoise(ImageNoise(5, 3), x.shape[1:], 1)
    mean, copies = sampler.step(denoise, after[0], s, t, after[1], replayed)
    # The inverse divides twice by the scale of a step, sigma_s / sigma_t e^(-tau^2 h).
    a, b = level_at(schedule, t), level_at(schedule, s)
    scale = float(sampler.euler.coefficients(schedule, a, b, [a]).scale)
    torch.testing.assert_close((mean, copies.half), (x, half), rtol=0, atol=1e-14 / scale**2)


def test_the_pair_of_the_flow_approaches_its_noise():
    schedule = CosineSchedule()
    denoiser, x0 = problems(schedule)["gaussian"], noisy()
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    exact = denoiser.flow(x0, *ends)

    def errors(n):
        pair = Rex(n, "lambda", tau=0.0).encode(denoiser, x0).x0
        return float((pair.mean(1) - exact).abs().max()), float(pair.diff(dim=1).abs().max())

    few, more = errors(40), errors(160)
    assert more[0] < 0.02  # the first step, from 0 to the cut, is of first order
    assert few[0] > 4 * more[0]
    assert more[1] == pytest.approx(few[1] / 4, rel=0.3)  # a single copy is of order 1


def test_a_run_from_noise_ends_in_the_prediction_for_the_images():
    """Known pixels of a guided prediction are those of the result."""
    result = Rex(6).run(gaussian(), noisy(), return_trajectory=True)
    expected = gaussian()(result.trajectory[-2], result.times[-2]).x0
    assert torch.equal(result.x0, expected)


def test_another_noise_leads_elsewhere():
    sampler, x0 = Rex(8, tau=0.3), noisy()
    pair = sampler.encode(gaussian(), x0, noise=ImageNoise(0, 3)).x0
    assert (sampler(gaussian(), pair) - x0).abs().max() < 1e-12  # random seed 0 is the default
    assert (sampler(gaussian(), pair, noise=ImageNoise(1, 3)) - x0).abs().max() > 0.1


def test_the_pair_of_an_image_does_not_depend_on_the_batch():
    x0 = noisy(6)
    pair = Rex(5).encode(gaussian(), x0, noise=ImageNoise(5, 6)).x0
    for first, n in ((0, 2), (2, 3), (5, 1)):
        noise = ImageNoise(5, n, first)
        part = Rex(5).encode(gaussian(), x0[first : first + n], noise=noise).x0
        assert torch.equal(part, pair[first : first + n])


def test_evaluations_and_calls_of_an_encoding():
    seen = []
    result = Rex(4).encode(gaussian(), noisy(), callback=lambda i, t, x: seen.append((i, float(t))))
    assert result.evaluations == 8
    assert seen == [(1, 0.25), (2, 0.5), (3, 0.75), (4, 1.0)]


def test_evaluations_of_a_run():
    sampler = Rex(4)
    assert sampler.run(gaussian(), noisy()).evaluations == 7  # one in the step to the data
    assert sampler.steps_for(7) == 4


def test_the_precision_is_kept():
    half = noisy().bfloat16()
    assert Rex(3).encode(gaussian(torch.float32), half).x0.dtype == torch.bfloat16
    x0 = noisy().float()
    pair = Rex(10, tau=0.3).encode(gaussian(torch.float32), x0).x0
    assert pair.dtype == torch.float32
    # Rounding errors of 6e-8 relative to a pair of up to 30.
    torch.testing.assert_close(
        Rex(10, tau=0.3)(gaussian(torch.float32), pair), x0, rtol=0, atol=1e-5
    )


def test_settings_and_names():
    assert build_sampler("rex").settings == {
        **{"sampler": "rex", "steps": 10, "grid": "time"},
        "tau": 1.0,
    }
    assert build_sampler("rex", 5, own={"tau": 0}).reversible
    assert not Rex().reversible


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"tau": -0.5}, "Rex needs tau of 0 or more, got -0.5"),
        ({"tau": float("inf")}, "tau needs a finite number, got inf"),
        ({"tau": "one"}, "tau: expected a number, got 'one'"),
        ({"eta": 1}, "unknown option of the sampler 'rex' 'eta': .*tau"),
    ],
)
def test_mistakes(own, message):
    with pytest.raises(HQDMError, match=message):
        build_sampler("rex", own=own)


def test_a_grid_with_other_ends_is_not_encoded():
    with pytest.raises(HQDMError, match="the grid runs from t = 0.9 to 0, expected 1 to 0"):
        Rex(grid=[0.9, 0.4, 0.0]).encode(gaussian(), noisy())
