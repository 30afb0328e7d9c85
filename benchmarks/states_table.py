"""Table of the models of quantum states, with their controls.

    python benchmarks/states_table.py [--rows TEXT ...] [--seeds N] [--out FOLDER] [--quick]

Every row is a configuration of `configs/states/` with changes (`ONE_STATE`, `ENSEMBLES`), trained
with several random seeds, of which each has its own target. The first table is of one fixed state:
the Uhlmann fidelity of the generated state to it, beside the controls that need no training. The
bound is that of models that follow the depolarising path: one that leaves it may be above. The
second table is of ensembles: a score of the paper, MMD^2 and the 1-Wasserstein distance to fresh
states of the ensemble, each beside that of real states. Every finished run is kept in
`states_table.json`; an interrupted benchmark takes up where it ended.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import yaml
from amplitude_table import with_interval
from quddpm_angles import TASKS
from rich.console import Console
from simulators import RESULTS, machine
from speed.report import ABSENT, Table, machine_lines
from speed.settings import Settings
from timed_training import QUIET, resumed

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.nn.parts import count
from hqdm.states.models.denoiser import StateDenoiser
from hqdm.states.runs.data import StateDataModule
from hqdm.states.runs.evaluation import evaluate
from hqdm.states.runs.sampling import sample_states
from hqdm.study.statistics import interval_of
from hqdm.utils.errors import HQDMError
from hqdm.utils.files import write_file

FILE = "states_table.json"
CONFIGS = Path(__file__).parents[1] / "configs" / "states"
SEEDS = 3
STATES = 1000  # generated states of an ensemble
LAYERS = {1: 6, 2: 8, 3: 12, 4: 16, 8: 12}  # of QGDM, by the number of qubits
BATCHES = {1: 600, 2: 1000, 3: 2000, 4: 3000, 8: 600}

Changes = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A model and its task.

    Attributes:
        model: Name in the table.
        task: The states in words.
        config: Name of a configuration.
        changes: Changes of it, with keys such as "data.n_qubits".
        score: A key of `quddpm_angles.TASKS` for an ensemble; None for one state.
        published: The published value of the score.
    """

    model: str
    task: str
    config: str
    changes: Changes = field(default_factory=dict)
    score: str | None = None
    published: str = ABSENT

    @property
    def key(self) -> str:
        """The row in one line."""
        return f"{self.model}; {self.task}"


def of_state(n: int, pure: bool, batches: int) -> Changes:
    """The changes for one random state of n qubits, with a learning rate that falls to zero."""
    data = {"data.ensemble": "random_pure", "data.as_density": True} if pure else {}
    decay = {"warmup": 0, "total": batches}
    return {
        **{**data, "data.n_qubits": n, "trainer.max_steps": batches},
        "model.lr_scheduler": {"class_path": "hqdm.training.WarmupCosine", "init_args": decay},
        "trainer.check_val_every_n_epoch": 1000,
    }


def qgdm(model: str, n: int, pure: bool, n_fresh: int, **changes: Any) -> Row:
    """QGDM or RE-QGDM of one state, trained on the generated state."""
    options = {"n_time": 1, "n_fresh": n_fresh, "n_layers": LAYERS[n]}
    given = {**of_state(n, pure, BATCHES[n]), "model.network.options": options, **changes}
    return Row(model, in_words(n, pure), "qgdm_2q", given)


def qgan(n: int, pure: bool) -> Row:
    """The control QGAN of one state, with as many auxiliary qubits and layers as QGDM."""
    options = {"n_time": 1, "n_fresh": max(n - 1, 0), "n_layers": LAYERS[n]}
    given = {**of_state(n, pure, 2 * BATCHES[n]), "model.network.options": options}
    return Row("QGAN", in_words(n, pure), "qgan_2q", given)


def in_words(n: int, pure: bool) -> str:
    """One state in words."""
    return f"{n} {'qubit' if n == 1 else 'qubits'}, {'pure' if pure else 'mixed'}"


def of_one_state() -> Iterator[Row]:
    """The rows of one state."""
    for n in range(1, 5):
        for pure in (True, False):
            yield qgdm("QGDM", n, pure, max(n - 1, 1))
            yield qgdm("RE-QGDM", n, pure, 0)
            yield qgan(n, pure)
    for n in (1, 2):
        yield qgdm("RE-QGDM, teacher forcing", n, True, 0, **{"model.predict": "teacher"})
    yield qgdm("RE-QGDM", 8, True, 0)
    yield qgdm("RE-QGDM, 2 auxiliary", 8, True, 1)


