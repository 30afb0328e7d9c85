"""The Carleman sampler: exact on Gaussian data, close to its own equation, and the same call."""

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from marks import slow, thinned

from hqdm.carleman.analysis import energy_distance, integrate, relative_errors
from hqdm.carleman.lchs.solver import LCHS
from hqdm.carleman.qlss.solver import QLSS
from hqdm.carleman.schrodingerisation.solver import Schrodingerisation
from hqdm.data.images import load_images
from hqdm.diffusion.analytic import GaussianDenoiser
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import CosineSchedule, schedule_config
from hqdm.nn.unet import UNet
from hqdm.samplers import DDIM, UniPC
from hqdm.samplers.registry import build_sampler
from hqdm.surrogate.fit import CarlemanFit, fit_carleman
from hqdm.surrogate.latents import Latents
from hqdm.surrogate.noise_polynomial import DiffusionDrift, NoisePolynomial, gaussian_noise
from hqdm.surrogate.sampler import Carleman
from hqdm.utils.errors import HQDMError
from hqdm.utils.pixels import to_float
from hqdm.utils.seeds import ImageNoise

SCHEDULE = CosineSchedule()
SPREAD = np.linspace(0.9, 0.05, 16)


@pytest.fixture(scope="module")
def gaussian():
    """A fit of degree 1, and the denoiser of the same Gaussian data, images (1, 4, 4)."""
    mean = np.linspace(-0.3, 0.4, 16)
    latents = Latents(mean, np.eye(16), SPREAD**2, dim=3, scale=1.1)
    nodes = np.linspace(latents.time(-6.1), latents.time(4.7), 2001)
    noise = gaussian_noise(nodes, SPREAD[:3] ** 2 / 1.1**2)
    record = {"schedule": schedule_config(SCHEDULE), "seed": 0, "model": "none"}
    fit = CarlemanFit(latents, noise, np.ones(2001), np.zeros((1, 3)), record)
    exact = GaussianDenoiser(
        torch.as_tensor(mean).reshape(1, 4, 4),
        torch.as_tensor(SPREAD**2).reshape(1, 4, 4),
        SCHEDULE,
    )
    return fit, exact


@pytest.fixture(scope="module")
def digits():
    """A cubic fit of 4 latents to the 8x8 digits and their noise, and the images."""
    images = load_images("digits", "train").images
    torch.manual_seed(0)
    denoiser = Denoiser(UNet(channels=1, size=8, dim=8, mults=(1, 2)), SCHEDULE).eval()
    return fit_carleman(denoiser, images, dim=4, target="noise"), denoiser, images


def noise(n=5, size=4, seed=0):
    return ImageNoise(seed, n).draw((1, size, size)).double()


def test_gaussian_data_are_sampled_exactly(gaussian):
    fit, exact = gaussian
    x1 = noise()
    ends = Carleman(fit, 8, order=2).run(exact, x1, t_end=0.1).x0
    expected = exact.flow(x1, torch.tensor(1.0).double(), torch.tensor(0.1).double())
    # Magnus steps of 0.13 in lambda, fourth order: (0.13)^4 / 4,320 per step, 64 steps, is 5e-6
    torch.testing.assert_close(ends, expected, atol=5e-6, rtol=0)


def test_the_last_step_is_the_posterior_mean(gaussian):
    fit, exact = gaussian
    x1 = noise()
    t = torch.tensor(0.01).double()
    before = Carleman(fit, 8, order=1).run(exact, x1, t_end=0.01).x0
    after = Carleman(fit, 8, order=1).run(exact, x1).x0
    torch.testing.assert_close(after, exact(before, t).x0, atol=1e-8, rtol=0)


def test_hybrid_mode_is_one_sampler_after_the_other(gaussian):
    fit, exact = gaussian
    x1 = noise()
    hybrid = Carleman(fit, 4, order=1, then=UniPC(3), switch=0.0)
    middle = SCHEDULE.inverse(torch.tensor(0.0).double()).item()
    half = Carleman(fit, 4, order=1).run(exact, x1, t_end=middle).x0
    expected = UniPC(3).run(exact, half, t_start=middle)
    found = hybrid.run(exact, x1)
    torch.testing.assert_close(found.x0, expected.x0, atol=1e-12, rtol=0)
    assert found.evaluations == expected.evaluations == 3
    assert len(found.times) == 4 + 3 + 1


