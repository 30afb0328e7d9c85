"""The table of learned latents: its rows, its share of the gap, and a quick run."""

import json

import pytest
import torch


@pytest.fixture
def benchmark(load):
    return load("learned_latents")


def test_the_share_of_the_gap_is_1_at_the_floor_and_0_at_the_gaussian(benchmark):
    scores = {
        name: {"fid": fid}
        for name, fid in ((benchmark.FLOOR, 0.5), (benchmark.GAUSSIAN, 4.5), ("other", 1.5))
    }
    assert benchmark.share(scores, benchmark.FLOOR) == 1
    assert benchmark.share(scores, benchmark.GAUSSIAN) == 0
    assert benchmark.share(scores, "other") == pytest.approx(0.75)


@pytest.mark.slow
def test_a_network_of_latents_learns_their_noise(benchmark):
    """Latents of one point per class: the noise is known from the label, the time and z."""
    torch.manual_seed(0)
    auto = benchmark.Denoiser(
        benchmark.LatentNetwork(3, 2), benchmark.load_denoiser(benchmark.UNET).schedule
    )
    y = torch.arange(400) % 2
    z = (2.0 * y[:, None] - 1) * torch.ones(3)
    trained = benchmark.latent_network(auto, z, y, seed=0, steps=800)
    drawn = benchmark.drawn(trained, benchmark.UniPC(20), 40, 0)
    # the network is trained for seconds: its samples are near the points, not at them
    assert (drawn - z[:40]).abs().mean() < 0.2


@pytest.mark.slow
def test_a_quick_run_writes_the_tables_and_takes_up_where_it_ended(
    benchmark, tmp_path, monkeypatch
):
    monkeypatch.setattr(benchmark, "STARTS", 4)
    command = ["learned_latents.py", "--quick", "--seeds", "2", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", command)
    benchmark.main()
    file = tmp_path / "learned_latents_mnist.json"
    first = file.read_text()
    assert len(json.loads(first)["runs"]) == 2
    text = (tmp_path / "learned_latents_mnist.md").read_text()
    assert "| reconstruction |" in text
    assert "times as long" in text
    benchmark.main()
    assert file.read_text() == first
