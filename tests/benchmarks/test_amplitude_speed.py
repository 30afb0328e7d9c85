"""The speed of the amplitude-embedded denoisers: the quick mode, and networks that differ."""

import sys

import pytest


@pytest.fixture
def script(load):
    return load("amplitude_speed")


@pytest.mark.slow
def test_quick_run(script, monkeypatch, tmp_path):
    file = tmp_path / "speed.md"
    monkeypatch.setattr(sys, "argv", ["amplitude_speed.py", "--quick", "--write", str(file)])
    script.main()
    rows = [line.strip("| ").split(" | ") for line in file.read_text().splitlines()]
    rows = [row for row in rows if row[0] in ("QDense", *script.PAPER, *script.MATRICES)]
    assert len(rows) == 5
    for _, *cells in rows:
        assert all(float(cell.split()[0]) > 0 for cell in cells)


@pytest.mark.slow  # a circuit of its own
def test_networks_that_differ_are_not_timed(script, monkeypatch):
    right = script.DenseNode.forward
    monkeypatch.setattr(script.DenseNode, "forward", lambda self, x: 1.1 * right(self, x))
    with pytest.raises(SystemExit, match="Q-Dense and its QNode differ by"):
        script.dense(1, 0.0, 4, 2)