def test_no_evaluation_without_another_sampler(gaussian):
    fit, exact = gaussian
    found = Carleman(fit, 3, order=1).run(exact, noise(), return_trajectory=True)
    assert found.evaluations == 0
    assert found.trajectory.shape == (5, 5, 1, 4, 4)
    assert found.times[[0, -1]].tolist() == [1, 0]


@pytest.mark.parametrize("closure", [slow("drop"), "least_squares"])
@pytest.mark.parametrize(("segments", "most"), [(8, 0.01), (16, 0.003)])
def test_digits_follow_the_polynomial_equation(digits, closure, segments, most):
    fit, _, _ = digits
    sampler = Carleman(fit, segments, order=5, closure=closure)
    # the interval of the papers' prototype
    edges = np.linspace(-4, 2.5, segments + 1)
    start = np.random.default_rng(0).normal(size=(400, 4))
    z = start
    for a, b in pairwise(edges):
        z = sampler.advance(z, a, b)
    exact = integrate(DiffusionDrift(fit.noise), start, -4, 2.5)
    assert np.median(relative_errors(z, exact)) <= most


@pytest.mark.slow
def test_digits_are_distributed_as_by_the_polynomial_equation(digits):
    fit, _, _ = digits
    start = np.random.default_rng(1).normal(size=(1500, 4))
    sampler = Carleman(fit, 8, order=5)
    edges = np.linspace(-4, 2.5, 9)
    z = start
    for a, b in pairwise(edges):
        z = sampler.advance(z, a, b)
    exact = integrate(DiffusionDrift(fit.noise), start, -4, 2.5)
    to_data = energy_distance(exact, fit.points)
    assert energy_distance(z, fit.points) == pytest.approx(to_data, rel=0.1)


@pytest.mark.parametrize("form", ["dpm", "unipc"])
def test_expansions_in_lambda_approach_the_spline(digits, form):
    fit, _, _ = digits
    z = np.random.default_rng(0).normal(size=(20, 4))
    exact = Carleman(fit, order=3).advance(z, -1.0, -0.5)
    errors = [
        relative_errors(Carleman(fit, order=3, expansion=f"{form}{k}").advance(z, -1, -0.5), exact)
        for k in (1, 2, 3)
    ]
    first, second, third = (np.median(error) for error in errors)
    assert first > 5 * second > 10 * third


def test_bases_differ_by_their_closure_only(digits):
    fit, _, _ = digits
    z = np.random.default_rng(0).normal(size=(20, 4))
    monomial = Carleman(fit, order=3).advance(z, -1.0, -0.5)
    hermite = Carleman(fit, order=3, basis="hermite").advance(z, -1.0, -0.5)
    np.testing.assert_allclose(monomial, hermite, rtol=1e-8)


def test_images_lie_where_the_data_do(digits):
    fit, denoiser, images = digits
    drawn = Carleman(fit).run(denoiser, ImageNoise(0, 500).draw((1, 8, 8))).x0
    real = to_float(images)
    # means and deviations of 64 pixels over 500 and 1,437 images
    torch.testing.assert_close(drawn.mean(0), real.mean(0), atol=0.15, rtol=0)
    torch.testing.assert_close(drawn.std(0), real.std(0), atol=0.15, rtol=0)
    assert drawn.dtype == torch.float32


