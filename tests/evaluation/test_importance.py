"""The importance map by hand: means over batches, and places that a network does not use."""

import pytest
import torch
from networks import Toy
from torch import nn

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.evaluation.ablation import quantum_effect
from hqdm.evaluation.importance import _inside, importance_map, importance_rows
from hqdm.nn.quantum_conv import Hybrid
from hqdm.nn.unet import UNet

SMALL = {"size": 4, "dim": 4, "mults": (1,), "heads": 1, "head_dim": 4}


class Two(Toy):
    """The image, plus what two parts return, the second without effect."""

    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Conv2d(1, 1, 1), nn.ModuleList([nn.Conv2d(1, 1, 1)])

    @property
    def parts(self):
        return {"used": self.used, "unused": self.unused}

    def forward(self, x, t, y=None):
        return x + self.used(x) + 0 * self.unused[0](x)


def test_a_silenced_part_returns_its_mean_over_the_batch():
    torch.manual_seed(0)
    denoiser, x0 = Denoiser(Two(), CosineSchedule()), torch.rand(30, 1, 2, 2)

    class Silent(Two):
        def forward(self, x, t, y=None):
            return x + self.used(x).mean(0)

    silent = Silent()
    silent.load_state_dict(denoiser.network.state_dict())
    loss, found = importance_map(denoiser, x0, batch_size=20)
    expected, _ = importance_map(Denoiser(silent, CosineSchedule()), x0, batch_size=20)
    assert [one.place for one in found] == ["used", "unused.0"]
    assert found[0].silenced == pytest.approx(expected, rel=1e-6)
    assert abs(expected / loss - 1) > 1e-4
    assert found[1].silenced == loss
    assert all(one.circuits_silenced is one.random_angles is None for one in found)


def test_the_images_of_a_short_last_batch_are_silenced_with_the_others():
    denoiser, x0 = Denoiser(Two(), CosineSchedule()), torch.rand(22, 1, 2, 2)
    reported = []
    found = importance_map(denoiser, x0, batch_size=20, progress=lambda *a: reported.append(a))
    assert found == importance_map(denoiser, x0, batch_size=22)
    done, total = reported[-1][-2:]
    assert done == total == 3  # the places, and the model itself


def test_the_circuits_of_a_place_are_not_those_of_a_place_with_a_longer_name():
    circuits = [
        "network.encoder.1",
        "network.encoder.1.conv",
        "network.encoder.10.conv",
        "encoder.1.a",
    ]
    assert _inside(circuits, ["encoder.1"]) == circuits[:2]


def test_the_circuits_of_one_place_are_those_of_the_ablation():
    """With circuits in one place only, both measure the same losses; other places have none."""
    torch.manual_seed(0)
    network = UNet(hybrid={"encoder.0": Hybrid(2, 1, "HQConv", 1)}, **SMALL)
    denoiser, x0 = Denoiser(network, CosineSchedule()), torch.rand(20, 1, 4, 4)
    before = {name: p.clone() for name, p in denoiser.state_dict().items()}
    reported = []
    loss, found = importance_map(denoiser, x0, progress=lambda *args: reported.append(args))
    effect = quantum_effect(denoiser, x0)
    assert [one.place for one in found] == ["encoder.0", "vertex", "decoder.0", "head"]
    first = found[0]
    assert effect.loss == loss
    assert (first.circuits_silenced, first.random_angles) == (
        effect.mean_output,
        effect.random_angles,
    )
    assert len({loss, first.silenced, first.circuits_silenced, first.random_angles}) == 4
    assert all(one.circuits_silenced is None and one.silenced != loss for one in found[1:])
    assert all(torch.equal(value, before[name]) for name, value in denoiser.state_dict().items())
    rows = importance_rows(loss, found)
    assert rows[0][1] == f"{first.silenced / loss - 1:+.2%}"
    assert rows[1][2:] == ("", "")
    done, total = reported[-1][-2:]
    assert done == total
