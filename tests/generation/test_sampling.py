"""Many images: the same whatever the batch size, of the class asked for, written once."""

import hashlib
import json
from functools import partial

import pytest
import torch
from marks import slow, thinned
from safetensors.torch import load_file

from hqdm.diffusion.denoiser import Denoiser, class_labels
from hqdm.diffusion.loading import load_denoiser
from hqdm.generation.sampling import SAMPLE_FILES, guided, sample_images, write_samples
from hqdm.guidance.classifier_free import ClassifierFreeGuidance
from hqdm.guidance.clip import Clip
from hqdm.guidance.dynamic_threshold import DynamicThreshold
from hqdm.samplers import DDIM, DDPM, AdaptiveDPMSolver
from hqdm.utils.errors import HQDMError
from hqdm.utils.pixels import to_uint8
from hqdm.utils.seeds import ImageNoise


@pytest.fixture
def denoiser(trained):
    return load_denoiser(trained / "last.ckpt")


@pytest.fixture
def labelled(trained_classes):
    return load_denoiser(trained_classes / "last.ckpt")


@pytest.mark.parametrize("sampler", thinned([DDIM(3), DDPM(4)], every=2), ids=["ddim", "ddpm"])
def test_images_do_not_depend_on_the_batch_size(denoiser, sampler):
    whole = sample_images(denoiser, sampler, 7, seed=5)
    assert whole.images.shape == (7, 1, 8, 8)
    assert whole.images.abs().max() <= 1
    assert whole.evaluations == sampler.steps
    for batch_size in (1, 3, 7):
        parts = sample_images(denoiser, sampler, 7, seed=5, batch_size=batch_size)
        # Sums over a batch may be taken in another order; a grey level is 8e-3.
        torch.testing.assert_close(parts.images, whole.images, rtol=0, atol=1e-4)


def test_seed_decides(denoiser):
    one, same, other = (sample_images(denoiser, DDIM(2), 4, seed=s).images for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other, atol=0.1)


@pytest.mark.slow
def test_images_are_what_the_sampler_gives(labelled):
    """With labels and guidance, by hand."""
    samples = sample_images(labelled, DDIM(3), 12, seed=2, guidance=2.5)
    y = torch.arange(12) % 10
    assert torch.equal(samples.labels, y)
    x1 = ImageNoise(2, 12).draw((1, 8, 8))
    expected = DDIM(3)(Clip(ClassifierFreeGuidance(labelled, 2.5)), x1, y)
    assert torch.equal(samples.images, expected)
    plain = sample_images(labelled, DDIM(3), 12, seed=2)
    assert not torch.equal(plain.images, samples.images)
    assert torch.equal(plain.images, DDIM(3)(Clip(labelled), x1, y))


def test_a_denoiser_may_go_around_the_guided_one(denoiser):
    around = partial(DynamicThreshold, percentile=0.5)
    samples = sample_images(denoiser, DDIM(3), 4, seed=2, around=around)
    x1 = ImageNoise(2, 4).draw((1, 8, 8))
    assert torch.equal(samples.images, DDIM(3)(around(Clip(denoiser)), x1))
    # Bounds below 1 change nothing in clipped images, up to how eps follows from x0 twice.
    plain = sample_images(denoiser, DDIM(3), 4, seed=2)
    torch.testing.assert_close(samples.images, plain.images, rtol=0, atol=1e-4)


def test_one_class_for_all(labelled):
    samples = sample_images(labelled, DDIM(2), 3, label=4)
    assert samples.labels.tolist() == [4, 4, 4]
    other = sample_images(labelled, DDIM(2), 3, label=5)
    assert not torch.equal(samples.images, other.images)


def test_several_classes_are_taken_in_turn(labelled):
    """Seven images of three classes: three of the first, two of the others; see the docs."""
    samples = sample_images(labelled, DDIM(2), 7, label=[7, 2, 3])
    assert samples.labels.tolist() == [7, 2, 3, 7, 2, 3, 7]
    x1 = ImageNoise(0, 7).draw((1, 8, 8))
    assert torch.equal(samples.images, DDIM(2)(Clip(labelled), x1, samples.labels))
    more = sample_images(labelled, DDIM(2), 8, label=[7, 2, 3])
    assert more.labels[:7].tolist() == samples.labels.tolist()


@pytest.mark.slow
def test_effort_of_an_adaptive_sampler_is_its_worst_batch_and_its_mean_image(denoiser):
    sampler = AdaptiveDPMSolver(0.2, order=2)
    samples = sample_images(denoiser, sampler, 4, seed=1, batch_size=2)
    runs = [
        sampler.run(Clip(denoiser), noise.draw((1, 8, 8)), noise=noise)
        for noise in (ImageNoise(1, 2, first) for first in (0, 2))
    ]
    assert samples.evaluations == max(run.evaluations for run in runs)
    assert samples.rejected == pytest.approx(
        torch.cat([run.rejected for run in runs]).double().mean()
    )
    assert samples.rejected > 0
    assert f"{samples.evaluations} network evaluations each, " in samples.effort(sampler)
    assert "rejected" not in sample_images(denoiser, DDIM(1), 1).effort(DDIM(1))


