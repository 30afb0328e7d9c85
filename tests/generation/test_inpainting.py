"""Filling the hole in an image: what is kept, what is written, what is refused."""

import json

import numpy as np
import pytest
import torch
from marks import thinned
from networks import Toy
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.loading import load_denoiser
from hqdm.diffusion.objective import StepBack
from hqdm.diffusion.schedule import MixingSchedule
from hqdm.generation.inpainting import (
    INPAINT_FILES,
    Known,
    fill_images,
    hole_of,
    inpainting_scores,
    read_known,
)
from hqdm.generation.sampling import sample_images
from hqdm.metrics import region_scores
from hqdm.nn.amplitude.procrustes import BestUnitary
from hqdm.nn.baselines import SmallUNet
from hqdm.samplers import DDIM, RePaint
from hqdm.samplers.recursive import Iterate, UnitarySampling
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
HOLE = np.zeros((8, 8), dtype=bool)
HOLE[3:, 2:7] = True


@pytest.fixture
def write(tmp_path):
    """Writes an array as an image file and returns its path."""

    def save(name, pixels):
        Image.fromarray(pixels).save(tmp_path / name)
        return tmp_path / name

    return save


@pytest.fixture
def files(write):
    return write("image.png", PIXELS), write("mask.png", np.where(HOLE, 255, 0).astype(np.uint8))


@pytest.fixture
def command(trained, files, tmp_path):
    """The arguments of the command, for a few quick fillings."""
    image, mask = files
    model = ("inpaint", "--checkpoint", trained / "last.ckpt", "--image", image, "--mask", mask)
    return (*model, "--n", 3, "--steps", 3, "--resample", 2, "--out", tmp_path / "out")


def fillings(folder):
    return load_file(folder / "images.safetensors")["images"].numpy()


def test_white_is_filled_and_the_rest_is_kept(hqdm, command, tmp_path):
    outcome = hqdm(*command)
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.out.startswith("3 fillings, 5 network evaluations each: ")
    out = tmp_path / "out"
    assert {f.name for f in out.iterdir()} == set(INPAINT_FILES)
    assert all(str(out / name) in outcome.out for name in INPAINT_FILES)
    images = fillings(out)
    assert images.shape == (3, 1, 8, 8)
    assert (images[..., ~HOLE] == PIXELS[~HOLE]).all()
    assert len({image[..., HOLE].tobytes() for image in images}) == 3
    record = json.loads((out / "inpaint.json").read_text())
    assert (record["sampler"], record["steps"], record["resamplings"]) == ("unipc", 3, 2)
    assert record["mask"] == str(tmp_path / "mask.png")
    grid = np.asarray(Image.open(out / "grid.png"))
    scale = grid.shape[0] // 18  # two rows, a pixel apart: the given image, and below the others
    left = grid.shape[1] - 3 * 9 * scale
    first = grid[: 8 * scale : scale, left : left + 8 * scale : scale]
    assert (first[~HOLE] == PIXELS[~HOLE]).all()
    assert (first[HOLE] == 128).all()
    below = grid[9 * scale :: scale, left::scale][:8].reshape(8, 3, 9)[:, :, :8].swapaxes(0, 1)
    assert (below == images[:, 0]).all()
    for row in (grid[: 9 * scale, :left], grid[9 * scale :, :left]):  # their names
        assert (row < 100).any()


@pytest.mark.slow
def test_the_command_draws_what_the_library_does(hqdm, command, trained, files, tmp_path):
    seeded = (*command, "--seed", 3, "--sampler", "ddim", "--batch-size", 2)
    assert hqdm(*seeded).code == 0
    denoiser = load_denoiser(trained / "last.ckpt")
    known = read_known(*files, denoiser.sample_shape)
    samples = sample_images(denoiser, RePaint(DDIM(3), 2), 3, seed=3, around=known.around)
    assert torch.equal(torch.where(known.mask, samples.images, 0)[1], known.holed)
    # Batches of other sizes round otherwise: by a grey level at most.
    expected = ((samples.images + 1) * 127.5).round().clamp(0, 255).numpy()
    assert np.abs(fillings(tmp_path / "out") - expected).max() <= 1


