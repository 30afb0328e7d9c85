"""The tables of the diagnostics, and the options that do not fit."""

import pytest
import torch

from hqdm.cli.diagnostics import (
    angle_sheet,
    gradient_sheet,
    importance_sheet,
    spectrum_sheet,
)
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.evaluation.angles import angle_distances, angle_gradients
from hqdm.nn.quantum_conv import Hybrid
from hqdm.nn.unet import UNet
from hqdm.utils.errors import HQDMError

SMALL = {"size": 4, "dim": 4, "mults": (1,), "heads": 1, "head_dim": 4}


def model(hybrid):
    torch.manual_seed(0)
    return Denoiser(UNet(hybrid=hybrid, **SMALL), CosineSchedule())


def test_the_tables():
    denoiser = model({"vertex": Hybrid(2, 1, "HQConv", 2, repeats=2)})
    x0 = torch.rand(9, 1, 4, 4)
    importance = importance_sheet(denoiser, x0, None)
    assert importance.title.endswith("of 9 images")
    assert [row[0] for row in importance.rows] == ["encoder.0", "vertex", "decoder.0", "head"]
    gradients = gradient_sheet(denoiser, x0, None, 4)
    assert len(gradients.rows) == 4 * 2
    name, circuit, norm, _ = gradients.rows[1]
    assert (name, circuit) == ("network.vertex.block_1.conv_1.quantum.layer", "1")
    expected = angle_gradients(denoiser, x0, batch_size=4)[name].norm[1]
    assert float(norm) == pytest.approx(float(expected), rel=1e-2)
    spectrum = spectrum_sheet(denoiser)
    assert [row[0] for row in spectrum.rows] == [row[0] for row in gradients.rows[::2]]
    assert all(row[2].startswith("1: ") and ", 2: " in row[2] for row in spectrum.rows)


def test_a_model_without_circuits_of_angles_has_no_spectrum():
    with pytest.raises(HQDMError, match="the model has none"):
        spectrum_sheet(model({}))


def test_distances_of_angles():
    start, end = (model({"vertex": Hybrid(2, 1, "HQConv", 1)}) for _ in range(2))
    with torch.no_grad():
        end.network.vertex.block_1.conv_2.quantum.layer.theta[1] += 0.5 / torch.pi
    rows = angle_sheet(start, end).rows
    assert [row[0] for row in rows[::2]] == list(angle_distances(start, end))
    moved = [row for row in rows if row[2:4] != ("0", "0")]
    (row,) = moved
    assert row[:4] == ("network.vertex.block_1.conv_2.quantum.layer", "1", "1", "1")
    assert float(row[4]) == pytest.approx(torch.pi / 2, rel=0.1)


def test_a_model_without_circuits_has_no_angles():
    with pytest.raises(HQDMError, match="--angles is of circuits, and the model has none"):
        angle_sheet(model({}), model({}))