def shorter(steps: int, batches: int) -> Changes:
    """The changes for fewer batches of each step than published."""
    return {"model.predict_options.batches": batches, "trainer.max_steps": steps * batches}


ONE_STATE = tuple(of_one_state())
ENSEMBLES = (
    Row("QuDDPM", "cluster, 1 qubit", "quddpm_cluster_1q", {}, "cluster_1q", "0.989"),
    Row("QuDDPM", "cluster, 2 qubits", "quddpm_cluster_2q", {}, "cluster_2q", "0.951"),
    Row("QDT", "cluster, 2 qubits", "qdt_cluster_2q", {}, "cluster_2q", "0.499"),
    Row("QGAN", "cluster, 2 qubits", "qgan_cluster_2q", {}, "cluster_2q", "0.473"),
    Row("QuDDPM", "circle", "quddpm_circle", shorter(40, 500), "circle", "0.004"),
    Row("QuDDPM", "correlated noise", "quddpm_noise", shorter(20, 1001), "noise", "0.133"),
    Row("QuDDPM", "Ising, 4 qubits", "quddpm_ising", shorter(30, 1000), "ising", "0.852"),
    Row("MSQuDDPM", "cluster, 1 qubit", "msquddpm_cluster_1q", {}, "cluster_1q", "0.963 ± 0.020"),
)
ROWS = (*ONE_STATE, *ENSEMBLES)


def configuration(row: Row, seed: int, quick: bool) -> dict[str, Any]:
    """The configuration of `hqdm fit`."""
    config: dict[str, Any] = yaml.safe_load((CONFIGS / f"{row.config}.yaml").read_text())
    config["seed_everything"] = seed
    tiny = {"trainer.max_steps": 2} if quick else {}
    for key, value in {**row.changes, **tiny}.items():
        *path, last = key.split(".")
        part = config
        for name in path:
            part = part.setdefault(name, {})
        part[last] = value
    if row.score is None:
        config["data"].setdefault("options", {})["seed"] = seed  # of the target
    if row.changes.get("model.predict") is not None:
        config["model"].pop("predict_options", None)
    return config


def train(row: Row, seed: int, quick: bool) -> tuple[StateDenoiser, StateDataModule, float]:
    """Train a model; returns it with its data and the seconds of training."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "row.yaml"
        file.write_text(yaml.safe_dump(configuration(row, seed, quick)))
        cli = TrainingCLI(["--config", str(file), *QUIET, "--out", str(Path(scratch) / "run")])
        started = time.perf_counter()
        cli.run()
        seconds = time.perf_counter() - started
    model = cli.model.denoiser.eval()
    assert isinstance(model, StateDenoiser)
    assert isinstance(cli.datamodule, StateDataModule)
    return model, cli.datamodule, seconds


def measure(row: Row, seed: int, quick: bool) -> dict[str, Any]:
    """Train one model with one random seed, and score it."""
    model, data, seconds = train(row, seed, quick)
    n = 2 if row.score is None else 20 if quick else STATES
    report = evaluate(model, data, n, seed)
    run: dict[str, Any] = {
        **{"row": row.key, "seed": seed, "seconds": round(seconds, 1)},
        **{"angles": count(model.parameters()), "auxiliary": model.network.n_auxiliary},
        "batches": configuration(row, seed, quick)["trainer"]["max_steps"],
        **{name: report[name] for name in ("scores", "floor", "controls")},
    }
    if row.score is not None:
        score = TASKS[row.score].score
        run["score"] = float(score(sample_states(model, n, seed).states).mean())
        run["data_score"] = float(score(data.fresh(n, seed, 0)).mean())
    return run


def fidelity(values: Sequence[float]) -> str:
    """Mean and interval of fidelities."""
    mean, low, high = interval_of(values)
    return f"{mean:.4f} [{low:.4f}, {high:.4f}]" if low == low else f"{mean:.4f}"


def effort(runs: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The cells of angles, batches, seconds and random seeds."""
    seconds = fmean(run["seconds"] for run in runs)
    return (
        *(f"{runs[0]['angles']:,}", f"{runs[0]['batches']:,}"),
        *(f"{seconds:,.0f}", str(len(runs))),
    )


