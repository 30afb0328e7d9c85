"""Amplitude-embedded denoisers by the command line: configurations, training, sampling, export."""

import json
from pathlib import Path

import pytest
import torch
from marks import slow, thinned
from safetensors.torch import load_file

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.diffusion.loading import load_denoiser
from hqdm.diffusion.objective import StepBack, Uniform
from hqdm.diffusion.schedule import MixingSchedule
from hqdm.guidance.clip import Clip
from hqdm.nn.parts import count
from hqdm.samplers.recursive import Iterate
from hqdm.storage.checkpoint import read_checkpoint
from hqdm.utils.pixels import to_uint8
from hqdm.utils.seeds import ImageNoise

FOLDER = Path(__file__).parents[2] / "configs" / "amplitude"
LEARNING_RATES = {
    "qdense_cifar10": 1e-3,
    "qdense_digits": 6.5e-4,
    "qdense_digits_guided": 9.7e-4,
    "qdense_digits_noise": 1.6e-3,
    "qdense_digits_reuploads": 3.6e-3,
    "qdense_fashion": 1.4e-4,
    "qdense_mnist": 2.11e-3,
    "qunet_cifar10": 5.2e-3,
    "qunet_digits": 2.3e-4,
    "qunet_digits_noise": 1.13e-3,
    "qunet_fashion": 5.1e-4,
    "qunet_mnist": 2.87e-3,
}
ANGLES = {
    "qdense_cifar10": 3_990,
    "qdense_digits": 900,
    "qdense_digits_guided": 987,
    "qdense_digits_noise": 990,
    "qdense_digits_reuploads": 987,
    "qdense_fashion": 3_993,
    "qdense_mnist": 1_980,
}
"""Tables 2 and 3 of the paper; it gives no learning rates for CIFAR-10."""


@pytest.mark.parametrize("name", thinned(LEARNING_RATES, every=4))
def test_configurations_are_those_of_the_paper(name):
    cli = TrainingCLI(["--config", name])
    denoiser = cli.model.denoiser
    assert cli.model.lr == LEARNING_RATES[name]
    assert cli.datamodule.batch_size == (20 if name in ANGLES else 10)
    assert denoiser.schedule == MixingSchedule()
    output = denoiser.objective.output
    paper = StepBack(steps=10, output=output, clamp=True, pairs=True, weight=Uniform())
    assert denoiser.objective == paper
    of_noise = ("mnist", "fashion", "noise")
    assert output == ("noise" if name.endswith(of_noise) else "data")
    if name in ANGLES:
        assert count(denoiser.parameters()) == ANGLES[name]


def test_every_configuration_has_a_learning_rate_of_the_paper():
    of_these = (file.stem for pattern in ("qdense*", "qunet*") for file in FOLDER.glob(pattern))
    assert set(of_these) == set(LEARNING_RATES)


def test_an_image_that_fades_is_refused_before_anything_is_written(refused, tmp_path):
    small = ("--model.network.options.n_layers", 1, "--out", tmp_path / "run")
    fit = ("fit", "--config", "qdense_digits", *small)
    assert "darkens images in every step" in refused(*fit, "--model.network.options.scale", "norm")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["qdense_digits_guided", slow("qdense_digits_noise")],
)
def test_q_dense_from_its_configuration(hqdm, refused, tmp_path, same_run, name):
    """Trained, resumed, sampled recursively, inspected and exported; with few layers."""
    small = ("--model.network.options.n_layers", 4, "--data.limit", 40, "--trainer.accelerator")
    small = (*small, "cpu", "--sample-every", 0)
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    fit = ("fit", "--config", name, *small, "--out")
    assert hqdm(*fit, whole, "--trainer.max_steps", 4).code == 0
    assert hqdm(*fit, halves, "--trainer.max_steps", 3).code == 0
    resume = ("fit", "--config", halves / "config.yaml", "--resume", halves / "last.ckpt")
    resume = (*resume, "--out", halves)
    assert "data.classes" in refused(*resume, "--data.classes", "[0,2]")
    assert "model.objective.steps" in refused(*resume, "--model.predict_options.steps", "5")
    assert hqdm(*resume, "--trainer.max_steps", 4).code == 0
    same_run(read_checkpoint(whole / "last.ckpt"), read_checkpoint(halves / "last.ckpt"))

    checkpoint = ("--checkpoint", whole / "last.ckpt")
    images = tmp_path / "images"
    sample = ("sample", *checkpoint, "--sampler", "iterate", "--n", 6)
    assert "6 images, 3 network evaluations" in hqdm(*sample, "--steps", 3, "--out", images).out
    denoiser = load_denoiser(whole / "last.ckpt")
    noise = ImageNoise(0, 6)
    y = None if denoiser.n_classes is None else torch.arange(6) % 2
    expected = Iterate(3)(Clip(denoiser), denoiser.prior(noise), y, noise=noise)
    stored = load_file(images / "images.safetensors")["images"]
    assert torch.equal(stored, to_uint8(expected))
    assert "iterate takes no grid" in refused(*sample, "--grid", "lambda", "--out", tmp_path / "x")
    if y is not None:
        guided = refused(*sample, "--guidance", 2, "--out", tmp_path / "x")
        assert "leave guidance out" in guided

    shown = hqdm("inspect", *checkpoint).out
    n_qubits = 6 if y is None else 7
    for text in ("QDense", "predicts step", "MixingSchedule", f"n_wires: {n_qubits}"):
        assert text in shown
    assert f"n_weights: {12 * n_qubits}" in shown
    scores = ("evaluate", *checkpoint, "--sampler", "iterate", "--data", "digits", "--n", 12)
    assert hqdm(*scores, "--classes", "0,1", "--out", tmp_path / "scores").code == 0
    scored = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert scored["protocol"]["classes"] == [0, 1]
    assert hqdm("export", *checkpoint, "--out", tmp_path / "model").code == 0
    again = Iterate(3)(Clip(load_denoiser(tmp_path / "model")), denoiser.prior(ImageNoise(0, 6)), y)
    assert torch.equal(again, expected)
