"""What `hqdm inspect` shows."""

import io

import pytest
import torch
from rich.console import Console

from hqdm.cli.commands.inspect import report
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.nn.quantum_conv import Hybrid
from hqdm.nn.unet import FullQVUNet, UNet


def shown(network, batch=128):
    console = Console(file=io.StringIO(), width=100)
    report(Denoiser(network, CosineSchedule()), console, batch)
    return console.file.getvalue()


def row(text, name):
    """The numbers of a line of the table of parameters."""
    line = next(line for line in text.splitlines() if line.startswith(f"│ {name} "))
    return [int(cell.replace(",", "")) for cell in line.strip("│ ").split("│")[1:]]


def test_parameters_add_up_and_circuits_are_drawn():
    network = FullQVUNet(Hybrid(channels_per_group=3, n_layers=2), size=8, dim=8, mults=(1, 2))
    text = shown(network)
    parts = [
        row(text, name) for name in ("stem", "embedding", "encoder", "vertex", "decoder", "head")
    ]
    total = row(text, "total")
    assert [sum(column) for column in zip(*parts, strict=True)] == total
    assert total[0] + total[1] == total[2] == sum(p.numel() for p in network.parameters())
    # Sixteen channels: five groups of three, and one channel on its own.
    assert "vertex.block_1.conv_1 " in text
    assert "vertex.block_1.conv_1.rest" in text
    assert "FQConv(n_wires=12, n_layers=2), measured by expval_z" in text
    assert "Basic(n_wires=4, n_layers=4), measured by expval_z" in text
    assert "the embedding and the first of 2 layers" in text
    assert "┤  <Z>" in text


def test_classical_network_says_so():
    assert "no quantum layers: the network is classical" in shown(UNet(size=8, dim=8, mults=(1,)))


@pytest.mark.parametrize("width", [80, 200])
def test_nothing_is_cut_off(width):
    console = Console(file=io.StringIO(), width=width)
    network = FullQVUNet(Hybrid(n_layers=1), size=8, dim=8, mults=(1, 2))
    report(Denoiser(network, CosineSchedule()), console, 128)
    assert "…" not in console.file.getvalue()


def test_simulators_are_chosen_for_the_batch_and_explained():
    network = UNet(
        size=8,
        dim=8,
        mults=(1, 2),
        hybrid={
            "encoder.0": Hybrid(2, 1, "HQConv", 1),
            "vertex": Hybrid(1, 1, "HQConv", 1, simulator="statevector"),
        },
    )
    text = shown(network, batch=3)
    assert "simulators in a training step of 3 images on" in text
    # 8x8 pixels are 16 patches, at the vertex they are 4.
    assert "4 layers, circuits x samples 2 x 48: " in text
    assert "4 layers, circuits x samples 1 x 12: statevector (as configured)" in text
    if not torch.cuda.is_available():
        assert "2 x 48: compiled (estimated compiled " in text


def test_options_of_fit_may_follow_a_configuration(hqdm, refused):
    small = ("--model.network.dim", 4, "--model.network.mults", "[1, 2]")
    shown = hqdm("inspect", "--config", "digits_qvunet", *small)
    assert shown.code == 0
    network = UNet(size=8, channels=1, dim=4, mults=(1, 2))
    stem = sum(p.numel() for p in network.stem.parameters())
    assert row(shown.out, "stem")[-1] == stem
    assert "unrecognized arguments: --model.network.dim" in refused(
        "inspect", "--checkpoint", "mnist", *small
    )


def test_diagnostics_need_their_options(refused):
    model = ("inspect", "--checkpoint", "mnist")
    assert "--importance is measured on the images of --data" in refused(*model, "--importance")
    assert "--gradients is measured on the images of --data" in refused(*model, "--gradients")
    assert "--spectrum is of circuits" in refused(*model, "--spectrum")
    assert "--n needs a whole number from 1" in refused(*model, "--n", "0")


def test_the_importance_of_the_places_of_a_shipped_model(hqdm):
    options = ("--importance", "--data", "digits", "--n", "4")
    shown = hqdm("inspect", "--checkpoint", "mnist", *options).out
    assert "of 4 images" in shown
    assert "decoder.3" in shown
