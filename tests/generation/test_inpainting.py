"""Filling the hole in an image: what is kept, what is written, what is refused."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from hqdm.diffusion.loading import load_denoiser
from hqdm.generation.inpainting import INPAINT_FILES, read_known
from hqdm.generation.sampling import sample_images
from hqdm.samplers import DDIM, RePaint
from hqdm.utils.errors import HQDMError

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


def test_labels_and_guidance(hqdm, command, trained_classes, tmp_path):
    labelled = (*command, "--checkpoint", trained_classes / "last.ckpt", "--guidance", 3)
    assert hqdm(*labelled, "--label", 3, "--out", tmp_path / "a").code == 0
    assert hqdm(*labelled, "--label", 4, "--out", tmp_path / "b").code == 0
    assert not np.array_equal(fillings(tmp_path / "a"), fillings(tmp_path / "b"))


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
    [
        ("--mask", BLACK, "has no white pixels: make the pixels to fill white"),
        ("--mask", WHITE, "is all white: make the pixels of"),
        ("--mask", np.zeros((8, 9), dtype=np.uint8), "is 9x8, the model makes 8x8"),
        ("--image", np.zeros((28, 28), dtype=np.uint8), "is 28x28, the model makes 8x8"),
        ("--image", np.zeros((8, 8, 3), dtype=np.uint8), "is a colour image"),
        ("--image", np.zeros((8, 8), dtype=np.uint16), "more than 8 bits per channel"),
    ],
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


@pytest.mark.parametrize("option", ["--image", "--mask"])
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