@pytest.mark.slow
def test_labels_and_guidance(hqdm, command, trained_classes, tmp_path):
    labelled = (*command, "--checkpoint", trained_classes / "last.ckpt", "--guidance", 3)
    assert hqdm(*labelled, "--label", 3, "--out", tmp_path / "a").code == 0
    assert hqdm(*labelled, "--label", 4, "--out", tmp_path / "b").code == 0
    assert not np.array_equal(fillings(tmp_path / "a"), fillings(tmp_path / "b"))


@pytest.mark.slow
def test_nothing_is_written_over(hqdm, refused, command, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "inpaint.json").write_text("mine")
    assert "already holds inpaint.json: --overwrite" in refused(*command)
    assert (tmp_path / "out" / "inpaint.json").read_text() == "mine"
    assert hqdm(*command, "--overwrite").code == 0


def test_grey_counts_as_the_nearer(write, files):
    greys = write("greys.png", np.where(HOLE, 128, 127).astype(np.uint8))
    expected, known = (read_known(files[0], mask, (1, 8, 8)) for mask in (files[1], greys))
    assert torch.equal(known.mask, expected.mask)
    assert np.array_equal(known.mask[0], ~HOLE)


def test_a_mask_may_be_stored_in_colours(write, files):
    colours = write("rgb.png", np.where(HOLE[..., None], 255, 0).astype(np.uint8).repeat(3, 2))
    assert np.array_equal(read_known(files[0], colours, (1, 8, 8)).mask[0], ~HOLE)


BLACK, WHITE = np.zeros((8, 8), dtype=np.uint8), np.full((8, 8), 255, dtype=np.uint8)


@pytest.mark.parametrize(
    ("option", "pixels", "said"),
    thinned(
        [
            ("--mask", BLACK, "has no white pixels: make the pixels to fill white"),
            ("--mask", WHITE, "is all white: make the pixels of"),
            ("--mask", np.zeros((8, 9), dtype=np.uint8), "is 9x8, the model makes 8x8"),
            ("--image", np.zeros((28, 28), dtype=np.uint8), "is 28x28, the model makes 8x8"),
            ("--image", np.zeros((8, 8, 3), dtype=np.uint8), "is a colour image"),
            ("--image", np.zeros((8, 8), dtype=np.uint16), "more than 8 bits per channel"),
        ],
        every=3,
    ),
    ids=["empty", "full", "mask size", "image size", "colour", "depth"],
)
def test_files_that_do_not_fit_are_named(refused, command, write, tmp_path, option, pixels, said):
    file = write("other.png", pixels)
    line = refused(*command, option, file)
    assert said in line
    assert str(file) in line
    assert not (tmp_path / "out").exists()


def test_a_grey_image_for_a_model_of_colours_is_named(files):
    with pytest.raises(HQDMError, match="is a grey image, the model generates colour images"):
        read_known(*files, (3, 8, 8))


@pytest.mark.parametrize("option", thinned(["--image", "--mask"], every=2))
def test_files_that_cannot_be_read_are_named(refused, command, tmp_path, option):
    whole = (tmp_path / "image.png").read_bytes()
    broken = {
        "text.png": b"text",
        "short.png": whole[:50],
        "empty.png": b"",
        "chunk.png": whole.replace(b"IDAT", b"1d;\x93"),
        "header.png": whole.replace(b"\x0dIHDR", b"\x05IHDR"),
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        assert f"{name} cannot be read" in refused(*command, option, tmp_path / name)
    for file in (tmp_path / "nosuch.png", tmp_path):
        assert f"{file} cannot be read" in refused(*command, option, file)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--resample", 0), "resamplings needs a whole number from 1, got 0"),
        (("--n", 0), "n needs a whole number from 1, got 0"),
        (("--sampler", "unipcc"), "unknown sampler 'unipcc'"),
        (("--guidance", 2), "guidance needs a model with class labels"),
    ],
)
def test_wrong_options_are_named(refused, command, options, said):
    assert said in refused(*command, *options)


