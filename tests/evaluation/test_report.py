"""Scores of a model: complete, repeatable, and against disjoint real images."""

import json

import pytest
import torch

from hqdm.data.images import load_images
from hqdm.diffusion.loading import load_denoiser
from hqdm.evaluation.protocol import RealImages, ScoringProtocol
from hqdm.evaluation.report import evaluate, write_report
from hqdm.generation.sampling import guided, sample_images
from hqdm.metrics.pairs import pair_scores
from hqdm.samplers import DDIM
from hqdm.utils.errors import HQDMError
from hqdm.utils.pixels import to_float
from hqdm.utils.seeds import ImageNoise

pytestmark = pytest.mark.filterwarnings("ignore:.*are few for FID")


@pytest.fixture
def denoiser(trained):
    return load_denoiser(trained / "last.ckpt")


def test_report_is_complete_and_repeatable(denoiser, tmp_path):
    protocol = ScoringProtocol("digits", n=12, seed=3, batch_size=8)
    report, images = evaluate(denoiser, DDIM(2), protocol)
    again, same = evaluate(denoiser, DDIM(2), protocol)
    assert torch.equal(images, same)
    assert torch.equal(images, sample_images(denoiser, DDIM(2), 12, seed=3, batch_size=8).images)
    for part in ("scores", "floor", "restoration", "memorisation", "protocol", "warnings"):
        assert report[part] == again[part]
    assert report["protocol"] == {
        "data": "digits",
        "extractor": "digits",
        "n": 12,
        "reference_n": 12,
        "floor_n": 12,
        "value_range": [-1, 1],
        "image_shape": [1, 8, 8],
        "resize": "none",
        "sampler": "ddim",
        "steps": 2,
        "grid": "time",
        "evaluations": 2,
        "guidance": 1.0,
        "seed": 3,
    }
    model = report["model"]
    assert model["parameters"] == sum(p.numel() for p in denoiser.parameters())
    assert model["quantum"] + model["classical"] == model["parameters"]
    assert set(report["scores"]) == {"fid", "kid_mean", "kid_std", "is_mean", "is_std"}
    assert report["versions"]["torch"] == torch.__version__
    assert len(report["warnings"]) == 1

    write_report(report, images, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text()) == report
    assert (tmp_path / "grid.png").exists()


def test_restoration_starts_from_the_noised_test_images(denoiser):
    """SSIM and PSNR, recomputed in one batch."""
    report, _ = evaluate(
        denoiser, DDIM(3), ScoringProtocol("digits", n=4, restore_t=0.4, batch_size=100)
    )
    x0 = to_float(load_images("digits", "test").images[:256])
    alpha, sigma = denoiser.schedule(torch.tensor(0.4))
    noise = ImageNoise(0, len(x0))
    x_t = alpha * x0 + sigma * noise.draw_like(x0)
    restored = DDIM(3)(guided(denoiser, 1.0), x_t, t_start=0.4)
    expected = pair_scores(x0, restored)
    actual = {key: report["restoration"][key] for key in expected}
    # float32 sums over other batches.
    assert actual == pytest.approx(expected, rel=1e-4)
    assert report["restoration"]["n"] == 256


def test_reference_and_floor_share_no_image():
    for n in (50, 1000):
        real = RealImages.load(ScoringProtocol("digits", n=n), (1, 8, 8))
        assert len(real.reference) == len(real.other) == min(n, 1797 // 2)
        reference = {image.numpy().tobytes() for image in real.reference}
        # The digits hold no two equal images.
        assert not reference & {image.numpy().tobytes() for image in real.other}


def test_small_data_set_is_noted(denoiser):
    with pytest.warns(UserWarning, match="too few images for a floor at n = 900"):
        report, _ = evaluate(denoiser, DDIM(1), ScoringProtocol("digits", n=900))
    assert len(report["warnings"]) == 2
    assert report["protocol"]["floor_n"] == 898


def test_time_to_restore_from_is_checked(denoiser):
    for t in (0.0, 1.5):
        with pytest.raises(HQDMError, match="restore_t needs a time in"):
            evaluate(denoiser, DDIM(1), ScoringProtocol("digits", n=4, restore_t=t))
