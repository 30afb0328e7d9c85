"""The table of the models of quantum states: its rows, and a quick run that is taken up again."""

import json

import pytest

from hqdm.states.ensembles import ENSEMBLES as NAMES


@pytest.fixture
def benchmark(load):
    return load("states_table")


def test_rows_are_configurations(benchmark):
    assert len({row.key for row in benchmark.ROWS}) == len(benchmark.ROWS)
    for row in benchmark.ROWS:
        config = benchmark.configuration(row, 7, quick=False)
        assert config["seed_everything"] == 7
        assert config["data"]["ensemble"] in NAMES
        if row in benchmark.ONE_STATE:  # each random seed has another target
            assert config["data"]["options"] == {"seed": 7}
        batches = config["model"].get("predict_options", {}).get("batches")
        if batches is not None:  # of every step
            steps = config["model"]["channel_options"]["n_steps"]
            assert config["trainer"]["max_steps"] == steps * batches


def test_changes_are_of_the_row_only(benchmark):
    row = benchmark.Row("a", "b", "qgdm_2q", {"data.n_qubits": 3, "model.network.options": {}})
    changed = benchmark.configuration(row, 0, quick=False)
    plain = benchmark.configuration(benchmark.Row("a", "b", "qgdm_2q"), 0, quick=False)
    assert changed["data"].pop("n_qubits") == 3
    assert plain["data"].pop("n_qubits") == 2
    assert changed["model"]["network"].pop("options") == {}
    plain["model"]["network"].pop("options")
    assert changed == plain


def test_fidelities_have_intervals_of_several_runs_only(benchmark):
    assert benchmark.fidelity([0.5]) == "0.5000"
    # mean 0.6, standard deviation 0.1, t = 4.303 for 3 values: 0.2484 to each side
    assert benchmark.fidelity([0.5, 0.6, 0.7]) == "0.6000 [0.3516, 0.8484]"


@pytest.mark.slow
def test_a_quick_run_writes_both_tables_and_takes_up_where_it_ended(
    benchmark, tmp_path, monkeypatch
):
    rows = ["RE-QGDM; 1 qubit, pure", "MSQuDDPM"]
    command = ["states_table.py", "--quick", "--rows", *rows, "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", [*command, "--seeds", "1"])
    benchmark.main()
    assert len(json.loads((tmp_path / benchmark.FILE).read_text())["runs"]) == 2
    monkeypatch.setattr("sys.argv", [*command, "--seeds", "2"])
    benchmark.main()
    runs = json.loads((tmp_path / benchmark.FILE).read_text())["runs"]
    assert sorted((run["row"][:2], run["seed"]) for run in runs) == [
        *(("MS", 0), ("MS", 1), ("RE", 0), ("RE", 1))
    ]
    state = next(run for run in runs if run["row"].startswith("RE"))
    assert state["controls"]["bound"] == pytest.approx(1)  # one auxiliary qubit of one qubit
    assert state["controls"]["identity"] == pytest.approx(0.5)
    text = (tmp_path / "states_table.md").read_text()
    assert "| RE-QGDM | 1 qubit, pure | 1 |" in text
    assert "| MSQuDDPM | cluster, 1 qubit |" in text


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--rows", "nothing"), "no row has one of ['nothing'] in its name"),
        (("--seeds", "0"), "--seeds needs 1 or more, got 0"),
    ],
)
def test_bad_options_are_one_line(benchmark, monkeypatch, capsys, words, line):
    monkeypatch.setattr("sys.argv", ["states_table.py", "--quick", *words])
    with pytest.raises(SystemExit, match="2"):
        benchmark.main()
    assert line in capsys.readouterr().err
