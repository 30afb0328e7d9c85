"""Posterior sampling of linear measurements, on Gaussian data whose posterior is known."""

import copy
import pickle

import pytest
import torch
from gaussian_images import (
    FIXED,
    IMAGE,
    MASK,
    MEAN,
    OPERATORS,
    SHAPE,
    VARIANCE,
    gaussian,
    noisy,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import slow, thinned

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import CosineSchedule, MixingSchedule
from hqdm.guidance.clip import Clip
from hqdm.guidance.operators import Blur, Masked
from hqdm.guidance.posterior import PosteriorSampling
from hqdm.guidance.replacement import Replacement
from hqdm.nn.unet import UNet
from hqdm.samplers import DDIM, DPMSolver, DPMSolverExact
from hqdm.samplers.registry import build_sampler
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise


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
    thinned(
        [
            *(("super-resolution", name) for name in FIXED),
            *((operator, "ddim") for operator in OPERATORS),
        ],
        every=6,
    ),
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("order", [2, slow(3)])
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


def test_mistakes_of_posterior_sampling():
    with pytest.raises(HQDMError, match="needs a scale of 0 or more, got -1"):
        PosteriorSampling(gaussian(), torch.nn.AvgPool2d(2), torch.zeros(2, 2, 2), -1)
    guided = PosteriorSampling(gaussian(), torch.nn.AvgPool2d(2), torch.zeros(2, 5, 4), 1)
    with pytest.raises(HQDMError, match=r"has shape \(2, 5, 4\), the operator gives \(2, 2, 2\)"):
        DDIM(2)(guided, noisy())


def test_everything_copies_and_pickles():
    known = Replacement(gaussian(), IMAGE.double(), MASK)
    guided = PosteriorSampling(known, Blur(1.0), Blur(1.0)(IMAGE.double()[None]), 2.0)
    expected = DDIM(2)(guided, noisy())
    for other in (copy.deepcopy(guided), pickle.loads(pickle.dumps(guided))):
        assert torch.equal(DDIM(2)(other, noisy()), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_of_a_model_in_half_precision_are_in_float32(dtype):
    model = Denoiser(UNet(size=8, dim=4, mults=(1, 2)), CosineSchedule(), "v").to(dtype)
    blur, y = Blur(1.0), torch.zeros(1, 1, 8, 8)
    x, t = ImageNoise(0, 2).draw((1, 8, 8)), torch.tensor(0.6)
    found = PosteriorSampling(model, blur, y, 2.0)(x, t)
    expected = PosteriorSampling(copy.deepcopy(model).float(), blur, y, 2.0)(x, t)
    assert torch.equal(found.x0, expected.x0)
    assert torch.equal(found.eps, expected.eps)
    assert PosteriorSampling(model, blur, y, 2.0)(x.to(dtype), t).eps.dtype == dtype


def test_under_autocast():
    model = Denoiser(UNet(size=8, dim=4, mults=(1, 2)), CosineSchedule(), "v")
    guided = PosteriorSampling(model, Blur(1.0), torch.zeros(1, 1, 8, 8), 2.0)
    x, t = ImageNoise(0, 2).draw((1, 8, 8)), torch.tensor(0.6)
    with torch.autocast("cpu", torch.bfloat16):
        found = guided(x, t)
    assert torch.equal(found.eps, guided(x, t).eps)


def test_noise_alone_is_refused():
    denoiser = gaussian(schedule=MixingSchedule())
    with pytest.raises(HQDMError, match="posterior sampling divides by alpha, which is 0 at t = 1"):
        PosteriorSampling(denoiser, torch.nn.Identity(), torch.zeros(1, 2, 2), 1.0)
