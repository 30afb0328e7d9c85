"""The script for a GPU: its parts in a dry run on the CPU, and its bookkeeping."""

import importlib
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from hqdm.simulators import StatevectorSimulator

FOLDER = Path(__file__).parents[2] / "benchmarks"
CPU = torch.device("cpu")
SETTINGS = {
    "device": {"name": "Card"},
    "versions": {"torch": "2"},
    "commit": "abc",
    "seed": 0,
    "quick": True,
    "time": "now",
}


@pytest.fixture
def load(monkeypatch):
    """Imports a module of the script."""
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module
    for name in list(sys.modules):
        if name.split(".")[0] in ("device", "gpu", "gpu_environment"):
            del sys.modules[name]


@pytest.fixture
def context(load):
    kind = load("device.context").Context
    return kind(device=CPU, quick=True, seed=0, deadline=time.monotonic() + 60)


# The division of the time


def test_a_part_leaves_the_others_what_they_need(load):
    budget = load("device.budget")
    first, last = budget.Part("first", 100, 20), budget.Part("last", None, 60)
    assert budget.seconds_for(first, 400, [last]) == 100
    assert budget.seconds_for(first, 130, [last]) == 70
    assert budget.seconds_for(first, 75, [last]) == 0  # 15 are fewer than it needs
    assert budget.seconds_for(last, 75, []) == 75
    assert budget.seconds_for(last, 59, []) == 0


def test_all_limits_leave_time_for_the_training(load):
    budget, total = load("device.budget"), load("gpu").SECONDS
    limits = [part.limit for part in budget.PARTS]
    assert limits[-1] is None
    assert total - sum(limits[:-1]) >= budget.PARTS[-1].least
    assert total <= 8 * 60


# The record


def test_every_result_is_in_the_file_at_once(load, tmp_path):
    kind = load("device.record").Record
    record = kind.start(tmp_path / "out" / "gpu.json", SETTINGS, keep=True)
    record.begin("steps")
    record.add("steps", {"batch": 2, "ms": 1.5})
    saved = json.loads(record.file.read_text())["parts"]["steps"]
    assert saved == {"state": "running", "seconds": 0.0, "rows": [{"batch": 2, "ms": 1.5}]}


def test_a_resumed_run_keeps_what_was_complete_on_the_same_device(load, tmp_path):
    kind = load("device.record").Record
    record = kind.start(tmp_path / "gpu.json", SETTINGS, keep=True)
    for name in ("steps", "kernel", "sampling"):
        record.begin(name)
        record.add(name, {"x": 1})
    record.end("steps", 3.0, None)
    record.end("kernel", 3.0, "it broke")  # and sampling was interrupted
    again = kind.start(record.file, {**SETTINGS, "time": "later"}, keep=True)
    assert list(again.contents["parts"]) == ["steps"]
    assert again.part("steps")["rows"] == [{"x": 1}]
    other = kind.start(record.file, {**SETTINGS, "commit": "def"}, keep=True)
    assert other.contents["parts"] == {}


def test_a_part_with_a_failure_has_failed(load, tmp_path):
    kind = load("device.record").Record
    record = kind.start(tmp_path / "gpu.json", SETTINGS, keep=False)
    record.begin("kernel")
    record.end("kernel", 0, "no device", skipped=True)
    assert not record.failed
    record.begin("steps")
    record.add("steps", {"batch": 2, "ms": 1.5})
    record.add("steps", {"batch": 4, "failure": "OutOfMemoryError: full"})
    assert record.failed  # it is running
    record.end("steps", 3, None)
    assert record.failed
    assert record.part("steps")["reason"] == "1 of 2 results: OutOfMemoryError: full"


def test_tables_have_every_result(load, tmp_path):
    module = load("device.record")
    record = module.Record.start(tmp_path / "gpu.json", SETTINGS, keep=False)
    record.begin("steps")
    record.add("steps", {"batch": 1024, "network": "UNet", "ms": 12.345})
    record.add("steps", {"batch": 1024, "network": "QVUNet", "failure": "full"})
    record.end("steps", 3.2, None)
    states, steps = module.tables(record)
    assert "Card, driver none; torch 2; commit abc; seed 0" in states.title
    assert states.rows == [("steps", "failed", "1 of 2 results: full", "3")]
    assert steps.columns == ["network", "failure", "batch", "ms"]
    assert steps.rows == [["UNet", "-", "1,024", "12.3"], ["QVUNet", "full", "1,024", "-"]]
    assert steps.n_text == 2


# Parts and their processes


