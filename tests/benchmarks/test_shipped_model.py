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

PINNED = [
    [-0.91273442022, -0.88782670517, -0.88152744957, -0.94297487768],
    [-0.91634850426, -0.88224021051, -0.86344908867, -0.92873383283],
    [-0.76070701873, 1.02274346765, 1.03855407555, -0.64639957256],
    [-0.77774671564, -0.43059572367, -0.32715207010, -0.42596391785],
]
"""Every ninth pixel of the x0 that is predicted from a ramp at t = 1/2."""


@pytest.fixture
def module():
    """The module that `hqdm fit` would train; nothing is compiled before the first step."""
    config = REPOSITORY / "configs" / "mnist_unet_v.yaml"
    return TrainingCLI(["--config", str(config), "--trainer.precision", "32"]).model


def test_it_is_the_model_of_its_configuration(module):
    shipped = load_denoiser(MODEL)
    assert shipped.config == module.denoiser.config
    assert sum(parameter.numel() for parameter in shipped.parameters()) == 483_321


@pytest.mark.slow
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


def test_one_prediction_is_pinned():
    """The numbers were computed by the U-Net written out in `tests/plain_unet.py`, in float64."""
    denoiser = load_denoiser(MODEL)
    ramp = torch.linspace(-2, 2, 784, dtype=torch.float64).view(1, 1, 28, 28)
    t = torch.tensor(0.5, dtype=torch.float64)
    expected = torch.tensor(PINNED, dtype=torch.float64)
    for dtype, atol in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        x0 = denoiser.to(dtype)(ramp.to(dtype), t).x0[0, 0, ::9, ::9]
        # Rounding, 1e-16 or 6e-8, is multiplied a few times by each of some thirty layers.
        torch.testing.assert_close(x0.double(), expected, rtol=0, atol=atol)


@pytest.mark.slow
def test_ten_evaluations_draw_digits_of_every_class():
    """By the classifier that scores FID; of noise it says the same few classes again and again."""
    images = sample_images(load_denoiser(MODEL), UniPC(10), 96).images
    classes = load_extractor("mnist").logits(images).softmax(dim=1)
    assert classes.max(dim=1).values.median() > 0.95
    assert classes.argmax(dim=1).unique().tolist() == list(range(10))
    noise = load_extractor("mnist").logits(torch.randn(96, 1, 28, 28))
    assert noise.argmax(dim=1).unique().numel() < 10