def one_state_cells(row: Row, runs: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The cells of one state."""

    def control(name: str) -> str:
        values = [run["controls"][name] for run in runs]
        return ABSENT if isinstance(values[0], str) else f"{fmean(values):.4f}"

    found = fidelity([run["scores"]["average_fidelity"] for run in runs])
    controls = (control(name) for name in ("bound", "petz", "identity"))
    return (row.model, row.task, str(runs[0]["auxiliary"]), *effort(runs), found, *controls)


def ensemble_cells(row: Row, runs: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The cells of an ensemble."""

    def mean(part: str, name: str) -> str:
        return f"{fmean(run[part][name] for run in runs):.2g}"

    assert row.score is not None
    score = with_interval([run["score"] for run in runs])
    return (
        *(row.model, row.task, *effort(runs), TASKS[row.score].label, score),
        *(f"{fmean(run['data_score'] for run in runs):.3g}", row.published),
        *(with_interval([run["scores"]["mmd"] for run in runs]), mean("floor", "mmd")),
        with_interval([run["scores"]["wasserstein"] for run in runs]),
        mean("floor", "wasserstein"),
    )


EFFORT = ("angles", "batches", "seconds", "seeds")
STATE_COLUMNS = (
    *("model", "state", "auxiliary", *EFFORT, "F of the generated state"),
    *("bound on the path", "Petz chain", "identity"),
)
ENSEMBLE_COLUMNS = (
    *("model", "ensemble", *EFFORT, "score", "generated", "data", "published"),
    *("MMD²", "MMD², real", "Wasserstein", "Wasserstein, real"),
)


def tables(results: dict[str, Any]) -> Iterator[Table]:
    """The two tables, of the rows that have runs."""
    for rows, cells, title, columns, notes in (
        (ONE_STATE, one_state_cells, "One fixed state", STATE_COLUMNS, STATE_NOTES),
        (ENSEMBLES, ensemble_cells, "Ensembles", ENSEMBLE_COLUMNS, ENSEMBLE_NOTES),
    ):
        body = [cells(row, runs) for row in rows if (runs := runs_of(results, row))]
        if body:
            lines = [*notes, *machine_lines(results["machines"])]
            yield Table(title, columns, body, n_text=2, notes=lines)


INTERVALS = "Means over random seeds with 95 % intervals by Student's t."
STATE_NOTES = (
    f"{INTERVALS} Each random seed has another target.",
    "Bound: the mean of the largest fidelity of a model that follows the depolarising path with "
    "these auxiliary qubits; one that leaves the path may be above. Identity: the model returns "
    "the prior, I / d, and |0...0> of QGAN. Angles of QGAN: with those of the discriminator.",
)
ENSEMBLE_NOTES = (
    f"{INTERVALS} {STATES:,} generated states and as many fresh ones of the data; MMD² unbiased.",
    "Published: the mean score of states from the published angles (`quddpm_angles.md`), with the "
    "random numbers of their training for Ising; of MSQuDDPM an independent reproduction. Of "
    "circle, correlated noise and Ising there are 500, 1,001 and 1,000 batches for each step here.",
)


def runs_of(results: dict[str, Any], row: Row) -> list[dict[str, Any]]:
    """The finished runs of a row."""
    return [run for run in results["runs"] if run["row"] == row.key]


def write(folder: Path, results: dict[str, Any]) -> None:
    """Write the runs so far and their tables."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / FILE, json.dumps(results, indent=1) + "\n")
    sections = [table.section() for table in tables(results)]
    text = "\n\n".join(["<!-- written by benchmarks/states_table.py -->", *sections])
    write_file((folder / FILE).with_suffix(".md"), f"{text}\n")


def main() -> None:
    """Train what is missing, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", help="only rows with one of these texts in their name")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"random seeds ({SEEDS})")
    parser.add_argument("--quick", action="store_true", help="two batches, few states, as a test")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results, none with --quick")
    options = parser.parse_args()
    shown = [row for row in ROWS if any(text in row.key for text in options.rows or [""])]
    if not shown:
        parser.error(f"no row has one of {options.rows} in its name")
    if options.seeds < 1:
        parser.error(f"--seeds needs 1 or more, got {options.seeds}")
    folder = options.out or (None if options.quick else RESULTS)
    file = folder / FILE if folder else None
    threads = torch.get_num_threads()
    results = resumed(file, {"quick": options.quick}, machine(Settings(options.quick, threads, ())))
    console = Console(log_path=False)
    for row in shown:
        done = {run["seed"] for run in runs_of(results, row)}
        for seed in sorted(set(range(options.seeds)) - done):
            console.log(f"{row.key}: random seed {seed}")
            try:
                results["runs"].append(measure(row, seed, options.quick))
            except HQDMError as error:
                parser.error(f"{row.key}: {error}")
            if folder:
                write(folder, results)
    for table in tables(results):
        table.print(console)


if __name__ == "__main__":
    main()
