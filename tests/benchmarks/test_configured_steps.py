"""The script that compares training steps of configurations."""

import sys

import pytest

from hqdm.training.module import DiffusionModule


@pytest.fixture
def script(load):
    return load("configured_steps")


def test_the_command(script, monkeypatch, capsys, tiny, tmp_path):
    """A step trains: its weights differ; the first configuration is as long as itself."""
    monkeypatch.chdir(tmp_path)
    one = tiny().name  # a long name would leave no room for the times
    monkeypatch.setattr(sys, "argv", ["configured_steps.py", one, "--turns=1", "--batch=2"])
    script.main()
    shown = capsys.readouterr().out
    assert "training steps of 2 images" in shown
    assert "1.00 (1.00 to 1.00)" in shown


def test_a_step_trains(script, tiny):
    module = script.TrainingCLI(["--config", str(tiny())]).model
    assert isinstance(module, DiffusionModule)
    before = {name: p.detach().clone() for name, p in module.denoiser.named_parameters()}
    script.step_of(module, 2)()
    moved = [name for name, p in module.denoiser.named_parameters() if (p != before[name]).any()]
    assert len(moved) == len(before)


def test_times_are_those_of_steps(script, monkeypatch, tiny, tmp_path):
    """A clock that steps move: those of a second configuration take three times as long."""
    clock = [0.0]
    monkeypatch.setattr(script, "process_time", lambda: clock[0])
    lengths = iter([1.0, 3.0])

    def step_of(module, batch):
        length = next(lengths)

        def step():
            clock[0] += length

        return step

    monkeypatch.setattr(script, "step_of", step_of)
    one = tiny()
    two = tmp_path / "two.yaml"
    two.write_text(one.read_text())
    rows = script.measure([str(one), str(two)], None, 2).rows
    assert [row[2:] for row in rows] == [
        ("1 s", "1.00 (1.00 to 1.00)"),
        ("3 s", "3.00 (3.00 to 3.00)"),
    ]
