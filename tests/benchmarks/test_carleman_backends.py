"""The comparison of quantum algorithms: its measured quantities and its tables."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hqdm.carleman.costs.scaling import measured
from hqdm.carleman.lchs.solver import LCHS
from hqdm.carleman.linearization import degree_weights, reweighted
from hqdm.carleman.magnus import Direct
from hqdm.carleman.qlss.solver import QLSS
from hqdm.data.images import load_images
from hqdm.diffusion.loading import load_denoiser
from hqdm.surrogate.fit import fit_carleman
from hqdm.surrogate.fit_files import fit_path

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module("carleman_backends")
    del sys.modules["carleman_backends"]


@pytest.fixture(scope="module")
def fitted(trained, tmp_path_factory):
    """A checkpoint with a fit beside it, and the fit."""
    checkpoint = tmp_path_factory.mktemp("fitted") / "last.ckpt"
    checkpoint.write_bytes((trained / "last.ckpt").read_bytes())
    images = load_images("digits", "train").images
    torch.manual_seed(0)
    fit = fit_carleman(load_denoiser(checkpoint), images, 2, 2, target="noise", samples=800)
    fit.save(fit_path(checkpoint))
    return checkpoint, fit


@pytest.mark.slow
def test_quantities_are_those_of_the_emulated_solvers(benchmark, fitted):
    _, fit = fitted
    made, y0, sampler = benchmark.evolution(fit, 4, 2)
    weights = degree_weights(sampler.system.monomials, [0.3, 1.0, 0.5])
    found = benchmark.case_of(made, y0, sampler, weights, 1e-3)
    weighted, start = [reweighted(generator, weights) for generator in made], weights * y0
    y = Direct().solve(weighted, start).y
    expected = measured(
        2,
        2,
        2,
        QLSS(eps=1e-3).solve(weighted, start).account,
        LCHS(tolerance=1e-6).solve(weighted, start).account,
        size=len(y),
        share=float(y[1:3] @ y[1:3] / (y @ y)),
    )
    for name in vars(expected):
        # the emulated solvers err by 1e-3 of the history
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=5e-3), name


def test_the_tables(benchmark, fitted, monkeypatch, tmp_path, capsys):
    checkpoint, _ = fitted
    out = tmp_path / "backends.md"
    words = ("--checkpoint", checkpoint, "--order", 2, "--segments", 4, "--write", out)
    monkeypatch.setattr(sys, "argv", ["carleman_backends.py", *map(str, words)])
    benchmark.main()
    page = out.read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 9 + 2 + 11
    shares = next(line for line in rows if "share of x" in line).split("|")[2:5]
    assert float(shares[0]) < float(shares[2])
    assert "Schrödingerisation" in capsys.readouterr().out
    weights = page.splitlines()[-1].split(": ")[1].split(", ")
    assert weights[1] == "1.000"
    assert all(np.array(weights, dtype=float) > 0)
