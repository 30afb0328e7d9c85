"""SA-Solver: orders and moments, its limits UniPC, DDIM and DDPM, its noise, its options."""

import pytest
import torch
from exact_flows import errors_of, even_grid, problems, slope_of, warm_grid
from gaussian_images import MEAN, VARIANCE, gaussian, noisy
from gaussian_moments import exact_moments, sampled_moments
from marks import thinned

from hqdm.diffusion.schedule import CosineSchedule, LinearSchedule
from hqdm.samplers import DDIM, DDPM, UniPC, build_sampler
from hqdm.samplers.multistep import SASolver
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise


class Adams(UniPC):
    """UniPC-3 in x_0 that solves for the weight of a single difference, too."""

    def _weights(self, r, h, scale):
        if len(r) > 1:
            return super()._weights(r, h, scale)
        return ((torch.expm1(h) - h) / h / scale).reshape(1)  # h phi_2(h) / B(h)


@pytest.mark.parametrize(
    ("order", "corrector", "expected"),
    thinned(
        [(1, 0, 1), (2, 0, 2), (3, 0, 3), (1, 1, 1), (1, 2, 2), (1, 4, 2), (2, 3, 3), (3, 4, 4)],
        every=4,
    ),
)
def test_without_noise_the_error_falls_with_the_order(order, corrector, expected):
    schedule, steps = LinearSchedule(), [32, 48, 72, 108]
    errors = errors_of(
        lambda _: SASolver(order=order, corrector=corrector, tau=0.0),
        problems(schedule)["mixture"],
        [warm_grid(schedule, n) for n in steps],
    )
    assert abs(slope_of(errors, steps) - expected) < 0.2, errors


@pytest.mark.parametrize("tau", [0.5, 1.0])
@pytest.mark.parametrize(
    ("order", "corrector", "expected"),
    thinned([(1, 0, 1), (2, 0, 2), (1, 2, 2), (2, 3, 2.2), (3, 4, 2.2)], every=4),
)
def test_with_noise_the_moments_approach_those_of_the_data(order, corrector, expected, tau):
    """Without random numbers: each step is linear in the noises of the steps before."""
    schedule, steps = CosineSchedule(), [32, 48, 72, 108]
    errors = []
    for n in steps:
        grid = even_grid(schedule, n)
        found = sampled_moments(SASolver(grid=grid, order=order, corrector=corrector, tau=tau))
        mean, variance = (found - exact_moments(grid[-1])).abs().tolist()
        assert mean < 1e-14
        errors.append(variance)
    assert abs(slope_of(errors, steps) - expected) < (0.4 if expected > 2 else 0.1), errors


def test_random_samples_have_the_moments_of_the_data():
    n = 20_000
    noise = ImageNoise(0, 1)
    x1 = noise.draw((n, 1, 1)).double()
    x0 = SASolver(100, "lambda").run(gaussian(), x1, noise=noise).x0
    assert abs(x0.mean() - MEAN) < 3 * (VARIANCE / n) ** 0.5
    # The variance of a variance of normal numbers is 2 variance^2 / n; the end is cut at T_CUT.
    assert abs(x0.var() - VARIANCE) < 3 * VARIANCE * (2 / n) ** 0.5 + 1e-3


@pytest.mark.parametrize("grid", ["time", "lambda"])
def test_without_noise_it_is_unipc(grid):
    x1, noise = noisy(), ImageNoise(0, 3)
    expected = Adams(9, grid, order=3, predict="x0")(gaussian(), x1)
    found = SASolver(9, grid, order=3, corrector=4, tau=0.0)(gaussian(), x1, noise=noise)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert torch.equal(noise.draw((2,)), ImageNoise(0, 3).draw((2,)))  # no number was drawn


@pytest.mark.parametrize(("tau", "limit"), [(0.0, DDIM), (1.0, DDPM)])
def test_one_node_without_a_corrector_is_ddim_or_ancestral_sampling(tau, limit):
    x1, sampler = noisy(), SASolver(8, "lambda", order=1, corrector=0, tau=tau)
    expected = limit(8, grid="lambda")(gaussian(), x1, noise=ImageNoise(3, 3))
    found = sampler(gaussian(), x1, noise=ImageNoise(3, 3))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_noise_of_an_image_does_not_depend_on_the_batch():
    whole = ImageNoise(5, 6)
    x0 = SASolver(5).run(gaussian(), whole.draw((1, 3, 3)).double(), noise=whole).x0
    for first, n in ((0, 2), (2, 3), (5, 1)):
        noise = ImageNoise(5, n, first)
        part = SASolver(5).run(gaussian(), noise.draw((1, 3, 3)).double(), noise=noise).x0
        assert torch.equal(part, x0[first : first + n])


def test_settings_and_names():
    assert build_sampler("sa-solver").settings == {
        **{"sampler": "sa-solver", "steps": 10, "grid": "time"},
        **{"order": 3, "corrector": 4, "tau": 1.0},
    }
    sampler = build_sampler("sa-solver", 5, own={"tau": 0, "order": 2, "corrector": 0})
    assert (sampler.tau, sampler.order, sampler.corrector) == (0, 2, 0)
    assert sampler.reversible
    assert not SASolver().reversible


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"order": 4}, "SA-Solver needs an order of 1, 2, 3, got 4"),
        ({"order": "two"}, "order: expected a whole number, got 'two'"),
        ({"corrector": 5}, "corrector needs a whole number up to 4, got 5"),
        ({"corrector": 1.5}, "corrector: expected a whole number, got 1.5"),
        ({"tau": -0.5}, "SA-Solver needs tau of 0 or more, got -0.5"),
        ({"tau": float("inf")}, "tau needs a finite number, got inf"),
        ({"eta": 1}, "unknown option of the sampler 'sa-solver' 'eta': .*corrector, order, tau"),
    ],
)
def test_mistakes(own, message):
    with pytest.raises(HQDMError, match=f"^{message}"):
        build_sampler("sa-solver", own=own)
