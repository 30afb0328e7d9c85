"""The benchmark of Carleman scaling: its quick mode, and what it fits."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from hqdm.carleman.qlss.inverse import inverse_polynomial

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module("carleman_scaling")
    del sys.modules["carleman_scaling"]


def test_quick_run(benchmark, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["carleman_scaling.py", "--quick", "--out", str(tmp_path)])
    benchmark.main()
    rows = json.loads((tmp_path / "carleman_scaling.json").read_text())
    assert len(rows) == 4 + 2 + 5 + 8 + 4 + 5
    for row in rows:
        series = row["quantity"].startswith("truncation")
        # A geometric series, exact but for rounding of errors above 1e-3. The rest is asymptotic:
        # logarithms and odd degrees are left over at the few, small sizes of the quick mode.
        tolerance = 1e-9 if series else 0.15
        assert row["fitted"] == pytest.approx(row["predicted"], abs=tolerance), row["quantity"]
    bounds = [row["quantity"].split(", ")[-1] for row in rows[-5:]]
    assert bounds == ["bounded"] * 3 + ["no bound"] * 2
    table = (tmp_path / "carleman_scaling.md").read_text().splitlines()
    assert sum(line.startswith("| ") for line in table) == len(rows) + 2
    assert "truncation" in capsys.readouterr().out


@pytest.mark.slow
def test_nothing_is_written_where_nothing_is_asked_for(benchmark, monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["carleman_scaling.py", "--quick"])
    benchmark.main()
    assert list(tmp_path.iterdir()) == []


def test_a_power_law_is_found(benchmark):
    x = np.array([1.0, 3.0, 10.0])
    row = benchmark.power_law("y", "x", 2, x, 5 * x**2.5)
    assert row.fitted == pytest.approx(2.5, rel=1e-12)
    assert row.cells() == ("y", "x", "1", "10", "2.000", "2.500")


@pytest.mark.parametrize("kind", ["cks", "minimax"])
def test_no_lower_degree_is_enough(benchmark, kind):
    found = benchmark.lowest_degree(kind, 15.0, 1e-3)
    errors = {n: inverse_polynomial(kind, 15.0, 1e-3, n).error for n in (found - 2, found)}
    assert errors[found] <= 1e-3 < errors[found - 2]
