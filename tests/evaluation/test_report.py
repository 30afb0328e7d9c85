"""Scores of a model: complete, repeatable, and against disjoint real images."""

import hashlib
import json
from dataclasses import asdict

import pytest
import torch
from marks import thinned

from hqdm.data.images import load_images
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.loading import load_denoiser
from hqdm.diffusion.schedule import MixingSchedule
from hqdm.evaluation import report as report_module
from hqdm.evaluation.ablation import quantum_effect
from hqdm.evaluation.protocol import RealImages, ScoringProtocol
from hqdm.evaluation.report import evaluate, score_sheet, write_report
from hqdm.evaluation.unitary_bound import unitary_bound
from hqdm.generation.sampling import guided, sample_images
from hqdm.metrics import (
    FeatureExtractor,
    distribution_scores,
    load_extractor,
    nearest_training,
    pair_scores,
    pixel_scores,
    real_floor,
)
from hqdm.metrics.distribution import extract
from hqdm.metrics.likelihood import feature_likelihood_divergence
from hqdm.nn.amplitude.unitary import USS
from hqdm.samplers import DDIM
from hqdm.samplers.recursive import UnitarySampling
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
    again, same_images = evaluate(denoiser, DDIM(2), protocol)
    assert torch.equal(images, same_images)
    assert torch.equal(images, sample_images(denoiser, DDIM(2), 12, seed=3, batch_size=8).images)
    same = ("scores", "floor", "pixels", "restoration", "memorisation", "protocol", "warnings")
    for part in same:
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
    assert report["scores"].keys() == report["floor"].keys() >= {"fid", "kid", "coverage"}
    assert {name: len(shares) for name, shares in report["classes"].items()} == {
        "samples": 10,
        "real": 10,
    }
    assert sum(report["classes"]["samples"]) == pytest.approx(1)
    assert report["provenance"]["versions"]["torch"] == torch.__version__
    assert report["data"].keys() == {"train", "test"}
    assert report["data"] == again["data"]
    assert len(report["warnings"]) == 1

    write_report(report, images, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text()) == report
    assert (tmp_path / "grid.png").exists()


