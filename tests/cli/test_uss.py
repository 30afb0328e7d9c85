"""Unitary single sampling by the command line: configurations, training, sampling, inspection."""

import json
import re
from pathlib import Path

import pytest
import torch
from marks import slow
from safetensors.torch import load_file

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.data.images import load_images
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.loading import load_denoiser
from hqdm.diffusion.objective import StepBack, Uniform
from hqdm.diffusion.schedule import MixingSchedule
from hqdm.evaluation.unitary_bound import unitary_bound
from hqdm.nn.amplitude.unitary import USS as Network
from hqdm.nn.parts import count
from hqdm.samplers.recursive import UnitarySampling
from hqdm.samplers.recursive.circuit import depolarising
from hqdm.storage.checkpoint import read_checkpoint
from hqdm.utils.pixels import to_float, to_uint8
from hqdm.utils.seeds import ImageNoise

AMPLITUDE = sorted((Path(__file__).parents[2] / "configs" / "amplitude").glob("uss*.yaml"))
USS = {
    "uss_cifar10": (3_990, 1.9e-3),
    "uss_digits": (1_008, 1.72e-3),
    "uss_digits_guided": (987, 7.21e-3),
    "uss_fashion": (1_980, 2.12e-3),
}
"""Angles and learning rates of the paper."""
TRAJECTORIES = {"method": "trajectories", "trajectories": 5}


@pytest.mark.slow
def test_configurations_of_uss_are_those_of_the_paper():
    found = {}
    for file in AMPLITUDE:
        module = TrainingCLI(["--config", file.stem]).model
        found[file.stem] = count(module.denoiser.parameters()), module.lr
        assert module.denoiser.schedule == MixingSchedule()
        step = StepBack(steps=10, output="data", clamp=True, pairs=True, weight=Uniform())
        assert module.denoiser.objective == step
    assert found == USS


@pytest.mark.parametrize("name", [slow("uss_digits"), "uss_digits_guided"])
def test_uss_from_its_configuration(hqdm, refused, tmp_path, same_run, name):
    """Trained, resumed, sampled at once, inspected and exported; with few layers."""
    small = ("--model.network.options.n_layers", 4, "--data.limit", 40, "--trainer.accelerator")
    small = (*small, "cpu")
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    fit = ("fit", "--config", name, *small, "--out")
    assert hqdm(*fit, whole, "--trainer.max_steps", 4, "--sample-every", 1).code == 0
    assert len(list((whole / "samples").glob("*.png"))) == 2  # an epoch is two steps
    assert hqdm(*fit, halves, "--trainer.max_steps", 3, "--sample-every", 0).code == 0
    resume = ("fit", "--config", halves / "config.yaml", "--resume", halves / "last.ckpt")
    assert hqdm(*resume, "--out", halves, "--trainer.max_steps", 4).code == 0
    same_run(read_checkpoint(whole / "last.ckpt"), read_checkpoint(halves / "last.ckpt"))

    checkpoint = ("--checkpoint", whole / "last.ckpt")
    sample = ("sample", *checkpoint, "--sampler", "uss", "--n", 6, "--steps", 3, "--out")
    assert hqdm(*sample, tmp_path / "images").out.startswith("6 images, 3 steps at once: ")
    denoiser = load_denoiser(whole / "last.ckpt")
    y = None if denoiser.n_classes is None else torch.arange(6) % 2
    expected = UnitarySampling(3)(denoiser, denoiser.prior(ImageNoise(0, 6)), y)
    stored = load_file(tmp_path / "images" / "images.safetensors")["images"]
    assert torch.equal(stored, to_uint8(expected))
    own = (*sample, tmp_path / "own", "--sampler-options")
    drawn = ImageNoise(0, 6)
    if denoiser.network.has_ancilla:
        assert hqdm(*own, "trajectories=5", "scale=norm").code == 0
        sampler = UnitarySampling(3, scale="norm", **TRAJECTORIES)
    else:
        assert "outcomes of an ancilla" in refused(*own, "trajectories=5")
        assert hqdm(*own, "scale=norm").code == 0
        sampler = UnitarySampling(3, scale="norm")
    expected_own = sampler(denoiser, denoiser.prior(drawn), y, noise=drawn)
    stored = load_file(tmp_path / "own" / "images.safetensors")["images"]
    assert torch.equal(stored, to_uint8(expected_own))
    assert "uss takes no grid" in refused(*sample, tmp_path / "x", "--grid", "lambda")
    if y is not None:
        assert "powers of the network itself" in refused(*sample, tmp_path / "x", "--guidance", 2)

    images = load_images("digits", size=8, channels=1, classes=[0, 1])
    errors = unitary_bound(denoiser, to_float(images.images), images.labels)
    shown = hqdm("inspect", *checkpoint, "--data", "digits", "--classes", "0,1").out
    n_qubits = 6 if y is None else 7
    for text in ("USS", "predicts step", f"n_wires: {n_qubits}", f"n_weights: {12 * n_qubits}"):
        assert text in shown
    for text, error in (
        ("squared error of one step", errors.network),
        ("of no change", errors.identity),
        ("of the best unitary", errors.best_unitary),
    ):
        line = next(line for line in shown.splitlines() if text in line)
        assert f"{error:.3e}" in line
    assert hqdm("export", *checkpoint, "--out", tmp_path / "model").code == 0
    again = load_denoiser(tmp_path / "model")
    assert torch.equal(UnitarySampling(3)(again, denoiser.prior(ImageNoise(0, 6)), y), expected)


