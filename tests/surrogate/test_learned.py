"""Fits in the latents of an autoencoder, on one whose latents and images are known exactly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from marks import thinned
from torch import nn

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.objective import Reconstruction
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.nn.unet import UNet
from hqdm.surrogate.fit import CarlemanFit
from hqdm.surrogate.latents import LARGEST_VARIANCE, LearnedLatents
from hqdm.surrogate.learned import ClassFits, encode, fit_learned, load_fit
from hqdm.surrogate.sampler import Carleman, ClassCarleman, build_carleman
from hqdm.utils.errors import HQDMError
from hqdm.utils.pixels import to_float
from hqdm.utils.seeds import ImageNoise

QUICK = {"samples": 4000, "nodes": 12}


class Rotated(nn.Module):
    """Latents are three fixed combinations of the pixels, and images their transposes."""

    dim = 3
    sample_shape = (1, 2, 3)

    def __init__(self, n_classes=None):
        super().__init__()
        turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0][:3]
        self.turn = nn.Parameter(torch.as_tensor(turn * np.array([[1.0], [2.0], [0.5]])))
        self.n_classes = n_classes

    config = property(lambda self: {})
    parts = property(lambda self: {})

    @classmethod
    def from_config(cls, config):
        return cls()

    def encode(self, x):
        return x.flatten(1) @ self.turn.T

    def decode(self, z):
        return (z @ torch.linalg.pinv(self.turn).T).reshape(-1, *self.sample_shape)

    def forward(self, x, t, y=None):
        return self.decode(self.encode(x))


def model(n_classes=None):
    return Denoiser(Rotated(n_classes), CosineSchedule(), Reconstruction()).eval()


def images(n=3000, seed=0):
    """Images whose latents are correlated and not Gaussian, of two classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    z = rng.normal(size=(n, 6)) * 20 + 128
    z[:, 0] += 40 * (2 * y - 1)
    z[:, 1] += 0.5 * z[:, 0]
    return torch.as_tensor(z.clip(0, 255).astype(np.uint8)).reshape(n, 1, 2, 3), torch.as_tensor(y)


def test_whitened_latents_have_unit_covariance_times_the_variance():
    x, _ = images()
    denoiser = model()
    encoded = encode(denoiser, x)
    np.testing.assert_allclose(
        encoded, (to_float(x).flatten(1).double() @ denoiser.network.turn.T).detach(), atol=1e-6
    )
    latents = LearnedLatents.fit_encoded(encoded, denoiser.network)
    z = latents.whitened(encoded)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(z.T @ z / len(z), LARGEST_VARIANCE * np.eye(3), atol=1e-10)
    assert latents.dissipative
    assert latents.explained == 1
    assert latents.time(0.3) == 0.3


def test_images_of_latents_are_those_of_the_decoder():
    """Whitening and its inverse cancel: an image comes back as its reconstruction."""
    x, _ = images(50)
    denoiser = model()
    encoded = encode(denoiser, x)
    latents = LearnedLatents.fit_encoded(encoded, denoiser.network)
    z = torch.as_tensor(latents.whitened(encoded))
    like = torch.zeros(50, 1, 2, 3, dtype=torch.float64)
    expected = denoiser.network.decode(torch.as_tensor(encoded))
    torch.testing.assert_close(latents.images(z, 1.0, like), expected, atol=1e-10, rtol=0)
    assert latents.images(z, 0.5, like) is like
    with pytest.raises(HQDMError, match="load the fit with its model"):
        replace(latents, autoencoder=None).images(z, 1.0, like)


@pytest.mark.parametrize("n_classes", thinned([None, 2], every=2))
def test_samples_have_the_mean_and_covariance_of_the_data(n_classes):
    """Degree 1 on any data is the flow of a Gaussian of the same covariance, here of each class."""
    x, y = images()
    denoiser = model(n_classes)
    fit = fit_learned(denoiser, x, 1, labels=y, samples=20_000, nodes=48)
    n = 8000
    labels = None if n_classes is None else torch.arange(n) % 2
    x1 = ImageNoise(3, n).draw((1, 2, 3)).double()
    drawn = build_carleman(fit, 8, order=1).run(denoiser, x1, labels).x0
    encoded = encode(denoiser, x)
    got = (drawn.flatten(1) @ denoiser.network.turn.T).detach().numpy()
    for k in range(2) if n_classes else (slice(None),):
        own = encoded[(y == k).numpy()] if n_classes else encoded
        mine = got[(labels == k).numpy()] if n_classes else got
        deviations = own.std(0)
        # standard errors of a mean 1 / sqrt(4000) and of a variance sqrt(2 / 4000) = 0.022; the fit
        # of each has the same from its images
        assert (abs(mine.mean(0) - own.mean(0)) / deviations).max() < 0.1
        scaled = (np.cov(mine.T) - np.cov(own.T)) / np.outer(deviations, deviations)
        assert abs(scaled).max() < 0.12
    # the whole data have two modes, which one Gaussian has not
    assert isinstance(fit, ClassFits if n_classes else CarlemanFit)


def test_each_image_takes_the_fit_of_its_label():
    x, y = images()
    denoiser = model(2)
    fits = fit_learned(denoiser, x, 2, labels=y, **QUICK)
    sampler = build_carleman(fits, 4, order=2)
    assert isinstance(sampler, ClassCarleman)
    x1 = ImageNoise(0, 6).draw((1, 2, 3)).double()
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    drawn = sampler.run(denoiser, x1, labels).x0
    for k, fit in enumerate(fits.fits):
        alone = Carleman(fit, 4, order=2, closure="drop").run(denoiser, x1, labels).x0
        own = labels == k
        torch.testing.assert_close(drawn[own], alone[own], atol=1e-12, rtol=0)
        assert not torch.allclose(drawn[~own], alone[~own], atol=1e-3)
    assert sampler.settings["classes"] == 2
    assert len(sampler.system) == 10
    for bad in (None, torch.tensor([0, 1, 2, 0, 1, 0])):
        with pytest.raises(HQDMError, match="every image needs a label"):
            sampler.run(denoiser, x1, bad)