@pytest.mark.slow
def test_restoration_starts_from_the_noised_test_images(denoiser):
    """SSIM and PSNR, recomputed in one batch."""
    report, _ = evaluate(
        denoiser, DDIM(3), ScoringProtocol("digits", n=300, restore_t=0.4, batch_size=100)
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


@pytest.mark.slow
def test_small_data_set_is_noted(denoiser):
    with pytest.warns(UserWarning, match="too few images for a floor at n = 900"):
        report, _ = evaluate(denoiser, DDIM(1), ScoringProtocol("digits", n=900))
    assert len(report["warnings"]) == 2
    assert report["protocol"]["floor_n"] == 898


def test_time_to_restore_from_is_checked(denoiser):
    for t in (0.0, 1.5):
        with pytest.raises(HQDMError, match="restore_t needs a time in"):
            evaluate(denoiser, DDIM(1), ScoringProtocol("digits", n=4, restore_t=t))


@pytest.mark.slow
def test_no_more_test_images_than_samples(denoiser):
    """Else a few samples would wait for hundreds of restored images."""
    report, _ = evaluate(denoiser, DDIM(2), ScoringProtocol("digits", n=5))
    assert report["restoration"]["n"] == 5
    x0 = to_float(load_images("digits", "test").images[:5])
    assert report["quantum_effect"]["loss"] == quantum_effect(denoiser, x0).loss


@pytest.mark.parametrize(
    ("few", "extractor", "scored"),
    thinned([(9, None, True), (8, None, False), (8, "mnist", True)], every=3),
)
def test_distances_of_pixels_where_features_say_little(
    denoiser, monkeypatch, few, extractor, scored
):
    """For few images, or with features of another data set."""
    monkeypatch.setattr(report_module, "FEW_IMAGES", few)
    protocol = ScoringProtocol("digits", n=8, extractor=extractor)
    report, images = evaluate(denoiser, DDIM(1), protocol)
    rows = [row[0] for row in score_sheet(report).rows]
    assert ("energy distance" in rows) == ("pixel FID" in rows) == scored
    if not scored:
        assert report["pixels"] is None
        return
    real = RealImages.load(protocol, (1, 8, 8))
    assert report["pixels"] == {
        "scores": pixel_scores(real.reference, images),
        "floor": pixel_scores(real.reference, real.other),
    }


@pytest.mark.slow
def test_networks_of_amplitudes_have_the_error_of_the_best_unitary(denoiser):
    protocol = ScoringProtocol("digits", n=5)
    report, _ = evaluate(denoiser, DDIM(1), protocol)
    assert report["unitary_bound"] is None
    amplitudes = Denoiser(USS(n_layers=1), MixingSchedule(), "step")
    report, _ = evaluate(amplitudes, UnitarySampling(2), protocol)
    x0 = to_float(load_images("digits", "test").images[:5])
    errors = asdict(unitary_bound(amplitudes, x0))
    assert report["unitary_bound"] == errors
    rows = {row[0]: row[1] for row in score_sheet(report).rows}
    assert rows["squared error of one step"] == f"{errors['network']:.3e}"
    assert rows["  of the best unitary"] == f"{errors['best_unitary']:.3e}"


class Extractor(FeatureExtractor):
    """The pixels; counts the images."""

    def __init__(self):
        super().__init__("pixels", 64, size=8, channels=1)

    def features_and_logits(self, images):
        numbers.append(len(images))
        pixels = self.prepare(images).flatten(1)
        return pixels, pixels


numbers = []


@pytest.mark.slow
def test_features_of_real_images_are_computed_once(denoiser, monkeypatch):
    """The scores are the same with and without, and those of the images themselves."""
    monkeypatch.setattr(report_module, "load_extractor", lambda *args: Extractor())
    protocol = ScoringProtocol("digits", n=70, seed=1)
    monkeypatch.setattr("hqdm.metrics.cache.cache_folder", lambda name: None)
    report, images = evaluate(denoiser, DDIM(1), protocol)
    monkeypatch.undo()
    monkeypatch.setattr(report_module, "load_extractor", lambda *args: Extractor())
    found = []
    for expected in (3 * 70 + len(load_images("digits", "train")), 70):
        numbers.clear()
        found.append(evaluate(denoiser, DDIM(1), protocol)[0])
        assert sum(numbers) == expected
    for part in ("scores", "floor", "memorisation"):
        assert found[0][part] == found[1][part] == report[part]
    real = RealImages.load(protocol, (1, 8, 8))
    expected = distribution_scores(real.reference, images, Extractor(), 1)
    floor = real_floor(real.reference, real.other, Extractor(), 1)
    for part, direct in (("scores", expected), ("floor", floor)):
        kept = {key: value for key, value in direct.items() if not key.startswith("fid_")}
        assert report[part].items() >= kept.items()
    known = nearest_training(images, real.train.images, real.test.images[:70])
    assert report["memorisation"].items() <= known.items()


@pytest.mark.slow
def test_every_phase_is_reported_from_start_to_end(denoiser):
    told = []
    evaluate(
        denoiser, DDIM(2), ScoringProtocol("digits", n=13), lambda *report: told.append(report)
    )
    tasks = list(dict.fromkeys(task for task, _, _ in told))
    assert tasks == [
        *("reading images", "images", "ddim", "reference features", "features"),
        *("FID, KID and IS", "distances of pixels", "restoration"),
        *("held-out images", "memorisation"),
        "ablation of circuits",
    ]
    for task in tasks:
        steps = [(done, total) for name, done, total in told if name == task]
        assert steps[0][0] == 0
        assert steps[-1][0] == steps[-1][1] > 0


@pytest.mark.slow
def test_metrics_name_the_checkpoint(hqdm, trained, tmp_path):
    """Its file, also for the folder of a run, and the digest of the file."""
    options = ("--checkpoint", trained, "--data", "digits", "--n", 4, "--steps", 1)
    assert hqdm("evaluate", *options, "--out", tmp_path).code == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["checkpoint"] == str(trained / "last.ckpt")
    content = (trained / "last.ckpt").read_bytes()
    assert metrics["checkpoint_sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.slow
def test_fld_is_that_of_the_features(denoiser):
    protocol = ScoringProtocol("digits", n=40, seed=3, fld=True)
    report, images = evaluate(denoiser, DDIM(2), protocol)
    train, test = (load_images("digits", split).images for split in ("train", "test"))
    extractor = load_extractor("digits")
    chosen = train[torch.arange(80) * len(train) // 80]  # twice as many as samples
    features = [extract(part, extractor)[0] for part in (chosen, test, images)]
    assert report["fld"] == feature_likelihood_divergence(*features, seed=3)
    assert ("FLD", f"{report['fld']:.2f}", "0 by definition") in score_sheet(report).rows
    # Samples of an untrained network lie far from the digits, other digits do not.
    others = feature_likelihood_divergence(*features[:2], extract(train[1::36], extractor)[0])
    assert abs(others) < 0.5 * report["fld"]
