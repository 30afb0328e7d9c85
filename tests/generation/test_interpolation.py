"""Images to noise and back."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from hqdm.diffusion.analytic import GaussianDenoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.generation.interpolation import interpolate, slerp, write_interpolation
from hqdm.samplers import DDPM, UniPC
from hqdm.samplers.stochastic import Rex
from hqdm.utils.errors import HQDMError
from hqdm.utils.pixels import to_uint8
from hqdm.utils.seeds import ImageNoise


class Gaussian(torch.nn.Module):
    """Gaussian data as a module: interpolating asks a model for its device."""

    def __init__(self):
        super().__init__()
        self.schedule = CosineSchedule()
        self.mean = torch.nn.Parameter(torch.tensor(0.2, dtype=torch.float64))
        self.exact = GaussianDenoiser(self.mean, torch.tensor(0.3).double(), self.schedule)

    def forward(self, x, t, y=None):
        return self.exact(x, t, y)


IMAGES = torch.linspace(-1, 1, 32).double().view(2, 1, 4, 4)


def test_an_arc_keeps_the_length():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 1, 4, 4, generator=generator).double()
    b = b * a.norm() / b.norm()
    points = slerp(a, b, torch.linspace(0, 1, 5).double())
    torch.testing.assert_close(points[[0, -1]], torch.stack([a, b]), rtol=0, atol=1e-12)
    lengths = points.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, a.norm().expand(5), rtol=1e-12, atol=0)
    angles = torch.nn.functional.cosine_similarity(points[1:].flatten(1), points[:-1].flatten(1))
    torch.testing.assert_close(angles, angles[:1].expand(4), rtol=0, atol=1e-12)
    assert torch.equal(slerp(a, a, torch.tensor([0.5]).double())[0], a)


def test_the_ends_are_the_images_and_the_flow_is_linear():
    told = []
    result = interpolate(Gaussian(), UniPC(60), IMAGES, 5, lambda *now: told.append(now))
    assert told == [(task, i, 60) for task in ("encoding", "decoding") for i in range(61)]
    assert result.round_trip.max() < 0.02
    torch.testing.assert_close(result.strip[[0, -1]], IMAGES, rtol=0, atol=0.05)
    # The flow of a Gaussian is affine, mean to mean: the middle of an arc decodes to the mean plus
    # the same multiple of both images' distances from it.
    middle, ends = result.strip[2] - 0.2, result.strip[[0, -1]].sum(0) - 0.4
    shares = middle / ends
    torch.testing.assert_close(shares, shares.mean().expand_as(shares), rtol=0, atol=0.05)


@pytest.mark.parametrize("tau", [0.0, 0.3])
def test_a_reversible_solver_returns_to_both_images(tau):
    """All images have the same noise of the steps, also those of a longer strip."""
    result = interpolate(Gaussian(), Rex(10, tau=tau), IMAGES, 5)
    assert result.strip.shape == (5, 1, 4, 4)
    assert result.round_trip.max() < 1e-12
    assert result.noise.shape == (2, 2)
    # Steps are affine in the pair, so that the images, less what the noise of the steps alone leads
    # to, are combinations of those at the ends.
    zero = torch.zeros(1, 2, 1, 4, 4, dtype=torch.float64)
    origin = Rex(10, tau=tau)(Gaussian(), zero, noise=ImageNoise(0, 1))
    plane = torch.cat([IMAGES - origin, (result.strip - origin)[1:-1]]).flatten(1)
    assert torch.linalg.matrix_rank(plane, rtol=1e-10) == 2


@pytest.mark.slow
def test_the_command_takes_a_reversible_solver(hqdm, trained, tmp_path):
    """The options of the sampler are in the record. The errors are those of rounding to float32.

    Encoding amplifies them, above all with a model of six steps, which hardly predicts the noise.
    """
    for i, name in enumerate("ab"):
        Image.new("L", (8, 8), 200 * i).save(tmp_path / f"{name}.png")
    images = ("--images", tmp_path / "a.png", tmp_path / "b.png", "--steps", 10, "--n", 3)

    def record_of(*sampler):
        out = ("--out", tmp_path / sampler[0], "--sampler", *sampler)
        assert hqdm("interpolate", "--checkpoint", trained, *images, *out).code == 0
        return json.loads((tmp_path / sampler[0] / "interpolation.json").read_text())

    found = record_of("rex", "--sampler-options", "tau=0.1")
    assert (found["sampler"], found["steps"], found["tau"]) == ("rex", 10, 0.1)
    other = record_of("unipc3")
    assert max(found["round_trip_rms"]) < 0.1 * min(other["round_trip_rms"])


def test_files(tmp_path):
    sampler = UniPC(10)
    result = interpolate(Gaussian(), sampler, IMAGES, 3)
    write_interpolation(result, sampler, ["a.png", "b.png"], tmp_path)
    record = json.loads((tmp_path / "interpolation.json").read_text())
    assert record["round_trip_rms"] == result.round_trip.tolist()
    assert record["images"] == ["a.png", "b.png"]
    with Image.open(tmp_path / "interpolation.png") as picture:
        pixels = np.asarray(picture)
    unit = IMAGES.shape[-1] + 1
    factor = pixels.shape[1] // (5 * unit)
    top = pixels.shape[0] - factor * unit
    assert top > 0  # the heads
    cells = pixels[top::factor, ::factor].reshape(unit, 5, unit).swapaxes(0, 1)[:, :-1, :-1]
    shown = torch.cat([IMAGES[:1], result.strip, IMAGES[1:]])
    assert np.array_equal(cells, to_uint8(shown)[:, 0].numpy())
    columns = np.split(pixels[:top], 5, axis=1)
    assert all((column < 100).any() for column in columns)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--n", 1), "n needs a whole number from 2, got 1"),
        (("--sampler", "ddpm"), "ddpm cannot run from data to noise"),
        (("--sampler", "dpm-adaptive"), "dpm-adaptive takes no steps"),
    ],
)
def test_a_refused_command_leaves_nothing(refused, trained, tmp_path, options, said):
    """`refused` looks for the folder."""
    for name in "ab":
        Image.new("L", (8, 8)).save(tmp_path / f"{name}.png")
    images = ("--images", tmp_path / "a.png", tmp_path / "b.png", "--out", tmp_path / "out")
    assert said in refused("interpolate", "--checkpoint", trained, *images, *options)


def test_mistakes():
    with pytest.raises(HQDMError, match="n needs a whole number from 2, got 1"):
        interpolate(Gaussian(), UniPC(5), IMAGES, 1)
    with pytest.raises(HQDMError, match="ddpm cannot run from data to noise"):
        interpolate(Gaussian(), DDPM(5), IMAGES, 3)


def test_a_float64_model_interpolates_in_float64():
    """Both ends of the strip are the images, encoded and decoded in float64."""
    model, images = Gaussian(), IMAGES.float()
    found = interpolate(model, UniPC(3), images, 3)
    assert {found.strip.dtype, found.noise.dtype, found.round_trip.dtype} == {torch.float64}
    noise = UniPC(3).encode(model, images.double()).x0
    torch.testing.assert_close(found.strip[[0, -1]], UniPC(3)(model, noise), rtol=0, atol=1e-14)
