"""What `hqdm inspect` shows."""

import io
import math

import numpy as np
import pennylane as qml
import pytest
import torch
from rich.console import Console

from hqdm.circuits import AmplitudeEmbedding, AngleEmbedding, StronglyEntangling
from hqdm.circuits.circuit import Circuit
from hqdm.cli.circuit_report import eigenphases, spectrum_line
from hqdm.cli.commands.inspect import report, start_of
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.loading import load_denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.evaluation.angles import angle_distances
from hqdm.nn.amplitude.convolution import QuantumConv2d
from hqdm.nn.amplitude.dense import QDense
from hqdm.nn.amplitude.unitary import USS
from hqdm.nn.quantum_conv import Hybrid
from hqdm.nn.quantum_layer import QuantumLayer
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
    data = ("--data", "digits", "--n")
    assert "--n needs a whole number from 2" in refused(*model, "--importance", *data, "1")
    assert "--n needs a whole number from 1" in refused(*model, "--gradients", *data, "0")
    for others in ((), ("--data", "digits"), ("--spectrum",)):
        line = refused(*model, *others, "--n", "8")
        assert "--n is of --importance and --gradients: give one of them" in line


@pytest.mark.slow
def test_the_start_of_a_run_follows_from_its_folder(hqdm, tiny, tmp_path):
    """With a rate of 1e-6 a step of Adam moves an angle by 2 pi 1e-6; a frozen angle stays."""
    runs = {}
    for control in ("frozen", None):
        config = tiny(model__network__control=control, model__lr=1e-6, seed_everything=5)
        runs[control] = tmp_path / str(control)
        fit = ("fit", "--config", config, "--out", runs[control], "--trainer.max_steps", 3)
        assert hqdm(*fit).code == 0
        start, end = start_of(str(runs[control])), load_denoiser(runs[control], "raw")
        for found in angle_distances(start, end).values():
            if control:
                assert found.largest.tolist() == [0.0]
            else:
                assert 1e-6 < found.largest[0] < 3.1 * 2 * math.pi * 1e-6
    # Both runs have one start: that of the second is what the first has kept.
    kept = angle_distances(start, load_denoiser(runs["frozen"], "raw")).values()
    assert [found.largest.tolist() for found in kept] == [[0.0]] * 4
    shown = hqdm("inspect", "--checkpoint", runs["frozen"], "--angles").out
    assert "distances of angles from their start, in radians" in shown
    assert "mean of random angles" in " ".join(shown.split())


@pytest.mark.slow
def test_a_start_that_is_not_known(hqdm, refused, tiny, trained, tmp_path):
    angles = ("inspect", "--angles", "--checkpoint")
    assert "/mnist_unet has none" in refused(*angles, "mnist")
    assert "give --checkpoint" in refused("inspect", "--config", tiny(), "--angles")
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "last.ckpt").write_bytes((trained / "last.ckpt").read_bytes())
    assert "config.yaml beside a checkpoint" in refused(*angles, alone)
    text = (trained / "config.yaml").read_text()
    (alone / "config.yaml").write_text(text.replace("seed_everything: 0", "seed_everything: 1"))
    assert "is not the configuration of" in refused(*angles, alone)
    (alone / "config.yaml").write_text(f"{text}\ninit_from: other\n")
    assert "started from the weights of other" in refused(*angles, alone)


@pytest.mark.slow
def test_the_importance_of_the_places_of_a_shipped_model(hqdm):
    options = ("--importance", "--data", "digits", "--n", "4")
    shown = hqdm("inspect", "--checkpoint", "mnist", *options).out
    assert "of 4 images" in shown
    assert "decoder.3" in shown


def test_eigenphases_are_those_of_the_circuit_gate_by_gate():
    network = USS(size=2, n_layers=2)
    matrix = qml.matrix(lambda: network.queue(), wire_order=range(2))()
    expected = np.sort(np.angle(np.linalg.eigvals(matrix)))
    assert eigenphases(network.circuit).numpy() == pytest.approx(expected, abs=1e-5)
    assert "eigenphases of the unitary, 4 of them distinct" in shown(network)


def test_spectra_of_other_circuits():
    """A rotation about Z by 1/2 has the phases of plus and minus 1/4, the identity has one."""
    circuit = Circuit(AmplitudeEmbedding(1), StronglyEntangling(1, 1), measure="state")
    layer = QuantumLayer(circuit)
    layer.theta.data.zero_()
    assert "2 eigenphases of the unitary, 1 of them distinct" in spectrum_line(layer)
    layer.theta.data[0, 0, 0, 2] = 0.5 / (2 * math.pi)  # in turns
    assert eigenphases(layer).tolist() == pytest.approx([-0.25, 0.25], abs=1e-5)
    assert "2 of them distinct" in spectrum_line(layer)
    assert spectrum_line(layer).endswith("at distances of 5.0e-01 to 5.78")  # 2 pi - 1/2
    several = QuantumLayer(circuit, n_circuits=2)
    assert spectrum_line(several) is None
    assert "16 eigenphases" in spectrum_line(QuantumConv2d(1, 3, 3))
    assert "8 eigenphases" in spectrum_line(QDense(size=2, n_layers=1, n_classes=2).circuit)
    assert spectrum_line(QDense(size=23, n_layers=1).circuit) is None  # 10 qubits
    angles = Circuit(AngleEmbedding(2), StronglyEntangling(2, 2))
    assert spectrum_line(QuantumLayer(angles)) is None
