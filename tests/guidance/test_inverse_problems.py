"""Known pixels and linear measurements, against Gaussian data whose posterior is known."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from hqdm.diffusion.analytic import GaussianDenoiser
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import CosineSchedule, LinearSchedule
from hqdm.guidance.clip import Clip
from hqdm.guidance.operators import Blur, Masked
from hqdm.guidance.posterior import PosteriorSampling
from hqdm.guidance.replacement import Replacement
from hqdm.nn.unet import UNet
from hqdm.samplers import DDIM, DPMSolver, DPMSolverExact
from hqdm.samplers.registry import SAMPLERS, build_sampler
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise

MEAN, VARIANCE = 0.2, 0.5
SHAPE = (2, 5, 4)
IMAGE = ImageNoise(11, 1).draw(SHAPE)[0].clamp(-1, 1)
MASK = torch.arange(20).view(5, 4) % 3 > 0


def gaussian(dtype=torch.float64, schedule=None):
    levels = (torch.tensor(value, dtype=dtype) for value in (MEAN, VARIANCE))
    return GaussianDenoiser(*levels, schedule or CosineSchedule())


def noisy(n=3, seed=0):
    return ImageNoise(seed, n).draw(SHAPE).double()


NETWORK = [name for name, entry in SAMPLERS.items() if entry.network]
FIXED = [name for name in NETWORK if not SAMPLERS[name].adaptive]


@pytest.mark.parametrize("schedule", [CosineSchedule(), LinearSchedule()], ids=["cosine", "linear"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NETWORK)
def test_known_pixels_are_drawn_bit_for_bit(name, dtype, schedule):
    sampler = build_sampler(name, steps=4 if name in FIXED else None)
    known = Replacement(gaussian(dtype, schedule), IMAGE.to(dtype), MASK)
    drawn = sampler(known, noisy().to(dtype))
    assert torch.equal(drawn[..., MASK], IMAGE.to(dtype)[..., MASK].expand(3, -1, -1))
    assert (drawn[..., ~MASK] - IMAGE[..., ~MASK]).abs().min() > 0


def test_replacement_keeps_the_sum_and_the_other_pixels():
    x_t, t = noisy(), torch.tensor([0.2, 0.7, 1.0]).double()
    plain, known = gaussian()(x_t, t), Replacement(gaussian(), IMAGE.double(), MASK)
    x0, eps = known(x_t, t)
    assert torch.equal(x0[..., ~MASK], plain.x0[..., ~MASK])
    torch.testing.assert_close(eps[..., ~MASK], plain.eps[..., ~MASK])
    alpha, sigma = (level.view(-1, 1, 1, 1) for level in known.schedule(t))
    torch.testing.assert_close(alpha * x0 + sigma * eps, x_t)


def test_every_image_of_a_batch_may_have_its_own_known_part():
    images = noisy(3, seed=4)
    masks = torch.rand(3, 1, 5, 4) > 0.5
    drawn = DDIM(3)(Replacement(gaussian(), images, masks), noisy())
    for image, mask, x0 in zip(images, masks, drawn, strict=True):
        alone = DDIM(3)(Replacement(gaussian(), images, mask), noisy())
        expected = DDIM(3)(Replacement(gaussian(), image, mask), noisy())
        assert torch.equal(x0[mask.expand(SHAPE)], image[mask.expand(SHAPE)])
        assert not torch.equal(alone, expected)


@pytest.mark.parametrize(
    "mask", [torch.ones(4, 4), torch.ones(3, 5, 4), torch.ones(2, 2, 5, 4), torch.ones(5, 4, 1)]
)
def test_a_mask_of_another_size_is_refused(mask):
    with pytest.raises(HQDMError, match="the mask is .*, the image 2 x 5x4: use a mask of that"):
        Replacement(gaussian(), IMAGE, mask)


def test_an_image_of_another_size_is_refused():
    known = Replacement(gaussian(), IMAGE, MASK)
    with pytest.raises(HQDMError, match="known image is 2 x 5x4, the model generates 2 x 5x5: "):
        known(torch.zeros(1, 2, 5, 5).double(), torch.tensor(0.5))


OPERATORS = {
    "mask": Masked(MASK),
    "super-resolution": torch.nn.AvgPool2d(2),
    "blur": Blur(1.2),
}


@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(sorted(OPERATORS)),
    t=st.floats(0.02, 1.0),
    scale=st.floats(0.01, 20.0),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_gradient_is_that_of_the_closed_form(name, t, scale, seed):
    """x0(x_t) is linear with slope j, so that the gradient is -j A^T r / |r|, A as a matrix."""
    operator, t = OPERATORS[name], torch.tensor(t, dtype=torch.float64)
    y = operator(noisy(1, seed + 1))[0]
    x_t = noisy(2, seed)
    plain = gaussian()(x_t, t)
    guided = PosteriorSampling(gaussian(), operator, y, scale)(x_t, t)

    basis = torch.eye(40, dtype=torch.float64).view(40, *SHAPE)
    matrix = operator(basis).flatten(1).T  # rows are measurements
    alpha, sigma = CosineSchedule()(t)
    slope = alpha * VARIANCE / (alpha**2 * VARIANCE + sigma**2)
    residual = y.flatten() - plain.x0.flatten(1) @ matrix.T
    gradient = -slope * (residual / residual.norm(dim=1, keepdim=True)) @ matrix
    expected = plain.eps + scale * sigma * gradient.view_as(x_t)
    torch.testing.assert_close(guided.eps, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(alpha * guided.x0 + sigma * guided.eps, x_t, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("t", [0.1, 0.6, 1.0])
def test_at_the_right_scale_the_posterior_mean_is_exact(t):
    """Pixels measured with noise: three independent sources, weighted by their precisions.

    The prior says MEAN with 1 / VARIANCE, x_t says x_t / alpha with alpha^2 / sigma^2, the
    measurement y with 1 / s^2. The scale is that of the docstring, of one image at a time.
    """
    s2, t = 0.3, torch.tensor(t, dtype=torch.float64)
    y = IMAGE.double()
    alpha, sigma = CosineSchedule()(t)
    precision = 1 / VARIANCE + alpha**2 / sigma**2
    for x_t in noisy().split(1):
        plain = gaussian()(x_t, t)
        scale = (y - plain.x0)[..., MASK].norm() / (1 / precision + s2)
        operator = Masked(MASK)
        guided = PosteriorSampling(gaussian(), operator, operator(y), float(scale))(x_t, t)
        free = (MEAN / VARIANCE + alpha * x_t / sigma**2) / precision
        met = (MEAN / VARIANCE + alpha * x_t / sigma**2 + y / s2) / (precision + 1 / s2)
        expected = torch.where(MASK, met, free)
        torch.testing.assert_close(guided.x0, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("operator", "sampler"),
    [
        *(("super-resolution", name) for name in FIXED),
        *((operator, "ddim") for operator in OPERATORS),
    ],
)
def test_what_is_drawn_comes_nearer_to_the_measurement(operator, sampler):
    operator, sampler = OPERATORS[operator], build_sampler(sampler, 10)
    y = operator(IMAGE.double()[None])
    distances = []
    for scale in (0.0, 2.0, 6.0):
        guided = PosteriorSampling(gaussian(), operator, y, scale)
        distances.append(guided.distance(sampler(guided, noisy())))
    assert (distances[1] < 0.9 * distances[0]).all()
    assert (distances[2] < 0.9 * distances[1]).all()


def test_pixels_that_are_not_measured_stay():
    """Independent data: nothing is learnt of the others."""
    masked = Masked(MASK)
    guided = PosteriorSampling(gaussian(), masked, masked(IMAGE.double()), 3.0)
    drawn, plain = (DDIM(5)(denoiser, noisy()) for denoiser in (guided, gaussian()))
    assert torch.equal(drawn[..., ~MASK], plain[..., ~MASK])


def test_scale_zero_is_no_guidance():
    guided = PosteriorSampling(gaussian(), torch.nn.AvgPool2d(2), torch.zeros(2, 2, 2), 0)
    assert torch.equal(DDIM(4)(guided, noisy()), DDIM(4)(gaussian(), noisy()))


def test_a_measurement_that_is_met_leaves_the_prediction():
    """The norm has no gradient at zero; it must not become NaN."""
    x_t, t = noisy(), torch.tensor(0.5).double()
    plain = gaussian()(x_t, t)
    guided = PosteriorSampling(gaussian(), torch.nn.Identity(), plain.x0, 2.0)(x_t, t)
    assert torch.equal(guided.x0, plain.x0)
    assert torch.equal(guided.eps, plain.eps)


def test_posterior_sampling_around_a_network():
    """In float32, with labels, inside of clipping; nothing keeps a graph."""
    torch.manual_seed(0)
    network = UNet(channels=1, size=8, dim=8, mults=(1, 2), n_classes=3)
    denoiser = Denoiser(network, CosineSchedule())
    operator = torch.nn.AvgPool2d(2)
    guided = PosteriorSampling(denoiser, operator, torch.full((1, 4, 4), 0.5), 20.0)
    x1, y = ImageNoise(0, 2).draw((1, 8, 8)), torch.tensor([0, 2])
    drawn = DDIM(8)(Clip(guided), x1, y)
    assert drawn.dtype == torch.float32
    with torch.no_grad():
        assert not guided(x1, torch.tensor(0.9), y).x0.requires_grad
    assert all(parameter.grad is None for parameter in denoiser.parameters())
    plain = DDIM(8)(Clip(denoiser), x1, y)
    assert (guided.distance(drawn) < guided.distance(plain)).all()


@pytest.mark.parametrize("order", [2, 3])
def test_exact_derivatives_go_through_the_gradient(order):
    """Both solvers approach the same flow; without the gradient's own derivative one would not."""
    operator = Blur(1.2)
    guided = PosteriorSampling(gaussian(), operator, operator(IMAGE.double()[None]), 2.0)
    walk = {"t_start": 0.9, "t_end": 0.1}
    flow = DPMSolver(400, order=3).run(guided, noisy(), **walk).x0
    errors = [
        (DPMSolverExact(steps, order=order).run(guided, noisy(), **walk).x0 - flow).abs().max()
        for steps in (40, 80)
    ]
    assert errors[0] / errors[1] > 2 ** (order - 0.3)
    assert errors[1] < 1e-3


