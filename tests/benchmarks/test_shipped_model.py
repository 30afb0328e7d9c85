"""The MNIST model of benchmarks/models: its configuration, digits in ten evaluations."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.diffusion.loading import load_denoiser
from hqdm.generation.sampling import sample_images
from hqdm.metrics.features import load_extractor
from hqdm.samplers import UniPC
from hqdm.utils.pixels import to_uint8

REPOSITORY = Path(__file__).parents[2]
MODEL = REPOSITORY / "benchmarks" / "models" / "mnist_unet"
BEFORE = Path(__file__).parents[1] / "fixtures" / "format_1" / "shipped_unipc10.safetensors"


@pytest.fixture
def module():
    """The module that `hqdm fit` would train; nothing is compiled before the first step."""
    config = REPOSITORY / "configs" / "mnist_unet_v.yaml"
    return TrainingCLI(["--config", str(config), "--trainer.precision", "32"]).model


def test_it_is_the_model_of_its_configuration(module):
    shipped = load_denoiser(MODEL)
    assert shipped.config == module.denoiser.config
    assert sum(parameter.numel() for parameter in shipped.parameters()) == 483_321


def test_the_learning_rate_rises_and_ends_at_zero(module):
    schedule = module.configure_optimizers()["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(12_001):
        rates.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.002 / 200)
    assert rates[6000] == pytest.approx(0.001)
    assert max(rates) < 0.002
    assert rates[12_000] == pytest.approx(0, abs=1e-12)


def test_it_samples_the_images_of_format_1():
    """The package of format 1 drew these; rounding may differ between machines by a grey level."""
    images = to_uint8(sample_images(load_denoiser(MODEL), UniPC(10), 4).images)
    expected = load_file(BEFORE)["images"]
    assert (images.int() - expected.int()).abs().max() <= 1
    assert (images == expected).float().mean() > 0.99


def test_ten_evaluations_draw_digits_of_every_class():
    """By the classifier that scores FID; of noise it says the same few classes again and again."""
    images = sample_images(load_denoiser(MODEL), UniPC(10), 96).images
    classes = load_extractor("mnist").logits(images).softmax(dim=1)
    assert classes.max(dim=1).values.median() > 0.95
    assert classes.argmax(dim=1).unique().tolist() == list(range(10))
    noise = load_extractor("mnist").logits(torch.randn(96, 1, 28, 28))
    assert noise.argmax(dim=1).unique().numel() < 10
