"""The reproduction table: its rules, its data, and tiny runs that are taken up again."""

import json
import sys
from argparse import Namespace
from dataclasses import replace

import matplotlib.pyplot as plt
import pytest
import torch
from sklearn.datasets import load_digits

from hqdm.nn.baselines import matched
from hqdm.nn.network import build_network


@pytest.fixture
def table(load):
    script = load("amplitude_table")
    script.register_sources()
    return script


@pytest.fixture
def rows(table, load):
    return load("amplitude.rows")


@pytest.fixture
def search(table, load):
    return load("amplitude.search")


@pytest.fixture
def run(table, monkeypatch, tmp_path):
    """Runs the script on some rows; returns its results."""

    def main(*options):
        arguments = ["amplitude_table.py", "--quick", "--out", str(tmp_path), *options]
        monkeypatch.setattr(sys, "argv", arguments)
        table.main()
        return json.loads((tmp_path / "amplitude_table.json").read_text())

    return main


def test_convergence(table):
    """A loss that falls by less than 1 % from quarter to quarter has converged."""
    steps = range(100, 4001, 100)
    assert not table.converged([(step, 1 / step) for step in steps], 1000)
    assert table.converged([(step, 1 + 1 / step) for step in steps], 1000)
    assert table.converged([(step, step / 1e6) for step in steps], 1000)  # rises again
    assert not table.converged([(step, 1.0) for step in range(100, 901, 100)], 1000)
    # The means of the quarters (500, 750] and (750, 1000] are 1 and 0.99 - 1e-3 or 0.99 + 1e-3.
    for change, expected in ((-1e-3, False), (1e-3, True)):
        history = [(500, 5.0), (750, 1.0), (1000, 0.99 + change)]
        assert table.converged(history, 1000) == expected


def test_keys_are_unique_and_rates_are_as_many_for_all(table, rows):
    keys = [row.key for row in table.ROWS]
    assert len(keys) == len(set(keys))
    for row in table.ROWS:
        closed = row.network == rows.CONTROL
        assert len(set(row.rates)) == (1 if closed else len(rows.FACTORS))
    (dense,) = (row for row in table.ROWS if row.key == "Q-Dense 47; digits; guided, data")
    assert dense.rates == (0.000323, 0.00097, 0.00291, 0.0097)


def test_baselines_have_the_numbers_of_parameters_that_the_table_names(table, rows):
    names = (rows.DENSE, rows.DCN, rows.UNET)
    for row in (row for row in table.ROWS if row.network in names):
        source = table.SOURCES[row.data]
        classes = 2 if row.guided else None
        config = table.configuration(row, 0.1, 0)["model"]["network"]
        assert config["n_classes"] == classes
        shared = {"channels": 1, "size": source.size, "n_classes": classes}
        network = build_network({"name": row.network, **shared, **row.options})
        if "parameters" in row.options:
            assert f"{row.options['parameters']:,}" in row.model
            found = matched(row.network, row.options["parameters"], **shared)
            assert network.config == {key: found[key] for key in network.config}


def test_zeros_and_ones_of_the_digits(table):
    parts = table.images_of("digits")
    digits = load_digits(n_class=2)
    for name, rows in (("train", slice(80)), ("val", slice(80, 160)), ("test", slice(160, 360))):
        images, labels = parts[name]
        expected = torch.from_numpy(digits.images[rows] / 16 * 255).round()
        assert torch.equal(images[:, 0].double(), expected)
        assert labels.tolist() == digits.target[rows].tolist()
    # Against all 280 other images that of an independent code; pixels are rounded to 1/255 here.
    others = torch.cat([parts[name][0] for name in ("val", "test")])
    floor = table.pixel_scores(others, table.to_float(parts["train"][0]))["energy_distance"]
    assert floor == pytest.approx(0.186, abs=1e-3)


def test_classes_of_larger_sets(table, rows, monkeypatch):
    """The images of the chosen classes, in their order, with labels 0, 1, ..."""
    images = torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1).expand(-1, -1, 8, 8)
    labels = torch.arange(12) % 3
    monkeypatch.setattr(
        rows,
        "load_images",
        lambda name, split, **_: rows.ImageSet(images, labels, ("a", "b", "c"), name, split),
    )
    source = rows.Source("digits_of_a_test", 8, classes=(2, 0), train=3, val=2, test=4)
    monkeypatch.setitem(table.SOURCES, "small", source)
    parts = table.images_of("small")
    assert parts["train"][0][:, 0, 0, 0].tolist() == [0, 2, 3]
    assert parts["train"][1].tolist() == [1, 0, 1]
    assert parts["val"][0][:, 0, 0, 0].tolist() == [5, 6]
    assert parts["test"][1].tolist() == [1, 0, 1, 0]


def dense_row(table):
    """The row of a baseline."""
    (row,) = (row for row in table.ROWS if row.key == "Dense like 987; digits; guided, data")
    return row