def test_invalid_input_of_posterior_sampling_is_refused():
    with pytest.raises(HQDMError, match="needs a scale of 0 or more, got -1"):
        PosteriorSampling(gaussian(), torch.nn.AvgPool2d(2), torch.zeros(2, 2, 2), -1)
    guided = PosteriorSampling(gaussian(), torch.nn.AvgPool2d(2), torch.zeros(2, 5, 4), 1)
    with pytest.raises(HQDMError, match=r"has shape \(2, 5, 4\), the operator gives \(2, 2, 2\)"):
        DDIM(2)(guided, noisy())


@pytest.mark.parametrize("std", [0.4, 1.0, 2.5])
def test_blur_is_a_gaussian_filter(std):
    images = noisy(2)
    reach = max(1, round(3 * std))
    expected = gaussian_filter(images, std, axes=(2, 3), mode="nearest", radius=reach)
    np.testing.assert_allclose(Blur(std)(images), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(Blur(std)(images[0]), expected[0], rtol=0, atol=1e-12)


def test_blur_needs_a_width():
    with pytest.raises(HQDMError, match="a standard deviation above 0, got 0"):
        Blur(0)


def test_everything_copies_and_pickles():
    known = Replacement(gaussian(), IMAGE.double(), MASK)
    guided = PosteriorSampling(known, Blur(1.0), Blur(1.0)(IMAGE.double()[None]), 2.0)
    expected = DDIM(2)(guided, noisy())
    for other in (copy.deepcopy(guided), pickle.loads(pickle.dumps(guided))):
        assert torch.equal(DDIM(2)(other, noisy()), expected)
