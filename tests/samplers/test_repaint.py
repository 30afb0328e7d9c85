"""RePaint: the inner sampler itself, the right noise, and what resampling is for."""

import math

import pytest
import torch

from hqdm.diffusion.analytic import GaussianDenoiser
from hqdm.diffusion.objective import Prediction
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.guidance.replacement import Replacement
from hqdm.samplers import DDIM, DDPM, RePaint, UniPC
from hqdm.samplers.registry import SAMPLERS, build_sampler
from hqdm.samplers.repaint import noise_again
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise

NETWORK = [name for name, entry in SAMPLERS.items() if entry.network and entry.objective is None]
FIXED = [name for name in NETWORK if not SAMPLERS[name].adaptive]

MEAN, VARIANCE = 0.2, 0.5


@pytest.fixture
def denoiser():
    return GaussianDenoiser(torch.tensor(MEAN), torch.tensor(VARIANCE), CosineSchedule())


@pytest.fixture
def x1():
    return ImageNoise(0, 4).draw((1, 3, 3))


def build(name):
    return build_sampler(name, 5 if name in FIXED else None)


@pytest.mark.parametrize("name", NETWORK)
def test_one_resampling_is_the_inner_sampler(denoiser, x1, name):
    inner, once = build(name).run(denoiser, x1), RePaint(build(name), 1).run(denoiser, x1)
    assert torch.equal(once.x0, inner.x0)
    assert torch.equal(once.times, inner.times)
    assert once.evaluations == inner.evaluations


@pytest.mark.parametrize("name", FIXED)
def test_evaluations_of_every_resampling_are_counted(denoiser, x1, name):
    sampler = RePaint(build(name), 3)
    result = sampler.run(denoiser, x1)
    assert result.evaluations == 4 * sampler.evaluations_per_step + 1
    assert sampler.evaluations_per_step == 3 * build(name).evaluations_per_step
    assert sampler.steps_for(result.evaluations) == 5
    assert result.x0.isfinite().all()
    assert not torch.equal(result.x0, build(name)(denoiser, x1))


def test_images_do_not_depend_on_the_batch(denoiser):
    sampler = RePaint(UniPC(5), 3)
    whole = ImageNoise(5, 6)
    x0 = sampler.run(denoiser, whole.draw((1, 3, 3)), noise=whole).x0
    for first, n in ((0, 2), (2, 3), (5, 1)):
        noise = ImageNoise(5, n, first)
        part = sampler.run(denoiser, noise.draw((1, 3, 3)), noise=noise).x0
        assert torch.equal(part, x0[first : first + n])


def test_noising_again_leads_from_one_marginal_to_the_other():
    """Moments of 40,000 numbers, within three standard errors."""
    schedule, n = CosineSchedule(), 40_000
    t, s = torch.tensor([0.7, 0.3], dtype=torch.float64)
    noise = ImageNoise(3, 1)
    alpha, sigma = schedule(s)
    x0 = MEAN + math.sqrt(VARIANCE) * noise.draw((n,)).double()
    x_s = alpha * x0 + sigma * noise.draw((n,)).double()
    x_t = noise_again(schedule, x_s, t, s, noise)
    alpha, sigma = schedule(t)
    variance = alpha**2 * VARIANCE + sigma**2
    assert abs(x_t.mean() - alpha * MEAN) < 3 * (variance / n).sqrt()
    assert abs(x_t.var() - variance) < 3 * variance * math.sqrt(2 / n)
    # Joint with the clean images too: x_t = alpha_t x_0 + sigma_t eps.
    covariance = ((x_t - x_t.mean()) * (x0 - x0.mean())).mean()
    assert abs(covariance - alpha * VARIANCE) < 3 * (variance * VARIANCE * 2 / n).sqrt()


class Correlated:
    """The exact denoiser of two pixels with variances one and covariance RHO."""

    RHO = 0.8

    def __init__(self):
        self.schedule = CosineSchedule()
        self.covariance = torch.tensor([[1, self.RHO], [self.RHO, 1]], dtype=torch.float64)

    def __call__(self, x_t, t, y=None):
        alpha, sigma = self.schedule(t)
        eye = torch.eye(2, dtype=torch.float64)
        marginal = alpha**2 * self.covariance + sigma**2 * eye
        x0 = x_t @ torch.linalg.solve(marginal, alpha * self.covariance)
        return Prediction(x0, (x_t - alpha * x0) / sigma)


@pytest.mark.parametrize("sampler", [DDPM(30), UniPC(30, order=2)], ids=["ddpm", "unipc"])
def test_resampling_brings_the_unknown_pixel_to_its_conditional(sampler):
    """Given one pixel a, the other is N(rho a, 1 - rho^2); here of 8,000 pairs.

    Without resampling the unknown pixel sees the known one late and stays too near to its prior.
    What is left with it is the sampler's own error and that of finitely many resamplings.
    """
    known = 1.5
    image, mask = torch.tensor([known, 0.0]).double(), torch.tensor([True, False])
    denoiser = Replacement(Correlated(), image.expand(1, 2000, 2), mask)
    expected = Correlated.RHO * known
    errors = []
    for resamplings in (1, 20):
        noise = ImageNoise(1, 4)
        x1 = noise.draw((1, 2000, 2)).double()
        x0 = RePaint(sampler, resamplings)(denoiser, x1, noise=noise)[..., 1]
        errors.append(abs(float(x0.mean()) - expected))
    assert errors[0] > 0.4
    assert errors[1] < 0.1


def test_settings_and_names(denoiser, x1):
    sampler = RePaint(UniPC(7), 4)
    assert sampler.settings == {**UniPC(7).settings, "resamplings": 4}
    assert sampler.name == "repaint-unipc"
    assert RePaint(DDIM(40), 1).reversible
    with pytest.raises(HQDMError, match="repaint-ddim cannot run from data to noise"):
        RePaint(DDIM(4), 2).encode(denoiser, x1)
    with pytest.raises(HQDMError, match="resamplings needs a whole number from 1, got 0"):
        RePaint(DDIM(4), 0)