def test_progress_counts_the_images_and_the_steps(denoiser):
    told = []
    sample_images(denoiser, DDIM(2), 5, batch_size=2, progress=lambda *report: told.append(report))
    steps = [("ddim", i, 2) for i in range(3)]
    batches = [[*steps, ("images", done, 5)] for done in (2, 4, 5)]
    assert told == [("images", 0, 5), *(report for batch in batches for report in batch)]


def test_bad_input_is_named(denoiser, labelled):
    with pytest.raises(HQDMError, match=r"^10000+ images of shape .*PiB.*: generate fewer"):
        sample_images(denoiser, DDIM(2), 10**15)
    with pytest.raises(HQDMError, match="n needs a whole number from 1, got 0"):
        sample_images(denoiser, DDIM(2), 0)
    with pytest.raises(HQDMError, match="batch_size needs a whole number from 1, got 0"):
        sample_images(denoiser, DDIM(2), 1, batch_size=0)
    with pytest.raises(HQDMError, match="seed needs a whole number from 0, got -1"):
        sample_images(denoiser, DDIM(2), 1, seed=-1)
    with pytest.raises(HQDMError, match="has no class labels: leave label 1 out"):
        class_labels(denoiser, 1, 1)
    with pytest.raises(HQDMError, match="label 10 does not exist: expected 0 to 9"):
        class_labels(labelled, 1, 10)
    with pytest.raises(HQDMError, match="label 12 does not exist: expected 0 to 9"):
        sample_images(labelled, DDIM(1), 1, label=[3, 12])
    with pytest.raises(HQDMError, match="label 3 stands twice"):
        sample_images(labelled, DDIM(1), 1, label=[3, 4, 3])
    with pytest.raises(HQDMError, match="label needs one class or more"):
        sample_images(labelled, DDIM(1), 1, label=[])
    with pytest.raises(HQDMError, match="label needs a whole number from 0, got '3'"):
        sample_images(labelled, DDIM(1), 1, label="3")
    with pytest.raises(HQDMError, match="guidance needs a model with class labels"):
        guided(denoiser, 2.0)


def test_files_hold_the_samples_and_how_they_were_made(denoiser, tmp_path):
    samples = sample_images(denoiser, DDIM(2), 5, seed=3)
    assert len(samples.trajectory) == 3
    said = write_samples(DDIM(2), samples, tmp_path, {"seed": 3, "n": 5})
    assert {f.name for f in tmp_path.iterdir()} == set(SAMPLE_FILES)
    assert all(name in said for name in SAMPLE_FILES)
    assert torch.equal(
        load_file(tmp_path / "images.safetensors")["images"], to_uint8(samples.images)
    )
    record = json.loads((tmp_path / "sample.json").read_text())
    content = (tmp_path / "images.safetensors").read_bytes()
    assert record.pop("sha256") == hashlib.sha256(content).hexdigest()
    assert record.pop("seconds") == round(samples.seconds, 3) > 0
    assert set(record.pop("provenance")) == {"versions", "git", "host", "time"}
    sampler = {"sampler": "ddim", "steps": 2, "grid": "time"}
    assert record == {"seed": 3, "n": 5, **sampler, "evaluations": 2, "rejected": 0.0}


@pytest.mark.parametrize("sampler", [DDIM(3), DDPM(4)], ids=["ddim", "ddpm"])
@pytest.mark.parametrize("batch_size", [slow(1), 3, slow(7)])
def test_the_strip_is_the_trajectory_of_the_first_images(denoiser, sampler, batch_size):
    samples = sample_images(denoiser, sampler, 7, seed=5, batch_size=batch_size)
    noise = ImageNoise(5, 4)
    x1 = noise.draw((1, 8, 8))
    path = sampler.run(Clip(denoiser), x1, noise=noise, return_trajectory=True).trajectory
    # Sums over a batch may be taken in another order.
    torch.testing.assert_close(samples.trajectory, path, rtol=0, atol=1e-4)
    assert torch.equal(samples.trajectory[-1], samples.images[:4])


def test_a_command_evaluates_the_network_for_the_images_only(hqdm, trained, tmp_path, monkeypatch):
    """The strip needs no evaluation of its own."""
    evaluated = []
    forward = Denoiser.forward

    def counted(self, x_t, t, y=None):
        evaluated.append(len(x_t))
        return forward(self, x_t, t, y)

    monkeypatch.setattr(Denoiser, "forward", counted)
    options = ("--checkpoint", trained, "--n", 6, "--batch-size", 4, "--steps", 3)
    assert hqdm("sample", *options, "--out", tmp_path / "out").code == 0
    assert evaluated == [4, 4, 4, 2, 2, 2]
    assert (tmp_path / "out" / "strip.png").exists()
    record = json.loads((tmp_path / "out" / "sample.json").read_text())
    content = (trained / "last.ckpt").read_bytes()
    assert record["checkpoint_sha256"] == hashlib.sha256(content).hexdigest()
