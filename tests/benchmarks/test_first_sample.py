"""The time to the first sample: the processes that are timed, and what they write."""

import json
import subprocess
import sys

import pytest

from hqdm.cli.main import main


@pytest.fixture
def script(load):
    return load("first_sample")


def test_the_times_are_those_of_the_process(script):
    """It sleeps and computes for known times."""
    code = (
        "import time\nwhile time.process_time() < 0.2: pass\n"
        "time.sleep(0.3)"  # wall clock only
    )
    wall, processor = script.seconds([sys.executable, "-c", code])
    assert 0.2 <= processor < wall - 0.25
    with pytest.raises(subprocess.CalledProcessError):
        script.seconds([sys.executable, "-c", "raise SystemExit(2)"])


def test_the_table(script, tmp_path, monkeypatch):
    sleep = [sys.executable, "-c", "import time; time.sleep(0.25)"]
    monkeypatch.setattr(script, "commands", lambda *_: {"sleep": sleep})
    file = tmp_path / "first_sample.md"
    monkeypatch.setattr(sys, "argv", ["first_sample.py", "--turns=2", "--write", str(file)])
    script.main()
    [row] = (line for line in file.read_text().splitlines() if line.startswith("| sleep | "))
    wall, processor = (float(cell.split()[0]) for cell in row.split(" | ")[1:3])
    assert wall >= 0.25
    assert processor < wall - 0.2


@pytest.mark.slow
def test_the_processes_write_samples(script, trained, tmp_path):
    """What follows `python -m hqdm` is understood by the command line."""
    processes = script.commands(str(trained), tmp_path / "samples")
    _, *sampled = processes.values()
    assert len(sampled) == len(script.SAMPLERS)
    for command, (sampler, steps) in zip(sampled, script.SAMPLERS, strict=True):
        assert command[1:3] == ["-m", "hqdm"]
        assert main(command[3:]) == 0
        record = json.loads((tmp_path / "samples" / "sample.json").read_text())
        assert (record["sampler"], record["steps"], record["n"]) == (sampler, steps, 16)
