"""The comparison of the backends of the U-Net: its quick mode, and its parts."""

import os
import sys

import pytest
import torch

from hqdm.nn.compiled.choice import VARIABLE


@pytest.fixture
def script(load):
    return load("backends")


@pytest.mark.slow  # measures
def test_quick_run(script, monkeypatch, tmp_path):
    file = tmp_path / "backends.md"
    monkeypatch.setattr(sys, "argv", ["backends.py", "--quick", "--write", str(file)])
    script.main()
    rows = [line.split(" | ") for line in file.read_text().splitlines() if line.startswith("| ")]
    rows = [row for row in rows if "ms" in row[1]]
    assert [row[0].strip("| ") for row in rows] == [
        *("UNet", "QVUNet", "FullQVUNet", "2 images", "width 8, batch 1")
    ]
    for row in rows:
        assert float(row[-1].strip(" |")) < 1e-4


def test_backends_take_turns_and_the_first_is_excluded(script, monkeypatch):
    seen = []

    def work():
        mixed = torch.is_autocast_enabled("cpu")
        seen.append((os.environ[VARIABLE], mixed))
        return torch.tensor(1.0 if len(seen) <= 3 else float(len(seen)))

    times = iter(range(1000))
    monkeypatch.setattr(script, "perf_counter", lambda: float(next(times)))
    monkeypatch.delenv(VARIABLE, raising=False)
    row = script.measure("work", work, turns=2)
    assert seen == list(script.BACKENDS) * 3
    assert VARIABLE not in os.environ
    assert row[1:6] == ["1000 ms", "1000 ms", "1.00x (1.00 to 1.00)", *row[4:6]]
    assert row[-1] == f"{abs(9 - 7) / 7:.0e}"
