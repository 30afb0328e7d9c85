"""QU-Net: the paper's parameter counts, its layers written out, training by the command line."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.loading import load_denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.evaluation.ablation import quantum_effect
from hqdm.nn.amplitude.qunet import QUNet
from hqdm.nn.network import build_network, network_config
from hqdm.nn.parts import count, quantum_parameters
from hqdm.utils.errors import HQDMError


@pytest.mark.parametrize(
    ("widths", "n_layers", "n_parameters"),
    [
        ((3, 6, 12), 8, 904),  # the "2k" and "4k" of the paper's table on Fashion-MNIST
        ((3, 6, 12), 12, 1_324),
        ((2, 4, 8), 9, 934),  # on MNIST
        ((2, 4, 8), 19, 1_924),
        ((2, 4, 8), 8, 835),  # on 8x8 digits
        ((2, 4, 8), 12, 1_231),
    ],
)
def test_parameter_counts(widths, n_layers, n_parameters):
    """Circuits of 4, 5, 6, 3, 7, 2, 6 or 4, 5, 6, 4, 7, 3, 6 qubits with 3 angles each."""
    network = QUNet(1, 28, widths, n_layers)
    assert count(network.parameters()) == n_parameters
    qubits = {2: 33, 3: 35}[widths[0]]
    assert count(quantum_parameters(network)) == 3 * qubits * n_layers


def test_the_larger_network():
    """Its 1x1 head on 2 channels is a circuit of 1 qubit; there are 5 more convolutions of 3x3."""
    network = QUNet(1, 8, (2, 4, 8), 3, convolutions=2)
    qubits = (4 + 5) + (5 + 6) + (6 + 7) + (3 + 7 + 6) + (2 + 6 + 5) + 1
    assert count(quantum_parameters(network)) == 3 * 3 * qubits
    assert count(network.parameters()) == 3 * 3 * qubits + 2 * 2 * (2 + 4 + 8 + 4 + 2)


def written_out(network, x, mask=0):
    """The layers in the order of the paper, on pixels in [0, 1]."""
    first, second, third = network.encoder
    lower, upper = network.decoder
    a = first((x + 1) / 2 + mask)
    b = second(F.max_pool2d(a, 2))
    c = third(F.max_pool2d(b, 2))
    for block, skip in ((lower, b), (upper, a)):
        c = block.reduce(F.interpolate(c, scale_factor=2, mode="bilinear", align_corners=False))
        rest = skip.shape[2] - c.shape[2]
        c = block.block(torch.cat([F.pad(c, (rest, 0, rest, 0)), skip], 1))
    return 2 * network.head(c) - 1


@pytest.mark.parametrize("convolutions", [1, 2])
@pytest.mark.parametrize("size", [8, 14, 11])
def test_the_network_written_out(size, convolutions):
    network = QUNet(2, size, (2, 3, 4), 2, convolutions, n_classes=3).double()
    x, y = torch.randn(4, 2, size, size, dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    outputs = network(x, torch.rand(4))
    torch.testing.assert_close(outputs, written_out(network, x), rtol=0, atol=1e-12)
    rows = torch.arange(size, dtype=torch.float64)[:, None] / 20
    mask = torch.stack([0.1 * torch.sin(label + rows) for label in range(3)] + [0 * rows])[:, None]
    assert (network(x, torch.rand(4), y) - outputs).abs().max() > 1e-3
    network.eval()  # otherwise the labels of others change the statistics of a batch
    labelled = network(x, torch.rand(4), y)
    torch.testing.assert_close(labelled, written_out(network, x, mask), rtol=0, atol=1e-12)
    torch.testing.assert_close(labelled[3], network(x, torch.rand(4))[3], rtol=0, atol=1e-12)


def kinds(block):
    return [type(module).__name__ for module in block]


def test_layers_of_a_block():
    paper, larger = (QUNet(1, 8, (2, 4), 1, convolutions) for convolutions in (1, 2))
    conv, norm = "QuantumConv2d", "BatchNorm2d"
    assert kinds(paper.encoder[0]) == kinds(paper.decoder[0].block) == [conv, norm]
    assert type(paper.head) is torch.nn.Conv2d
    assert kinds(larger.encoder[0]) == [conv, norm, "ReLU", conv, norm, "ReLU"]
    assert kinds(larger.decoder[0].block) == [conv, norm, conv, norm, "ReLU"]
    assert type(larger.head).__name__ == type(larger.decoder[0].reduce).__name__ == conv


def test_every_parameter_but_the_last_rotations_gets_a_gradient():
    network = QUNet(1, 8, (2, 4), 2).double()
    network(torch.randn(4, 1, 8, 8, dtype=torch.float64), torch.rand(4)).square().sum().backward()
    for name, parameter in network.named_parameters():
        grad = parameter.grad
        if name.endswith("theta"):
            assert grad[:, -1, :, 2].abs().max() < 1e-12
            grad[:, -1, :, 2] = 1
        assert grad.abs().min() > 1e-10, name


def test_configuration_round_trip():
    network = QUNet(3, 8, [2, 4], 2, 2, n_classes=4)
    config = network_config(network)
    assert json.loads(json.dumps(config)) == config
    rebuilt = build_network(config)
    assert type(rebuilt) is QUNet
    rebuilt.load_state_dict(network.state_dict())
    x, y = torch.randn(2, 3, 8, 8), torch.tensor([1, 4])
    network.eval(), rebuilt.eval()
    assert torch.equal(rebuilt(x, torch.rand(2), y), network(x, torch.rand(2), y))
    whole = sum(count(part.parameters()) for part in network.parts.values())
    assert whole == count(network.parameters())


def test_the_ablation_tells_that_it_is_quantum():
    denoiser = Denoiser(QUNet(1, 8, (2, 4), 2), CosineSchedule(), "x0")
    x0 = torch.rand(32, 1, 8, 8) * 2 - 1
    for _ in range(5):  # statistics of the normalisations
        denoiser.loss(x0)
    effect = quantum_effect(denoiser.eval(), x0)
    assert abs(effect.random_angles / effect.loss - 1) > 1e-3
    assert abs(effect.mean_output / effect.loss - 1) > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 3}, "images of size 3 cannot be halved 2 times: use fewer widths"),
        ({"widths": []}, "widths needs one number of channels per level"),
        ({"widths": [2, 0]}, "widths needs a whole number from 1, got 0"),
        ({"n_layers": 0}, "n_layers needs a whole number from 1, got 0"),
        ({"convolutions": 3}, "network.convolutions: expected 1 or 2, got 3"),
        ({"n_classes": 0}, "n_classes needs a whole number from 1"),
        ({"width": 3}, "'width'.*did you mean 'widths'"),
        ({"widths": 3}, "network.widths: expected a list of whole numbers, got 3"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(HQDMError, match=message):
        QUNet.from_config(options)


def test_bad_inputs():
    network = QUNet(1, 8, (2, 4), 1)
    with pytest.raises(HQDMError, match=r"\(B, 1, 8, 8\), got \(2, 1, 9, 9\)"):
        network(torch.rand(2, 1, 9, 9), torch.rand(2))
    with pytest.raises(HQDMError, match="no class labels"):
        network(torch.rand(2, 1, 8, 8), torch.rand(2), torch.tensor([0, 1]))


@pytest.mark.slow
def test_from_the_command_line(hqdm, tiny, tmp_path):
    """Trained, resumed, sampled, inspected, scored and exported, with labels."""
    options = {"name": "QUNet", "n_classes": 10, "options": {"widths": [2, 4], "n_layers": 1}}
    changes = {"model__network": options, "model__predict": "x0", "data__labelled": True}
    config, run = tiny(**changes), tmp_path / "run"
    assert hqdm("fit", "--config", config, "--out", run).code == 0
    again = ("--resume", run / "last.ckpt", "--trainer.max_epochs", 3)
    assert hqdm("fit", "--config", config, "--out", run, *again).code == 0
    checkpoint = ("--checkpoint", run / "last.ckpt")
    steps = ("--n", 4, "--steps", 2, "--label", 3)
    assert hqdm("sample", *checkpoint, *steps, "--out", tmp_path / "samples").code == 0
    shown = hqdm("inspect", *checkpoint)
    assert shown.code == 0
    assert "StronglyEntangling(n_wires=4, n_layers=1), measured by probs" in shown.out
    # 128 images of 8x8 patches, and half as many rows and columns below.
    assert "3 layers, circuits x samples 1 x 8,192: unitary (as configured)" in shown.out
    assert "1 layers, circuits x samples 1 x 2,048: unitary (as configured)" in shown.out
    assert hqdm("export", *checkpoint, "--out", tmp_path / "model").code == 0
    exported, trained = load_denoiser(tmp_path / "model"), load_denoiser(run / "last.ckpt")
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([0.3, 0.9])
    expected = trained.network(x, t, torch.tensor([1, 10]))
    assert torch.equal(exported.network(x, t, torch.tensor([1, 10])), expected)
    assert math.prod(expected.shape) == 128