def test_a_fit_of_the_images_of_a_class_is_that_of_the_class():
    x, y = images()
    both = fit_learned(model(2), x, 2, labels=y, **QUICK)
    alone = fit_learned(model(), x[y == 1], 2, **QUICK)
    np.testing.assert_array_equal(both.fits[1].noise.values, alone.noise.values)
    np.testing.assert_array_equal(both.fits[1].points, alone.points)


@pytest.mark.parametrize("n_classes", [None, 2])
def test_a_fit_is_read_as_it_was_written(tmp_path, n_classes):
    x, y = images()
    denoiser = model(n_classes)
    fit = fit_learned(denoiser, x, 2, labels=y, **QUICK)
    path = tmp_path / "fit.safetensors"
    fit.save(path)
    again = load_fit(tmp_path, denoiser, str(path))
    x1 = ImageNoise(0, 6).draw((1, 2, 3)).double()
    labels = torch.arange(6) % 2
    for one, other in ((fit, again), (fit.gaussian(), again.gaussian())):
        made = (
            build_carleman(each, 4, order=2).run(denoiser, x1, labels).x0 for each in (one, other)
        )
        assert (next(made) == next(made)).all()
    fit.save_plot(tmp_path / "fit.png")
    assert (tmp_path / "fit.png").stat().st_size > 1000
    other = model(n_classes)
    other.network.turn.data += 1e-3
    with pytest.raises(HQDMError, match="belongs to another model"):
        load_fit(tmp_path, other, str(path))
    if n_classes:
        with pytest.raises(HQDMError, match="not those of None classes"):
            load_fit(tmp_path, model(), str(path))


def test_latents_beyond_all_fitted_points_are_scaled_back():
    """To their largest norm at that lambda; others are left as they are."""
    x, _ = images()
    fit = fit_learned(model(), x, 2, **QUICK)
    sampler = Carleman(fit, 4, 2, closure="drop")
    z = np.array([[0.1, -0.2, 0.3], [300.0, -400.0, 0.0]])
    ends = sampler._within(z, 1.5)
    radius = np.linalg.norm(fit.samples(1.5), axis=1).max()
    np.testing.assert_array_equal(ends[0], z[0])
    np.testing.assert_allclose(ends[1], radius * np.array([0.6, -0.8, 0.0]), rtol=1e-12)
    other = np.linalg.norm(fit.samples(-3.0), axis=1).max()
    assert abs(other / radius - 1) > 0.01
    assert np.linalg.norm(sampler._within(z, -3.0)[1]) == pytest.approx(other)
    moved = sampler.advance(z * 20, 1.0, 1.5)
    assert np.linalg.norm(moved, axis=1).max() <= radius * (1 + 1e-12)


def test_defaults_in_learned_latents():
    x, y = images()
    for fit in (fit_learned(model(), x, **QUICK), fit_learned(model(2), x, labels=y, **QUICK)):
        sampler = build_carleman(fit)
        assert (sampler.settings["order"], sampler.settings["closure"]) == (3, "drop")
        assert build_carleman(fit, order=1).settings["order"] == 1


def test_latents_of_another_network_are_refused():
    x, _ = images(100)
    denoiser = model()
    latents = LearnedLatents.fit_encoded(encode(denoiser, x), denoiser.network)
    with pytest.raises(HQDMError, match="3 latents of an autoencoder, and the model is UNet"):
        latents.of_model(UNet(1, 8, 8, (1, 2)))
    smaller = Rotated()
    smaller.dim = 2
    with pytest.raises(HQDMError, match="3 latents of an autoencoder, and the model is Rotated"):
        latents.of_model(smaller)


def test_what_has_no_meaning_is_refused():
    x, y = images(60)
    denoiser = model()
    fit = fit_learned(denoiser, x, 1, **QUICK)
    sampler = build_carleman(fit)
    x1 = ImageNoise(0, 2).draw((1, 2, 3))
    with pytest.raises(HQDMError, match="goes from noise at t = 1"):
        sampler.run(denoiser, x1, t_start=0.5)
    with pytest.raises(HQDMError, match="no network can continue"):
        build_carleman(fit, 4, "unipc")
    classes = fit_learned(model(2), x, 1, labels=y, **QUICK)
    with pytest.raises(HQDMError, match="no network can continue: leave unipc out"):
        build_carleman(classes, 4, "unipc")
    with pytest.raises(HQDMError, match="an autoencoder does not predict noise"):
        denoiser(x1, torch.ones(2))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nodes": 1}, "nodes needs a whole number from 2"),
        ({"seed": -1}, "seed needs a whole number"),
        ({"samples": 0}, "samples needs a whole number from 1"),
        ({"labels": torch.zeros(60, dtype=torch.long)}, "class 1 has 0 images for 3 latents"),
        ({"labels": (torch.arange(60) < 3).long()}, "class 1 has 3 images for 3 latents"),
    ],
)
def test_options_out_of_range_are_refused(change, said):
    x, y = images(60)
    with pytest.raises(HQDMError, match=said):
        fit_learned(model(2), x, 1, **{"labels": y, **QUICK, **change})


def test_a_network_without_latents_is_refused():
    unet = Denoiser(UNet(1, 8, 8, (1, 2)), CosineSchedule())
    with pytest.raises(HQDMError, match="learned latents are those of an autoencoder, got UNet"):
        fit_learned(unet, torch.zeros(10, 1, 8, 8, dtype=torch.uint8))