def result(row, rate, seed, validation, energy):
    """A run of a row, with a score per number of steps."""
    return {
        **{"row": row.key, "rate": rate, "seed": seed, "validation": validation},
        **{"updates": 100, "converged": seed == 0, "parameters": 974, "quantum": 0},
        "test": {"energy_distance": energy, "pixel_fid": [10 * e for e in energy]},
        "restoration": {"ssim": 0.5, "psnr": 10.0},
    }


def test_rates_and_steps_are_chosen_by_validation(table, search):
    """And the row is shown when all rates were tried, without the seed of the search."""
    row = dense_row(table)
    settings = {"taus": [1, 10], "trials": 2, "updates": 100}
    (first, second), held_out = row.rates[:2], search.SEARCH_SEED
    runs = [result(row, first, held_out, [0.9, 0.4], [1.0, 2.0])]
    results = {"settings": settings, "runs": runs, "floors": {"digits": {"energy_distance": 0.1}}}
    results["machines"] = []
    assert search.final_runs(results, row) == []
    pending = search.pending(results, row, seeds=3)
    assert next(pending) == (second, held_out)
    runs.append(result(row, second, held_out, [0.3, 0.8], [9.0, 9.0]))
    assert next(pending) == (second, 0)
    runs.append(result(row, second, 0, [0.3, 0.8], [4.0, 1.0]))
    assert next(pending) == (second, 1)
    runs.append(result(row, second, 1, [0.5, 0.6], [6.0, 1.0]))
    assert list(pending) == [(second, 2)]
    final = search.final_runs(results, row)
    assert [(run["rate"], run["seed"]) for run in final] == [(second, 0), (second, 1)]
    assert search.best_tau(final) == 0
    rates = (0.001, second, 0.01)
    cells = dict(zip(table.COLUMNS, table.cells(row, final, [1, 10], rates), strict=True))
    assert cells["steps"] == "1"
    assert cells["energy distance"] == "5 [-7.71, 17.7]"  # 5 -+ 12.71 * sqrt(2) / sqrt(2)
    assert cells["at 10 steps"] == "1 [1, 1]"
    assert cells["updates"] == "100 (limit)"
    assert cells["learning rate"] == "0.0025"
    assert cells["FID"] == "-"
    assert cells["paper"] == "FID about 120"
    edge = [result(row, second, seed, [0.5], [1.0 + seed]) for seed in range(5)]
    cells = dict(zip(table.COLUMNS, table.cells(row, edge, [1], rates[:2]), strict=True))
    assert cells["learning rate"] == "0.0025 (edge)"
    # 3 -+ 2.7764 sqrt(2.5 / 5)
    assert cells["energy distance"] == "3 [1.04, 4.96]"


@pytest.mark.parametrize(
    ("scores", "last"),
    [
        ([0.1, 0.2, 0.3, 0.4], 0.000278),  # 0.000833 / 3
        ([0.4, 0.3, 0.2, 0.1], 0.075),  # 0.025 * 3
        ([0.4, 0.1, 0.3, 0.5], 0.00433),  # sqrt(0.0025 * 0.0075)
        ([0.3, 0.1, 0.4, 0.5], 0.00144),  # sqrt(0.000833 * 0.0025)
        ([None, 0.1, 0.4, 0.5], 0.00433),  # the run of the least rate diverged
    ],
)
def test_the_search_goes_on_beside_the_best_rate(table, search, scores, last):
    """As many rates for every row, the last where the others point to."""
    row = dense_row(table)
    runs = []
    results = {"settings": {"trials": 5}, "runs": runs}
    for rate, score in zip(row.rates, scores, strict=True):
        assert search.next_rate(results, row) == rate
        run = {"row": row.key, "rate": rate, "seed": search.SEARCH_SEED}
        runs.append(run | ({"failure": "x"} if score is None else {"validation": [9.0, score]}))
    assert search.next_rate(results, row) == last
    assert search.final_runs(results, row) == []
    runs.append(result(row, last, search.SEARCH_SEED, [0.05], [1.0]))
    assert search.next_rate(results, row) is None
    assert next(search.pending(results, row, seeds=2)) == (last, 0)
    assert list(search.tried_rates(results, row)) == sorted([*row.rates, last])


def test_a_closed_form_has_one_run_of_each_seed(table, rows, search):
    (row,) = (row for row in table.ROWS if row.network == rows.CONTROL and row.data == "digits")
    results = {"settings": {"trials": 5}, "runs": []}
    pending = search.pending(results, row, seeds=2)
    assert next(pending) == (1.0, search.SEARCH_SEED)
    results["runs"].append(result(row, 1.0, search.SEARCH_SEED, [0.5], [1.0]))
    assert list(pending) == [(1.0, 0), (1.0, 1)]


def test_batches_are_those_of_the_paper_on_the_digits_and_equal_elsewhere(table, rows):
    for row in table.ROWS:
        if row.data != "digits":
            assert row.batch == 4
        elif row.target != "x0":
            assert row.batch == (10 if row.network == rows.QU else 20)


