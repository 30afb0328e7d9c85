"""The benchmark of wave functions: its quick mode, and its closed forms."""

import sys

import numpy as np
import pytest

from hqdm.carleman.waves.characteristics import transported
from hqdm.carleman.waves.grid import Grid


@pytest.fixture
def benchmark(load):
    return load("carleman_wave")


def test_quick_run(benchmark, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["carleman_wave.py", "--quick", "--out", str(tmp_path)])
    benchmark.main()
    page = (tmp_path / "carleman_wave.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| normal")]
    assert [row[1] for row in rows] == ["difference2", "difference4", "difference6", "fourier"]
    for _, _, few, many in rows:
        assert float(many.rstrip(" |")) < float(few) / 2
    assert "circuit to product" in capsys.readouterr().out


@pytest.mark.slow
def test_the_closed_form_is_the_density_of_the_flow(benchmark):
    flow = benchmark.flows()[1]
    points = Grid(1, 5, 3.0).points
    early = -9.0  # the mixture is N(0, 1) there to 1e-4
    found = transported(flow.velocity, points, np.linspace(early, 1.0, 301))
    np.testing.assert_allclose(found, flow.density(points, 1.0), atol=1e-3)
