"""The published angles of QuDDPM: files of their layout against products of matrices in numpy."""

import dataclasses
import sys
from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
import torch

from hqdm import HQDMError
from hqdm.states.density import haar_kets
from hqdm.utils.seeds import generator

N_STATES = 30


@pytest.fixture
def script(load, monkeypatch):
    """The script, whose task `noise` has 3 steps of 2 layers and the file `a.npy`."""
    module = load("quddpm_angles")
    changes = {"angles": "a.npy", "states": "s.npy", "sizes": (2, 3, 2, 2)}
    for name in ("noise", "ising"):
        same = {"same_numbers": name == "ising"}
        task = dataclasses.replace(module.TASKS["noise"], **changes, **same)
        monkeypatch.setitem(module.TASKS, name, task)
    return module


@pytest.fixture
def folder(tmp_path):
    """A checkout with angles `(T, 2 (n + m) L)` and states `(T + 1, N, d)`."""
    (tmp_path / "data").mkdir()
    random = np.random.default_rng(3)
    np.save(tmp_path / "data" / "a.npy", random.normal(size=(3, 16)).astype(np.float32))
    states = haar_kets(4 * N_STATES, 2, generator(8)).reshape(4, N_STATES, 4)
    np.save(tmp_path / "data" / "s.npy", states.numpy().astype(np.complex64))
    return tmp_path


def rotation(pauli, angle):
    return np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * np.array(pauli)


def matrix(row, n=4, layers=2):
    """The unitary of one row: for each layer all RX, all RY, CZ on (0, 1), (2, 3), then (1, 2)."""
    signs = np.ones(2**n)
    for i in range(2**n):
        bits = [int(bit) for bit in format(i, f"0{n}b")]
        signs[i] = (-1) ** sum(a * b for a, b in pairwise(bits))
    whole = np.eye(2**n)
    for x, y in np.asarray(row, np.float64).reshape(layers, 2, n):
        for pauli, angles in (([[0, 1], [1, 0]], x), ([[0, -1j], [1j, 0]], y)):
            whole = reduce(np.kron, [rotation(pauli, angle) for angle in angles]) @ whole
        whole = signs[:, None] * whole
    return whole


def simulated(folder, kets, choose):
    """The kets at step 0; `choose(t, weights)` is the outcome of each ket."""
    angles = np.load(folder / "data" / "a.npy")
    for t in (3, 2, 1):
        started = np.concatenate([kets, np.zeros((len(kets), 12))], axis=1)  # ancillas in |00>
        branches = (started @ matrix(angles[t - 1]).T).reshape(-1, 4, 4)
        chosen = choose(t, (abs(branches) ** 2).sum(-1))
        kets = branches[np.arange(len(kets)), chosen]
        kets = kets / np.linalg.norm(kets, axis=1, keepdims=True)
    return kets


def test_new_numbers_in_every_measurement(script, folder):
    kets, again = haar_kets(N_STATES, 2, generator(1)), generator(5)

    def choose(t, weights):
        u = torch.rand(N_STATES, generator=again, dtype=torch.float64).numpy()[:, None]
        return (u >= weights.cumsum(1)[:, :-1]).sum(1)

    model = script.model_of(script.TASKS["noise"], folder)
    found = script.generated(model, kets, generator(5))
    np.testing.assert_allclose(found, simulated(folder, kets.numpy(), choose), atol=1e-10)


def test_same_numbers_in_every_measurement(script, folder):
    kets, numbers = haar_kets(N_STATES, 2, generator(1)), script.gumbel((N_STATES, 4), generator(2))
    model = script.model_of(script.TASKS["noise"], folder)
    found = script.generated_with_same_numbers(model, kets, numbers)

    def choose(t, weights):
        return (np.log(weights) + numbers.numpy()).argmax(1)

    np.testing.assert_allclose(found, simulated(folder, kets.numpy(), choose), atol=1e-10)


def test_the_largest_sum_with_gumbel_numbers_has_the_probability_of_an_outcome(script):
    p = torch.tensor([0.1, 0.2, 0.7]).double()
    chosen = (p.log() + script.gumbel((40_000, 3), generator(0))).argmax(1)
    found = chosen.bincount(minlength=3) / 40_000
    # standard errors of at most sqrt(1 / 4 / 40,000) = 0.0025
    torch.testing.assert_close(found.double(), p, atol=5 * 0.0025, rtol=0)


def test_the_table(script, folder, monkeypatch, tmp_path):
    file = tmp_path / "table.md"
    command = ["quddpm_angles.py", str(folder), "--task=ising", "--n=20", "--write", str(file)]
    monkeypatch.setattr(sys, "argv", command)
    script.main()
    rows = [line.split("|") for line in file.read_text().splitlines() if line.startswith("| ising")]
    assert [row[1].strip() for row in rows] == ["ising", "ising, same numbers"]
    stored = np.load(folder / "data" / "s.npy")[0]
    assert float(rows[0][4].split("±")[0]) == pytest.approx(
        (abs(stored[:, 2]) ** 2).mean(), abs=1e-4
    )


def test_files_that_cannot_be_used_are_refused(script, folder):
    task = script.TASKS["noise"]
    np.save(folder / "data" / "a.npy", np.zeros((2, 16)))
    with pytest.raises(HQDMError, match="2 steps: expected 3"):
        script.model_of(task, folder)
    np.save(folder / "data" / "a.npy", np.zeros((3, 5)))
    with pytest.raises(HQDMError, match="expected 16 numbers per step"):
        script.model_of(task, folder)
    for words in (np.array(["a"]), np.full((3, 16), np.nan)):
        np.save(folder / "data" / "a.npy", words)
        with pytest.raises(HQDMError, match="expected finite floating-point numbers"):
            script.model_of(task, folder)
    np.save(folder / "data" / "s.npy", 2 * np.eye(4)[None])
    with pytest.raises(HQDMError, match=r"s.npy: kets need norm 1"):
        script.published(task, folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["none"], "name a checkout of QuantGenMdl"),
        (["", "--n=1"], "--n needs a whole number from 2, got 1"),
        (["", "--seed=-1"], "--seed needs a whole number from 0, got -1"),
    ],
)
def test_options_that_cannot_be_used_end_with_one_line(
    script, folder, monkeypatch, capsys, options, message
):
    path, *others = options
    command = ["quddpm_angles.py", str(folder / path), "--task=noise", *others]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stop:
        script.main()
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
