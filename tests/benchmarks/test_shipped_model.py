"""The MNIST model of benchmarks/models: what its script makes, digits in ten evaluations."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

from hqdm.diffusion.loading import load_denoiser
from hqdm.generation.sampling import sample_images
from hqdm.metrics.features import load_extractor
from hqdm.samplers import UniPC

FOLDER = Path(__file__).parents[2] / "benchmarks"
MODEL = FOLDER / "models" / "mnist_unet"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module("train_mnist")
    del sys.modules["train_mnist"]


def test_it_is_the_model_of_its_script(script):
    module = script.model(10)
    shipped = load_denoiser(MODEL)
    assert shipped.config == module.denoiser.config
    assert sum(parameter.numel() for parameter in shipped.parameters()) == 483_321


def test_the_rate_rises_and_ends_at_zero(script):
    module = script.model(1000)
    schedule = module.configure_optimizers()["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(1001):
        rates.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(script.RATE / script.WARM_UP)
    assert rates[500] == pytest.approx(script.RATE / 2)
    assert max(rates) < script.RATE
    assert rates[1000] == pytest.approx(0, abs=1e-12)


def test_ten_evaluations_draw_digits_of_every_class():
    """By the classifier that scores FID; of noise it says the same few classes again and again."""
    images = sample_images(load_denoiser(MODEL), UniPC(10), 96).images
    classes = load_extractor("mnist").logits(images).softmax(dim=1)
    assert classes.max(dim=1).values.median() > 0.95
    assert classes.argmax(dim=1).unique().tolist() == list(range(10))
    noise = load_extractor("mnist").logits(torch.randn(96, 1, 28, 28))
    assert noise.argmax(dim=1).unique().numel() < 10