def test_without_a_device_it_ends_with_one_line(load, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert load("gpu").main([]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "finds no CUDA device" in said.err
    assert not said.out


@pytest.fixture
def start(load, monkeypatch, tmp_path):
    """Runs a part whose process is a given program."""

    def start(program, seconds=60.0):
        gpu, record = load("gpu"), load("device.record").Record
        script = tmp_path / "part.py"
        script.write_text(program)
        monkeypatch.setattr(gpu, "__file__", str(script))
        options = gpu.options_of(["--device", "cpu", "--quick", "--out", str(tmp_path)])
        begun = record.start(tmp_path / "gpu.json", SETTINGS, keep=False)
        part = load("device.budget").Part("steps", None, 1)
        return gpu.start_part(begun, part, seconds, CPU, options)

    return start


def test_a_part_that_crashes_is_recorded(start):
    record = start("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert record.part("steps")["state"] == "failed"
    assert record.part("steps")["reason"] == "the process ended with code -11"
    assert record.failed


def test_a_part_ends_at_its_limit(start):
    before = time.monotonic()
    record = start("import time; time.sleep(60)", seconds=0.5)
    assert time.monotonic() - before < 20
    assert record.part("steps")["reason"] == "the limit of 0 seconds was reached"


def test_a_part_without_time_is_not_started(start):
    record = start("raise SystemExit(3)", seconds=0.0)
    assert record.part("steps")["reason"] == "no time left"


def test_the_results_before_an_error_stay(load, monkeypatch, tmp_path):
    gpu, record = load("gpu"), load("device.record").Record

    class Part:
        @staticmethod
        def run(context):
            yield {"x": 1}
            raise ValueError("two\nlines")

    record.start(tmp_path / "gpu.json", SETTINGS, keep=False).begin("steps")
    monkeypatch.setattr(gpu, "import_module", lambda name: Part)
    words = ["--device", "cpu", "--quick", "--part", "steps", "--out", str(tmp_path)]
    assert gpu.main(words) == 1
    part = record.read(tmp_path / "gpu.json").part("steps")
    assert (part["rows"], part["reason"]) == ([{"x": 1}], "ValueError: two")


def test_the_kernels_are_left_out_without_a_device(load):
    assert "need a CUDA device" in load("device.kernel").skipped(CPU)
    assert load("device.kernel").skipped(torch.device("cuda")) is None


def test_a_measurement_that_fails_is_a_row_with_the_reason(context):
    row = context.attempt({"x": 1}, lambda: {"y": 1 / 0})
    assert row == {"x": 1, "failure": "ZeroDivisionError: division by zero"}
    assert context.attempt({"x": 1}, lambda: {"y": 2}) == {"x": 1, "y": 2}


def test_errors_above_the_tolerance_are_failures(load):
    checked = load("device.context").checked
    assert "failure" not in checked(1e-9, 1e-8)
    assert "failure" in checked(1e-7, 1e-8)
    assert "failure" in checked(float("nan"), 1e-8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_comparison_of_circuits_finds_wrong_angles(load, dtype):
    """An angle that is wrong by a thousandth is found in both precisions; rounding is not."""
    module = load("device.circuits")
    for circuit in module.SMALL.values():
        task = module.Task.make(circuit, 2, 5, seed=0)
        reference = task.results(StatevectorSimulator(), torch.float64, CPU)
        ours = task.results(StatevectorSimulator(), dtype, CPU)
        assert module.error(ours, reference) <= task.tolerance(dtype)
        wrong = module.Task(circuit, task.inputs, task.weights + 1e-3)
        ours = wrong.results(StatevectorSimulator(), dtype, CPU)
        assert module.error(ours, reference) > task.tolerance(dtype)
    broken = (reference[0] * float("nan"), *reference[1:])
    assert math.isnan(module.error(broken, reference))


@pytest.mark.slow  # all comparisons
def test_the_quick_comparisons_hold(load, context):
    rows = list(load("device.correctness").simulators(context))
    assert {row["what"] for row in rows} == {"statevector", "statevector in chunks", "unitary"}
    assert not [row for row in rows if "failure" in row]


# The packages


def test_the_packages_are_those_that_the_machine_lacks(load):
    found = load("gpu_environment").closure({"scipy"}, "3.11")
    assert {"pennylane", "autoray", "lightning", "torchmetrics", "numba", "llvmlite"} <= set(found)
    assert not {"torch", "scipy", "pytest", "mkdocs-material", "hqdm"} & set(found)
    assert not [name for name in found if name.startswith(("nvidia", "cuda"))]


@pytest.mark.slow
def test_the_environment_has_hqdm_and_the_packages_of_this_one(load, tmp_path):
    assert load("gpu_environment").main(["install", "--venv", str(tmp_path / "venv")]) == 0
    code = "import hqdm.utils.errors, torch, sys; print(hqdm.__file__, sys.prefix)"
    python = tmp_path / "venv" / "bin" / "python"
    said = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.split() == [str(FOLDER.parent / "hqdm/__init__.py"), str(tmp_path / "venv")]


@pytest.mark.slow
def test_dry_run(tmp_path):
    """Every part, as `make gpu` runs them; `test_the_quick_comparisons_hold` is faster."""
    command = [sys.executable, FOLDER / "gpu.py", "--device", "cpu", "--quick", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=480)
    assert done.returncode == 0, done.stdout + done.stderr
    contents = json.loads((tmp_path / "gpu.json").read_text())
    states = {name: part["state"] for name, part in contents["parts"].items()}
    expected = dict.fromkeys(("correctness", "steps", "compiling", "sampling", "training"), "ok")
    assert states == {**expected, "kernel": "skipped"}
    assert {"device", "versions", "commit", "seed"} <= set(contents["settings"])
    scores = contents["parts"]["training"]["rows"][1]
    assert scores["fid"] > 0
    assert "| sampling | ok |" in (tmp_path / "gpu.md").read_text()
