"""The speed of training models of quantum states: the quick mode, and contestants that differ."""

import sys

import numpy as np
import pytest


@pytest.fixture
def script(load, in_this_process, monkeypatch):
    """The script without other processes and libraries: hqdm beside hqdm."""
    script = load("states_speed")
    monkeypatch.setattr(script, "Worker", in_this_process)
    monkeypatch.setattr(script, "PEERS", dict.fromkeys(script.PEERS, "Hqdm"))
    monkeypatch.setattr(script, "make_environment", lambda: None)
    monkeypatch.setattr(script, "install", lambda packages: None)
    return script


def test_quick_run(script, monkeypatch, tmp_path):
    file = tmp_path / "speed.md"
    monkeypatch.setattr(sys, "argv", ["states_speed.py", "--quick", "--write", str(file)])
    script.main()
    (row,) = (line for line in file.read_text().splitlines() if line.startswith("| cluster |"))
    cells = row.strip("| ").split(" | ")
    assert cells[:3] == ["cluster", "1 + 1", "2"]
    assert len(cells) == len(script.COLUMNS)
    assert all(float(cell.split()[0]) > 0 for cell in cells[3:])


def test_contestants_that_differ_are_not_timed(script, monkeypatch):
    from speed import quddpm

    right = quddpm.Hqdm.gradient
    gradients = iter((1.0, 1.0, 1.1))

    def wrong(self):
        loss, gradient = right(self)
        return loss, next(gradients) * gradient

    monkeypatch.setattr(quddpm.Hqdm, "gradient", wrong)
    with pytest.raises(SystemExit, match="hqdm and all compiled differ by"):
        script.compare("cluster", script.QUICK["cluster"], 1, 1, 0.0)


def test_the_loss_is_that_of_all_pairs(script):
    """The states after the given outcomes, by the operators of the model, and the public MMD."""
    from speed import quddpm

    task = quddpm.Task(2, 1, 2, 5)
    arrays = quddpm.random_arrays(task)
    ours = quddpm.Hqdm(task, arrays)
    kraus = ours.network.kraus([1])[0, 0].detach().numpy()
    states = np.stack(
        [kraus[z] @ ket for z, ket in zip(arrays.outcomes, arrays.inputs, strict=True)]
    )
    states /= np.linalg.norm(states, axis=1, keepdims=True)

    def apart(a, b):
        return 1 - np.mean(abs(a.conj() @ b.T) ** 2)

    expected = 2 * apart(states, arrays.targets) - apart(states, states)
    expected -= apart(arrays.targets, arrays.targets)
    assert ours.gradient()[0] == pytest.approx(expected, abs=1e-6)