@pytest.fixture
def small(tmp_path):
    """The folder of an untrained model on 2x2 images."""
    step = StepBack(clamp=True)
    Denoiser(Network(size=2, n_layers=1), MixingSchedule(), step).save_pretrained(
        tmp_path / "model"
    )
    return tmp_path / "model"


def test_a_noisy_device_by_the_command_line(hqdm, small, tmp_path):
    sample = ("sample", "--checkpoint", small, "--sampler", "uss", "--steps", 2, "--n", 3, "--out")
    own = ("depolarising=0.1", "readout=0.2", "shots=50")
    outcome = hqdm(*sample, tmp_path / "out", "--sampler-options", *own)
    assert outcome.out.startswith("3 images, 2 steps at once, shots of an image: 50: ")
    noise = depolarising(0.1, readout=0.2)
    sampler = UnitarySampling(2, device="default.mixed", shots=50, noise=noise)
    denoiser, drawn = load_denoiser(small), ImageNoise(0, 3)
    expected = sampler(denoiser, denoiser.prior(drawn), noise=drawn)
    stored = load_file(tmp_path / "out" / "images.safetensors")["images"]
    assert torch.equal(stored, to_uint8(expected))
    record = json.loads((tmp_path / "out" / "sample.json").read_text())
    assert (record["device"], record["shots"]) == ("default.mixed", 50)
    assert "DepolarizingChannel(0.1)" in record["noise"]


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (("shot=5",), "unknown option of the sampler 'uss' 'shot'.*did you mean 'shots'"),
        (("shots=5",), "give a device, too"),
        (("shots=0", "device=default.qubit"), "shots needs a whole number from 1, got 0"),
        (("shots=many",), "shots: expected a whole number or null, got 'many'"),
        (("device=default.qubi",), "unknown PennyLane device 'default.qubi'"),
        (("device=default.qubit", "depolarising=0.1"), "default.qubit does not simulate noise"),
        (("depolarising=2",), "depolarising needs a probability in .0, 1., got 2"),
        (("scale=mx",), "unknown scale 'mx'.*did you mean 'max'"),
        (("shots",), "expected KEY=VALUE such as shots=100, got 'shots'"),
        (("shots=[1]",), "expected KEY=VALUE"),
        (("scale=max", "scale=norm"), "one option stands twice"),
    ],
)
def test_options_of_the_sampler_that_are_refused(refused, small, tmp_path, own, said):
    sample = ("sample", "--checkpoint", small, "--sampler", "uss", "--out", tmp_path / "out")
    assert re.search(said, refused(*sample, "--sampler-options", *own))


def test_options_of_uss_are_not_those_of_others(refused, small, tmp_path):
    sample = ("sample", "--checkpoint", small, "--sampler", "iterate", "--out", tmp_path / "out")
    line = refused(*sample, "--sampler-options", "shots=5")
    assert "iterate has no options of its own: leave shots out" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--data", "digits"), "networks of amplitudes (USS, BestUnitary), got UNet"),
        (("--classes", "0,1"), "--classes are those of --data"),
        (("--data", "digits", "--classes", "0-999999999999"), "needs a whole number up to 99999"),
    ],
)
def test_the_error_of_one_step_is_that_of_networks_of_amplitudes(hqdm, options, said):
    """Others are refused before anything is printed."""
    outcome = hqdm("inspect", "--checkpoint", "mnist", *options)
    assert (outcome.code, outcome.out) == (2, "")
    assert said in outcome.err