def test_runs_that_diverge_are_left_out(table, search, monkeypatch, tmp_path):
    """They count as tried; a row of them alone is not shown."""
    row = dense_row(table)
    held_out = search.SEARCH_SEED

    def diverge(*_):
        raise table.Diverged("the loss is nan at step 3")

    with monkeypatch.context() as patch:
        patch.setattr(table, "train", diverge)
        runs = [table.measure(row, rate, held_out, Namespace(updates=10)) for rate in row.rates[:2]]
    assert runs[0]["failure"] == "the loss is nan at step 3"
    settings = {"taus": [1, 10], "trials": 2, "updates": 100}
    results = {"settings": settings, "runs": runs, "machines": []}
    assert search.chosen_rate(results, row) is None
    assert search.final_runs(results, row) == []
    assert list(search.pending(results, row, seeds=2)) == []
    runs[1] = result(row, row.rates[1], held_out, [0.3, 0.8], [4.0, 1.0])
    runs.append(result(row, row.rates[1], 0, [0.3, 0.8], [4.0, 1.0]))
    assert search.final_runs(results, row) == runs[2:]
    monkeypatch.setattr(table, "machine_lines", lambda machines: [])
    assert f"Diverged: {row.key} at 0.000833 with random seed {held_out}." in table.notes(
        results, [row]
    )


def test_the_plot_orders_the_models_of_a_task(table, rows, search, load, tmp_path):
    """By the mean score after the number of steps of the validation, the best first."""
    plots = load("amplitude.plots")
    names = ("Dense like 987", "Q-Dense 47", "Q-Dense 47, frozen")
    own = [row for row in rows.ROWS if row.key in {f"{n}; digits; guided, data" for n in names}]
    assert [plots.kind_of(row) for row in own] == ["circuits", "control", "classical"]
    (unitary,) = (row for row in rows.ROWS if row.key == "best unitary; digits; unguided, data")
    assert plots.kind_of(unitary) == "control"
    energies = {"Dense like 987": 3.0, "Q-Dense 47": 1.0, "Q-Dense 47, frozen": 2.0}
    runs = [
        result(row, row.rates[0], seed, [0.5, 0.3], [0.1, energies[row.model] + seed / 10])
        for row in own
        for seed in (search.SEARCH_SEED, 0, 1)
    ]
    floors = {"digits": {"energy_distance": 0.2}}
    results = {"settings": {"trials": 1, "taus": [1, 10]}, "runs": runs, "floors": floors}
    ((task, found),) = plots.tasks_of(results, "digits")
    assert task == "guided, data"
    assert [row.model for row, _ in found] == ["Q-Dense 47", "Q-Dense 47, frozen", "Dense like 987"]
    assert plots.scores_of(found[0][1]) == [1.0, 1.1]
    plots.plot(results, "digits", tmp_path / "plot.png")
    assert plt.imread(tmp_path / "plot.png").std() > 0.05


@pytest.mark.slow
def test_training_that_diverges_is_noticed(table):
    (row,) = (row for row in table.ROWS if row.key == "U-Net (3, 6); digits; guided, data")
    with pytest.raises(table.Diverged):
        table.train(row, 1e30, 0, 10)


@pytest.mark.slow
def test_a_quick_table_is_taken_up(run, table, tmp_path):
    before = run("--rows", "Dense like 987; digits; guided, data")["runs"]
    assert [(one["rate"], one["seed"]) for one in before[:2]] == [(0.000833, 1000), (0.0025, 1000)]
    assert [one["seed"] for one in before[2:]] == [0, 1]
    after = run("--rows", "Dense like 987; digits; guided, data", "DCN like 987")
    assert after["runs"][:4] == before
    tasks = ["Dense like 987; digits; guided, data", "DCN like 987; digits; guided, data"]
    tasks.append("DCN like 987; digits; guided, x0 of the Gaussian process")
    assert list(dict.fromkeys(one["row"] for one in after["runs"])) == tasks
    for one in after["runs"]:
        assert one["updates"] == 2
        assert all(len(values) == 3 for values in one["test"].values())
        assert set(one["test"]) == {"energy_distance", "pixel_fid", "fid"}
    text = (tmp_path / "amplitude_table.md").read_text()
    assert "| DCN like 987 | guided, data | 1,001 |" in text
    assert "| real images |" in text
    assert (tmp_path / "amplitude_table_digits.png").stat().st_size > 1000
    with pytest.raises(SystemExit, match="other settings"):
        run("--seeds", "4")


@pytest.mark.slow
def test_steps_of_a_path_are_those_of_separate_runs(table):
    """Samples of few steps are the first ones of many, also restored images start halfway."""
    row = dense_row(table)
    denoiser, _ = table.train(row, 0.01, 0, 20)
    path = list(table.samples_of(row, denoiser, 4, 0, [1, 3, 7]))
    again = [next(table.samples_of(row, denoiser, 4, 0, [tau])) for tau in (1, 3, 7)]
    assert all(torch.equal(a, b) for a, b in zip(path, again, strict=True))
    images = replace(row, sampler="iterate")
    assert table.restoration(images, denoiser, 20, 0)["psnr"] > 0
