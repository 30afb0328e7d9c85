"""The comparison with U-Nets of other libraries: its quick mode, and its parts."""

import json
import sys

import pytest
import torch
from torch import nn

NAMES = ["hqdm UNet", "diffusers UNet2DModel"]


@pytest.fixture
def run(load, in_this_process, monkeypatch, tmp_path):
    """Runs the quick mode without starting processes; returns its rows and its table."""
    script = load("neighbours")
    monkeypatch.setattr(script, "Worker", in_this_process)

    def main(*names):
        options = ["--quick", "--out", str(tmp_path), "--networks", *names]
        monkeypatch.setattr(sys, "argv", ["neighbours.py", *options])
        script.main()
        (section,) = json.loads((tmp_path / "neighbours.json").read_text())
        rows = {row["network"]: row for row in section["rows"]}
        return rows, (tmp_path / "neighbours.md").read_text()

    return main


def test_quick_run(run):
    rows, table = run(*NAMES)
    assert list(rows) == NAMES
    for row in rows.values():
        assert all(len(taken) == 1 and taken[0] > 0 for taken in row["seconds"].values())
        assert min(row["parameters"], row["multiply_adds"]) > 0
    (line,) = (line for line in table.splitlines() if line.startswith("| hqdm UNet |"))
    assert line.count("| 1.00 (1.00 to 1.00) |") == 2


def test_a_network_that_cannot_be_installed_is_reported(run, load, monkeypatch):
    script = load("neighbours")
    monkeypatch.setattr(script, "make_environment", lambda: None)
    monkeypatch.setattr(script, "install", lambda packages, *options: f"no {packages[0]}")
    rows, table = run("hqdm UNet", "lucidrains Unet")
    assert rows["lucidrains Unet"]["failure"] == "no denoising-diffusion-pytorch"
    assert "**Not measured: no denoising-diffusion-pytorch.**" in table


def test_multiply_adds_and_times_of_a_network_written_out(load, monkeypatch):
    networks = load("speed.networks")
    times = []

    class Convolution(nn.Conv2d):
        def forward(self, x, t):
            times.append(t)
            return super().forward(x)

    kind = networks.Kind(
        lambda shape: networks.Neighbour(Convolution(1, 1, 3, padding=1), shape.size), "torch", ""
    )
    monkeypatch.setitem(networks.KINDS, "convolution", kind)
    facts = networks.Runner("convolution", networks.Shape(8, 4, (1,)), 2).facts()
    assert facts["multiply_adds"] == 9 * 64
    assert facts["parameters"] == 10
    torch.testing.assert_close(times[0], torch.full((1,), 500.0))


def test_diffusers_comes_close_to_our_number_of_parameters(load):
    networks = load("speed.networks")
    shape = networks.Shape(8, 4, (1, 2))
    ours = networks.n_parameters(networks.preset("UNet", shape))
    chosen = networks.n_parameters(networks.diffusers(1, shape))
    layers = {}
    for layers_per_block in networks.LAYERS_PER_BLOCK:
        networks.LAYERS_PER_BLOCK = (layers_per_block,)
        layers[layers_per_block] = networks.n_parameters(networks.diffusers(1, shape))
    assert len(set(layers.values())) == 2
    assert abs(chosen - ours) == min(abs(number - ours) for number in layers.values())
