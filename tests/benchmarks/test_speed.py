"""The speed benchmark: its quick mode for what comes with hqdm, and its parts."""

import json
import sys

import numpy as np
import pytest

from hqdm.circuits import AngleEmbedding, Circuit, FQConv, StronglyEntangling

OURS = ["hqdm auto", "hqdm compiled", "hqdm statevector"]
PENNYLANE = ["default.qubit", "lightning.qubit"]


@pytest.fixture
def run(load, in_this_process, monkeypatch, tmp_path):
    """Runs the benchmark's quick mode without starting processes; returns the folder."""
    for section in ("peers", "step", "scaling"):
        monkeypatch.setattr(load(f"speed.{section}"), "Worker", in_this_process)

    def main(*arguments):
        argv = ["simulators.py", "--quick", "--out", str(tmp_path), *arguments]
        monkeypatch.setattr(sys, "argv", argv)
        load("simulators").main()
        return tmp_path

    return main


def results(folder):
    return json.loads((folder / "simulators.json").read_text())


def test_quick_run(run, capsys):
    folder = run("--contestants", *OURS, *PENNYLANE)
    sections = results(folder)
    assert list(sections) == ["peers", "step", "scaling"]
    rows = {w["name"]: {r["contestant"]: r for r in w["rows"]} for w in sections["peers"]["works"]}
    assert list(rows) == ["FQConv", "HQConv", "Q-Dense"]
    # The adjoint method cannot differentiate probabilities.
    assert "expectation values" in rows["Q-Dense"].pop("lightning.qubit")["failure"]
    for work in rows.values():
        for row in work.values():
            assert row["difference"] < 1e-5  # float32 against float64, numbers of order one
            assert row["seconds"] > 0
    assert rows["HQConv"]["lightning.qubit"]["circuits"] == 1

    assert [row["model"] for row in sections["step"]["rows"]] == ["UNet", "FullQVUNet"]
    for row in sections["step"]["rows"]:
        assert row["peak_bytes"] >= row["before_bytes"] > 1e7
    for row in sections["scaling"]["rows"]:
        # The floor of the compiled program bounds its time from below.
        assert 0 < row["floor_seconds"] < row["simulators"]["hqdm compiled"]["seconds"]

    assert "lightning.qubit" in capsys.readouterr().out
    tables = (folder / "simulators.md").read_text()
    assert tables.count("### ") == 3 + 1 + 4
    assert "| FullQVUNet |" in tables
    assert (folder / "scaling.png").stat().st_size < 200_000


@pytest.mark.slow
def test_sections_are_kept_until_they_are_measured_again(run):
    folder = run("--only", "scaling", "--contestants", "hqdm statevector")
    before = results(folder)
    run("--only", "peers", "--contestants", "hqdm statevector")
    after = results(folder)
    assert set(after) == {"peers", "scaling"}
    assert after["scaling"] == before["scaling"]


def test_a_peer_that_cannot_be_installed_is_reported(run, load, monkeypatch):
    installer = load("install_peers")
    monkeypatch.setattr(installer, "make_environment", lambda: None)
    monkeypatch.setattr(installer, "install", lambda packages: f"no {packages[0]} for you")
    folder = run("--only", "peers", "--contestants", "hqdm statevector", "deepquantum")
    for work in results(folder)["peers"]["works"]:
        assert work["rows"][1]["failure"] == "no deepquantum for you"
    tables = (folder / "simulators.md").read_text()
    assert "Not measured: no deepquantum for you" in tables
    assert "| deepquantum | - |" in tables


def test_wrong_results_are_not_timed(run, load, monkeypatch):
    peers = load("speed.peers")
    right = peers.reference

    def wrong(work):
        outputs, of_inputs, of_weights = right(work)
        of_weights[-1, -1] += 1e-3
        return [outputs, of_inputs, of_weights]

    monkeypatch.setattr(peers, "reference", wrong)
    folder = run("--only", "peers", "--contestants", "hqdm statevector")
    for work in results(folder)["peers"]["works"]:
        (row,) = work["rows"]
        assert "differ by 1.0e-03" in row["failure"]
        assert "seconds" not in row


@pytest.mark.slow
def test_pip_failure_is_its_last_line(load):
    installer = load("install_peers")
    installer.PYTHON = sys.executable
    reason = installer.install(("hqdm-no-such-package @ file:///nowhere",))
    assert reason
    assert "\n" not in reason


def test_repeated_block(load):
    gate_list = load("speed.gates").gate_list
    # On three qubits the CNOTs reach one and two qubits far in turn: two layers are a block.
    circuit = Circuit(AngleEmbedding(3), StronglyEntangling(3, 5))
    gates = gate_list(circuit)
    layers = load("dataclasses").replace(gates, gates=gates.gates[3:])
    block, n_weights = layers.repeated_block()
    assert len(block) == 2 * (3 + 3)
    assert n_weights == 2 * 9
    assert block == layers.gates[:12]
    assert gates.repeated_block() == (gates.gates, 0)  # the embedding comes once
    whole = gate_list(Circuit(AngleEmbedding(8), FQConv(8, 2)))
    assert whole.repeated_block() == (whole.gates, 0)


@pytest.fixture
def worker(load):
    """Makes a worker in a process, with a module as its object."""
    workers = []

    def make(module):
        workers.append(load("speed.worker").Worker(sys.executable, "importlib:import_module", 1))
        workers[-1].make(module)
        return workers[-1]

    yield make
    for one in workers:
        one.close()


def test_worker_answers(worker):
    served = worker("operator")
    assert served.call("add", 2, 3) == 5
    assert np.array_equal(served.call("neg", np.arange(3)), [0, -1, -2])


def test_worker_reports_what_fails(worker, load):
    error = load("speed.worker").WorkerError
    served = worker("operator")
    with pytest.raises(error, match="ZeroDivisionError"):
        served.call("truediv", 1, 0)
    assert served.call("add", 1, 1) == 2  # it lives on
    with pytest.raises(error, match="no answer within"):
        worker("time").call("sleep", 5, timeout=0.1)
    with pytest.raises(error, match="the process ended"):
        worker("os").call("_exit", 1)


def test_peak_memory(load):
    memory = load("speed.memory")
    if not memory.STATUS.exists():
        pytest.skip("the peak cannot be reset on this system")
    before = memory.reset_peak()
    np.ones(8_000_000).sum()
    assert 60e6 < memory.peak_bytes() - before < 90e6
    assert memory.reset_peak() - before < 30e6


@pytest.mark.parametrize(
    ("value", "text"),
    [(12.3456, "12.3 s"), (0.0123, "12.3 ms"), (0.999, "999 ms"), (3e-7, "0.3 us")],
)
def test_seconds(load, value, text):
    assert load("speed.report").seconds(value) == text
