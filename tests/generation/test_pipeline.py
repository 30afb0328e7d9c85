"""Samples in one line: every kind of source, the same samples as the command line's."""

import pytest
import torch

from hqdm import DDIM, HQDMError, Pipeline, load_denoiser
from hqdm.generation.sampling import sample_images


def test_every_source_gives_the_same_samples(trained, tmp_path):
    denoiser = load_denoiser(trained / "last.ckpt")
    denoiser.save_pretrained(tmp_path / "model")
    expected = sample_images(denoiser, DDIM(3), 5, seed=2).images
    for source in (trained, str(trained / "last.ckpt"), tmp_path / "model"):
        samples = Pipeline.from_pretrained(source)(n=5, sampler="ddim", steps=3, seed=2)
        assert torch.equal(samples.images, expected)
        assert samples.evaluations == 3
    assert torch.equal(Pipeline(denoiser)(5, DDIM(3), seed=2).images, expected)


def test_a_model_in_training_is_put_in_evaluation_mode(trained):
    """Dropout would be drawn in sampling."""
    denoiser = load_denoiser(trained / "last.ckpt").train()
    pipeline = Pipeline(denoiser)
    assert not any(module.training for module in pipeline.denoiser.modules())


def test_labels_and_guidance_reach_the_samples(trained_classes):
    draw = Pipeline.from_pretrained(trained_classes)
    samples = draw(n=3, steps=2, label=7, guidance=2.0)
    assert samples.labels.tolist() == [7, 7, 7]
    assert not torch.equal(samples.images, draw(n=3, steps=2, label=7).images)
    assert draw(n=3, steps=1, label=(7, 2)).labels.tolist() == [7, 2, 7]
    for label, said in (
        (1.5, "label needs a whole number from 0, got 1.5"),
        ("3", "label needs a whole number from 0, got '3'"),
        (-1, "label needs a whole number from 0, got -1"),
        (10, "label 10 does not exist: expected 0 to 9"),
    ):
        with pytest.raises(HQDMError, match=said):
            draw(n=3, steps=2, label=label)


def test_a_hub_name_is_asked_of_the_hub(monkeypatch, trained):
    asked = []

    def download(name):
        asked.append(name)
        return trained

    monkeypatch.setattr("hqdm.diffusion.loading.download_folder", download)
    assert Pipeline.from_pretrained("someone/model")(n=1, steps=1).images.shape == (1, 1, 8, 8)
    assert asked == ["someone/model"]


def test_bad_calls_are_refused_in_one_line(trained, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    draw = Pipeline.from_pretrained(trained)
    for call, said in (
        (lambda: draw(sampler="unipk"), "unknown sampler 'unipk'"),
        (lambda: draw(n=0), "n needs a whole number from 1"),
        (lambda: draw(n=2.5), "n needs a whole number from 1, got 2.5"),
        (lambda: draw(n="3"), "n needs a whole number from 1, got '3'"),
        (lambda: draw(n=True), "n needs a whole number from 1, got True"),
        (lambda: draw(steps=2.5), "steps needs a whole number from 1, got 2.5"),
        (lambda: draw(steps="2"), "steps needs a whole number from 1, got '2'"),
        (lambda: draw(seed=0.5), "seed needs a whole number from 0, got 0.5"),
        (lambda: draw(seed=None), "seed needs a whole number from 0, got None"),
        (lambda: draw(batch_size="all"), "batch_size needs a whole number from 1, got 'all'"),
        (lambda: draw(guidance="strong"), "guidance needs a finite number, got 'strong'"),
        (lambda: draw(guidance=float("nan")), "guidance needs a finite number, got nan"),
        (lambda: draw(sampler=DDIM), "expected a sampler or its name, got <class"),
        (lambda: draw(grid=3), "a grid needs two times or more"),
        (lambda: draw(grid=["a", "b"]), "a grid needs a name or decreasing times"),
        (lambda: draw(sampler="dpm-adaptive", tolerance="x"), "tolerance needs a finite number"),
        (lambda: Pipeline.from_pretrained(trained, "xx"), "device 'xx' is not available: use auto"),
        (lambda: Pipeline.from_pretrained(trained, device=3.5), "device '3.5' is not available"),
        (lambda: draw(label=3), "no class labels"),
        (lambda: draw(sampler=DDIM(3), steps=3), "belong to a named sampler"),
        (lambda: draw(sampler="carleman"), "there is no Carleman fit"),
        (lambda: draw(sampler="carleman", guidance=2), "carleman was fitted without guidance"),
        (lambda: Pipeline(draw.denoiser)(sampler="carleman"), "load the model from a file"),
        (lambda: Pipeline.from_pretrained(tmp_path / "nothing"), "there is no model"),
        (lambda: Pipeline.from_pretrained("someone/nothing"), "there is no model someone/nothing"),
    ):
        with pytest.raises(HQDMError, match=said) as error:
            call()
        assert "\n" not in str(error.value)