@pytest.mark.slow
def test_images_do_not_depend_on_the_batch(digits):
    fit, denoiser, _ = digits
    x1 = ImageNoise(0, 3).draw((1, 8, 8))
    together = Carleman(fit).run(denoiser, x1).x0
    alone = torch.cat([Carleman(fit).run(denoiser, x).x0 for x in x1.split(1)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_copies_draw_the_same(digits):
    fit, denoiser, _ = digits
    sampler = Carleman(fit)
    x1 = ImageNoise(0, 2).draw((1, 8, 8))
    expected = sampler.run(denoiser, x1).x0
    for other in (copy.deepcopy(sampler), pickle.loads(pickle.dumps(sampler))):
        torch.testing.assert_close(other.run(denoiser, x1).x0, expected)


@pytest.mark.slow
def test_named_hybrids_spend_their_steps_between_the_switch_and_the_cut(digits):
    fit, denoiser, _ = digits
    # docs/carleman.md, "Hybrid mode"
    documented = {1: (0, None), 2: (-1, 0.2), 3: (-1.5, 0.15), 5: (-2, 0.1), None: (-2, 0.1)}
    for steps, (switch, cut) in documented.items():
        sampler = build_sampler("carleman+unipc", steps, fit=fit)
        found = sampler.run(denoiser, ImageNoise(0, 2).draw((1, 8, 8)))
        n = steps or 5
        times = found.times[-n - 1 :]
        assert found.evaluations == n
        assert SCHEDULE.lam(times[0]).item() == pytest.approx(switch)
        assert times[-1] == 0
        assert cut is None or times[-2] == pytest.approx(cut)
        ratios = (-SCHEDULE.lam(times[:-1]) / 7).exp()  # a Karras grid from the switch to the cut
        torch.testing.assert_close(ratios.diff().diff(), torch.zeros(max(0, n - 2)).double())


@pytest.mark.parametrize(
    ("backend", "most"),
    thinned(
        [
            (QLSS(eps=1e-4), 1e-3),
            (LCHS(tolerance=1e-6), 1e-5),
            # whose bound is far above the error of systems that decay at different rates
            (Schrodingerisation(tolerance=1e-4), 1e-5),
        ],
        every=3,
    ),
)
def test_quantum_backends_agree_with_the_direct_one(digits, backend, most):
    # The tolerances are of the whole lifted state, of which x is a part: a tenth is left for that.
    fit, _, _ = digits
    z = np.random.default_rng(0).normal(size=(2, 4))
    direct, quantum = (
        Carleman(fit, order=2, backend=b).advance(z, -1, -0.5) for b in (None, backend)
    )
    errors = relative_errors(quantum, direct)
    assert (errors <= most).all()
    assert (errors > 0).all()


def test_gaussian_control_is_the_flow_of_gaussian_data(digits):
    fit, denoiser, _ = digits
    x1 = ImageNoise(0, 20).draw((1, 8, 8)).double()
    end = build_sampler("gaussian", 8, fit=fit).run(denoiser, x1, t_end=0.1).x0
    mean, components = (torch.as_tensor(p) for p in (fit.latents.mean, fit.latents.components))
    exact = GaussianDenoiser(torch.zeros(64), torch.as_tensor(fit.latents.variances), SCHEDULE)
    start, stop = torch.tensor([1.0, 0.1]).double()
    (alpha, _), (beta, _) = SCHEDULE(start), SCHEDULE(stop)
    flowed = exact.flow((x1.flatten(1) - alpha * mean) @ components.T, start, stop)
    expected = (beta * mean + flowed @ components).reshape(x1.shape)
    # the error of the spline between 48 nodes is about 1e-4, that of Magnus steps is smaller
    torch.testing.assert_close(end, expected, atol=1e-3, rtol=0)


def test_settings_record_how_images_were_sampled(digits):
    fit, _, _ = digits
    settings = Carleman(fit, 8, order=4, then=DDIM(2), switch=-1.0).settings
    assert (settings["dim"], settings["degree"], settings["order"]) == (4, 3, 4)
    assert settings["steps"] == 8
    assert settings["then"]["sampler"] == "ddim"


def other_schedule(fit):
    return CarlemanFit(
        fit.latents, fit.noise, fit.r2, fit.points, {**fit.record, "schedule": {"name": "linear"}}
    )


def diverging(fit):
    """A fit whose equation has no end: a large positive cube in the drift."""
    values = fit.noise.values.copy()
    values[:, 0, -1] -= 1e3
    noise = NoisePolynomial(fit.noise.nodes, values, 3)
    return CarlemanFit(fit.latents, noise, fit.r2, fit.points, fit.record)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda fit: Carleman(fit, 0), "steps needs a whole number from 1, got 0"),
        (lambda fit: Carleman(fit, order=0), "order 1 or more, got 0"),
        (lambda fit: Carleman(fit, closure="guess"), "unknown closure 'guess'"),
        (lambda fit: Carleman(fit, basis="fourier"), "unknown basis 'fourier'"),
        (lambda fit: Carleman(fit, expansion="dpm4"), "unknown expansion in lambda 'dpm4'"),
        (lambda fit: Carleman(fit, then=DDIM(2)), "both a sampler and the lambda"),
        (lambda fit: Carleman(fit, then=DDIM(2), switch=9.0), "lambda between -6 and 3"),
        (lambda fit: Carleman(other_schedule(fit)), "another noise schedule"),
        (lambda fit: Carleman(fit, order=40), "bytes, the limit is"),
        (lambda fit: Carleman(diverging(fit), order=2), "flow diverges between lambda"),
    ],
)
def test_bad_input_is_refused(digits, make, said):
    fit, denoiser, _ = digits
    with pytest.raises(HQDMError, match=said):
        make(fit).run(denoiser, ImageNoise(0, 2).draw((1, 8, 8)))
