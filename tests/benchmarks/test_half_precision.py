"""The effect of bfloat16: a short run, and the refusal of the backend that ignores it."""

import sys

import pytest

from hqdm.nn.compiled.choice import VARIABLE


@pytest.fixture
def script(load):
    return load("half_precision")


@pytest.mark.slow  # trainings
def test_twenty_steps(script, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "DATA", "digits")
    monkeypatch.setattr(script, "NARROW", {"dim": 4, "mults": [1]})
    file = tmp_path / "half_precision.md"
    monkeypatch.setenv(VARIABLE, "torch")
    monkeypatch.setattr(
        sys, "argv", ["half_precision.py", "--steps=20", "--seeds=2", "--write", str(file)]
    )
    script.main()
    row = next(line for line in file.read_text().splitlines() if line.startswith("| 20 "))
    ratio, _, half_width = row.strip(" |").split(" | ")[-1].split()
    assert float(ratio) == pytest.approx(1, abs=0.05)  # twenty steps in 8 bits
    assert float(half_width) > 0  # the ratios of the seeds differ from each other, so not all are 1


def test_kernels_are_refused(script, monkeypatch, capsys):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(sys, "argv", ["half_precision.py"])
    with pytest.raises(SystemExit):
        script.main()
    assert "HQDM_BACKEND=torch" in capsys.readouterr().err
