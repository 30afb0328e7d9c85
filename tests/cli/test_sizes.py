"""Numbers without sense on the command line: refused in one line, before anything is allocated."""

import shutil
import struct
import zlib

import numpy as np
import pytest
from marks import thinned
from PIL import Image

from hqdm.data.images import load_images
from hqdm.diffusion.loading import load_denoiser
from hqdm.surrogate.fit import fit_carleman
from hqdm.surrogate.fit_files import fit_path

HUGE = 10**12
MANY = 10**9


@pytest.fixture(scope="module")
def model(trained, tmp_path_factory):
    """A checkpoint with a fit beside it."""
    path = tmp_path_factory.mktemp("fitted") / "last.ckpt"
    path.write_bytes((trained / "last.ckpt").read_bytes())
    images, denoiser = load_images("digits", "train").images, load_denoiser(path)
    fit = fit_carleman(denoiser, images, 3, 2, target="noise", samples=100, nodes=4)
    fit.save(fit_path(path))
    return "--checkpoint", path


@pytest.mark.parametrize(
    ("command", "said"),
    thinned(
        [
            (("sample", "--n", HUGE), "images of shape (1, 8, 8) would take"),
            (("sample", "--n", 1, "--steps", MANY), "steps needs a whole number up to 100000"),
            (("sample", "--n", 1, "--sampler", "ddpm", "--steps", MANY), "up to 100000"),
            (
                ("compare-samplers", "--data", "digits", "--n", 64, "--nfe", MANY),
                "numbers of evaluations needs a whole number up to 100000",
            ),
            (
                ("compare-samplers", "--data", "digits", "--n", 64, "--nfe", "9" * 5000),
                "numbers of evaluations needs a whole number up to 100000",
            ),
            (("optimise-grid", "--n", 1, "--steps", MANY), "up to 100000"),
            (("optimise-grid", "--n", HUGE), "would take"),
            (("interpolate", "--n", HUGE), "images of shape (1, 8, 8) would take"),
            (("interpolate", "--steps", MANY), "up to 100000"),
            (("inpaint", "--n", HUGE), "would take"),
            (("inpaint", "--n", 1, "--steps", MANY), "up to 100000"),
            (
                ("inpaint", "--n", 1, "--resample", MANY),
                "resamplings needs a whole number up to 1000",
            ),
            (("carleman", "fit", "--samples", HUGE), "noised images of shape (1, 8, 8) would take"),
            (("carleman", "fit", "--nodes", MANY), "nodes needs a whole number up to 10000"),
            (("carleman", "fit", "--samples", 0), "samples needs a whole number from 1, got 0"),
            (("carleman", "fit", "--samples", 1), "need as many samples or more"),
            (("carleman", "fit", "--seed", -1), "seed needs a whole number from 0, got -1"),
            (("carleman", "fit", "--dim", MANY), "latent dimension needs to be 2 to 64"),
            (("carleman", "fit", "--degree", 60), "degree of the noise polynomial"),
            (("carleman", "fit", "--ridge", "nan"), "ridge needs a finite number, got nan"),
            (("carleman", "fit", "--ridge", "inf"), "ridge needs a finite number, got inf"),
            (("carleman", "sample", "--n", HUGE), "would take"),
            (("carleman", "sample", "--n", 1, "--order", 900), "lower the order"),
            (("carleman", "sample", "--n", 1, "--order", MANY), "up to 10000"),
            (("carleman", "sample", "--n", 1, "--order", MANY, "--closure", "drop"), "up to 10000"),
            (("carleman", "sample", "--n", 1, "--segments", MANY), "up to 100000"),
            (("carleman", "sample", "--n", 1, "--seed", -1), "seed needs a whole number from 0"),
            (("carleman", "sample", "--n", 1, "--batch-size", 0), "batch_size needs"),
            (("carleman", "sample", "--n", 1, "--then", "unipc", "--steps", MANY), "up to 100000"),
            (("carleman", "sample", "--n", 1, "--then", "unipc", "--switch", "nan"), "got nan"),
            (("carleman", "analyse", "--n", HUGE), "initial values would take"),
            (("carleman", "analyse", "--n", 4, "--network-n", 4, "--order", MANY), "would take"),
            (("carleman", "analyse", "--segments", MANY), "segments needs a whole number up to"),
            (("carleman", "analyse", "--seed", -1), "seed needs a whole number from 0, got -1"),
            (("carleman", "resources", "--samples", HUGE), "would take"),
            (
                ("carleman", "resources", "--samples", 0),
                "samples needs a whole number from 1, got 0",
            ),
            (("carleman", "resources", "--segments", MANY), "up to 100000"),
            (("carleman", "resources", "--seed", -1), "seed needs a whole number from 0, got -1"),
            (("carleman", "resources", "--tolerance", "nan"), "tolerance between 0 and 1, got nan"),
            (("carleman", "resources", "--extrapolate", "1e30"), "expected whole numbers from 1"),
            (
                ("carleman", "resources", "--extrapolate", 10**30),
                "a dimension to extrapolate to needs a whole number up to 1000000000000, got 1000",
            ),
            (("sample", "--n", 10**6, "--processes", 10**6), "1,000,000 processes would take"),
            (("carleman", "resources", "--dims", f"2,{MANY}"), "latent dimension needs to be 2 to"),
        ],
        every=6,
    ),
)
def test_a_number_without_sense_is_refused_in_one_line(refused, model, tmp_path, command, said):
    words = list(command)
    picture = tmp_path / "picture.png"
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(picture)
    if words[0] == "interpolate":
        words += ["--images", picture, picture]
    if words[0] == "inpaint":
        words += ["--image", picture, "--mask", picture]
    if words[:2] in (["carleman", "fit"], ["carleman", "resources"]):
        words += ["--data", "digits"]
    out = tmp_path / ("grid.json" if words[0] == "optimise-grid" else "out")
    assert said in refused(*words, *model, "--out", out)
    assert not out.exists()


@pytest.fixture
def oversized(tmp_path):
    """A PNG of a few bytes whose header claims 20000 x 20000 pixels, in both splits of a folder."""
    path = tmp_path / "pictures" / "train" / "oversized.png"
    path.parent.mkdir(parents=True)
    Image.new("L", (8, 8)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 20000, 20000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))  # of the header
    path.write_bytes(content)
    shutil.copytree(path.parent, path.parents[1] / "test")
    return path


@pytest.mark.parametrize(
    "command",
    [
        ("inpaint", "--image", "PICTURE", "--mask", "GOOD"),
        ("inpaint", "--image", "GOOD", "--mask", "PICTURE"),
        ("interpolate", "--images", "GOOD", "PICTURE"),
        ("evaluate", "--n", 2, "--data", "FOLDER"),
        ("carleman", "fit", "--data", "FOLDER"),
    ],
)
def test_an_oversized_picture_is_named_in_one_line(refused, model, tmp_path, oversized, command):
    good = tmp_path / "good.png"
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(good)
    names = {"PICTURE": oversized, "GOOD": good, "FOLDER": oversized.parents[1]}
    words = [names.get(word, word) for word in command]
    line = refused(*words, *model, "--out", tmp_path / "out")
    assert "oversized.png" in line
    assert "400000000 pixels" in line
    assert not (tmp_path / "out").exists()