def test_missing_options_are_named(refused):
    assert "required: --checkpoint, --image, --mask" in refused("inpaint")


@pytest.mark.parametrize(
    ("name", "size", "rows"),
    [
        ("top", 5, ["11111", "11111", "00000", "00000", "00000"]),
        ("bottom", 5, ["00000", "00000", "00000", "11111", "11111"]),
        ("left", 4, ["1100"] * 4),
        ("right", 5, ["00011"] * 5),
    ],
)
def test_masks_by_name(name, size, rows):
    assert [
        "".join(map(str, row)) for row in hole_of(name, (1, size, size))[0].int().tolist()
    ] == rows


def test_a_random_mask_fills_half_of_the_pixels():
    holes = [hole_of("random", (3, 9, 9), seed) for seed in (0, 0, 1)]
    assert [hole.shape for hole in holes] == [(1, 9, 9)] * 3
    assert [int(hole.sum()) for hole in holes] == [40] * 3
    assert torch.equal(holes[0], holes[1])
    assert not torch.equal(holes[0], holes[2])


def test_a_mask_by_name_in_the_command(hqdm, refused, command, tmp_path):
    assert hqdm(*command, "--mask", "bottom").code == 0
    images = fillings(tmp_path / "out")
    assert (images[..., :4, :] == PIXELS[:4]).all()
    assert len({image[..., 4:, :].tobytes() for image in images}) == 3
    assert json.loads((tmp_path / "out" / "inpaint.json").read_text())["mask"] == "bottom"
    line = refused(*command, "--mask", "botom")
    assert "unknown mask 'botom'" in line
    assert "bottom" in line


class Halves(Toy):
    """Pixels half as bright, as a complex state if asked for; labels are added."""

    sample_shape = (1, 8, 8)

    def __init__(self, imaginary=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))
        self.imaginary = imaginary

    def forward(self, x_t, t, y=None):
        x = self.weight * x_t + (0 if y is None else y[:, None, None, None] / 8)
        return x + 1j * self.imaginary if self.imaginary else x


IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1)) - 0.5


@pytest.mark.parametrize("imaginary", [0.0, 0.25])
@pytest.mark.parametrize("reset", [True, False])
def test_recursive_filling(imaginary, reset):
    """After n steps noise / 2^n in the hole; known pixels as they were, or also / 2^n."""
    denoiser = Denoiser(Halves(imaginary), MixingSchedule(), StepBack(steps=4))
    hole = hole_of("left", IMAGES.shape)
    filled = fill_images(denoiser, Iterate(3), IMAGES, hole, reset=reset, seed=2, batch_size=2)
    noise = 0.4 * ImageNoise(2, 5).draw((1, 8, 8))
    known = IMAGES if reset else IMAGES / 8
    assert torch.allclose(filled, torch.where(hole, noise / 8, known), atol=1e-6)
    scores = inpainting_scores(denoiser, Iterate(3), IMAGES, hole, reset=reset, seed=2)
    assert scores == pytest.approx(region_scores(IMAGES, filled, hole), rel=1e-5)


def test_labels_of_filled_images():
    denoiser = Denoiser(Halves(), MixingSchedule(), StepBack(steps=4))
    denoiser.network.n_classes = 3
    hole = hole_of("top", IMAGES.shape)
    labels = torch.tensor([0, 1, 2, 1, 0])
    plain = fill_images(denoiser, Iterate(1), IMAGES, hole, batch_size=2)
    added = fill_images(denoiser, Iterate(1), IMAGES, hole, labels, batch_size=2) - plain
    expected = torch.where(hole, labels[:, None, None, None] / 8, 0)
    assert torch.allclose(added, expected, atol=1e-6)


