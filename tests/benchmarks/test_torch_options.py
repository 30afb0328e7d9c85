"""Other forms of the torch path: each computes the same as the network."""

import sys

import pytest


@pytest.fixture
def script(load):
    return load("torch_options")


def test_quick_run(script, monkeypatch, tmp_path):
    """Float32 rounding of sums of some hundred numbers: 1e-5 of the largest is ample."""
    file = tmp_path / "torch_options.md"
    monkeypatch.setattr(sys, "argv", ["torch_options.py", "--quick", "--write", str(file)])
    monkeypatch.setenv(script.VARIABLE, "torch")
    script.main()
    rows = [line.split(" | ") for line in file.read_text().splitlines() if " ms | " in line]
    assert [row[0].strip("| ") for row in rows] == list(script.FORMS)
    differences = [float(row[-1].strip(" |")) for row in rows]
    assert differences[0] == 0
    assert max(differences) < 1e-5
    assert all(difference > 0 for difference in differences[1:])  # each form is another one