@pytest.mark.slow
def test_a_sampler_of_a_process_fills_each_image(trained):
    """In one batch or several, as `sample_images` does for one image."""
    denoiser = load_denoiser(trained / "last.ckpt")
    hole = hole_of("random", IMAGES.shape, 3)
    filled = fill_images(denoiser, DDIM(3), IMAGES[:3], hole, resamplings=2, seed=3)
    assert torch.equal(torch.where(hole, 0, filled), torch.where(hole, 0, IMAGES[:3]))
    for i, image in enumerate(IMAGES[:3]):
        around = Known(image, ~hole).around
        samples = sample_images(denoiser, RePaint(DDIM(3), 2), 3, seed=3, around=around)
        assert torch.allclose(samples.images[i], filled[i], atol=1e-4)


def test_a_power_of_a_unitary_fills_from_known_pixels():
    """The permutation that shifts an image by a row, three times, of the masked start."""
    network = BestUnitary()
    network.matrix.data = torch.eye(64).roll(8, 0)
    denoiser = Denoiser(network, MixingSchedule(), "step")
    hole = hole_of("left", IMAGES.shape)
    sampler = UnitarySampling(3, scale="norm")
    filled = fill_images(denoiser, sampler, IMAGES, hole, reset=False, seed=2, batch_size=2)
    start = torch.where(hole, 0.4 * ImageNoise(2, 5).draw((1, 8, 8)), IMAGES)
    assert torch.allclose(filled, (start.roll(3, 2) + 1).abs() - 1, atol=1e-5)


def test_options_of_other_samplers_are_named():
    known = Known(IMAGES[0], ~hole_of("top", (1, 8, 8)))
    with pytest.raises(HQDMError, match="uss takes all steps at once: give no-reset"):
        known.filling(UnitarySampling())
    with pytest.raises(HQDMError, match="iterate has no noise to repeat a step with"):
        known.filling(Iterate(), 5)
    with pytest.raises(HQDMError, match="ddim replaces the known pixels of every prediction"):
        known.filling(DDIM(), reset=False)
    assert known.filling(DDIM()).sampler.resamplings == 10


def test_images_that_cannot_be_filled_are_named():
    denoiser = Denoiser(Halves(), MixingSchedule(), StepBack(steps=4))
    for images in (IMAGES[:0], torch.zeros(2, 1, 5, 5)):
        hole = hole_of("top", images.shape)
        with pytest.raises(HQDMError, match=r"needs images of shape \(B, 1, 8, 8\), at least one"):
            fill_images(denoiser, Iterate(1), images, hole)
    with pytest.raises(HQDMError, match="batch_size needs a whole number from 1, got 0"):
        fill_images(denoiser, Iterate(1), IMAGES, hole_of("top", (8, 8)), batch_size=0)
    with pytest.raises(HQDMError, match="unknown mask 'botom'.*did you mean 'bottom'"):
        hole_of("botom", (1, 8, 8))


def test_the_command_refuses_options_of_other_samplers(refused, command):
    assert "leave no-reset out" in refused(*command, "--no-reset")


@pytest.mark.parametrize("reset", [True, False])
def test_the_command_fills_with_a_recursive_sampler(hqdm, refused, command, tmp_path, reset):
    """The known pixels stay; without a reset, also they go through the network."""
    denoiser = Denoiser(SmallUNet(widths=[2]), MixingSchedule(), StepBack(clamp=True))
    denoiser.save_pretrained(tmp_path / "model")
    model = [*command, "--checkpoint", tmp_path / "model", "--sampler", "iterate"]
    place = model.index("--resample")
    assert "leave resample out" in refused(*model)
    filled = [*model[:place], *model[place + 2 :], *([] if reset else ["--no-reset"])]
    outcome = hqdm(*filled)
    assert outcome.out.startswith("3 fillings, 3 network evaluations each: ")
    assert (fillings(tmp_path / "out")[..., ~HOLE] == PIXELS[~HOLE]).all() == reset
    record = json.loads((tmp_path / "out" / "inpaint.json").read_text())
    assert (record["sampler"], record["no_reset"]) == ("iterate", not reset)
