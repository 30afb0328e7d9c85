"""Reproduction table of the amplitude-embedded denoisers and their classical baselines.

    python benchmarks/amplitude_table.py [--rows TEXT ...] [--data NAME ...] [--updates N]
                                         [--out FOLDER] [--quick]

One row per model, data set and task (`amplitude/rows.py`). For both sides, circuits and baselines,
as many learning rates are tried with a random seed of their own (`amplitude/search.py`): the same
multiples of that of the paper, then one more, beyond the best if it is the least or largest, else
between it and the better of its neighbours. The best, that of the least energy distance of samples
to the validation images at the best number of steps, trains all other seeds. The averaged weights
(`EMA`) are validated and sampled: with a constant learning rate those of the last update alone
change from one update to the next. A run ends when the mean validation loss of its last quarter of
updates is not below that of the quarter before by more than `IMPROVEMENT`, or after the updates of
`SOURCES`. Samples of 1 to 20 steps are scored against test images; the number of steps in the table
is the best one on the validation images. Every finished run is kept in `amplitude_table.json`; an
interrupted benchmark takes up where it ended. The paper's values, where it gives any, stand beside
ours; they are FIDs of Inception features and not comparable with any score here.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import yaml
from amplitude.plots import plot
from amplitude.rows import (
    CONTROL,
    EMA,
    ROWS,
    SOURCES,
    TAU,
    Row,
    configuration,
    images_of,
    register_sources,
)
from amplitude.search import TRIALS, best_tau, final_runs, pending, tried_rates
from lightning import Callback, LightningModule, Trainer
from rich.console import Console
from simulators import RESULTS, machine
from speed.report import Table, machine_lines
from speed.settings import Settings
from timed_training import averaged, resumed
from torch import Tensor

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.diffusion.denoiser import Denoiser, class_labels
from hqdm.generation.sampling import guided
from hqdm.metrics import CLASSIFIERS, load_extractor, pair_scores, pixel_scores
from hqdm.metrics.distribution import extract, frechet_distance
from hqdm.nn.parts import count, quantum_parameters
from hqdm.samplers.registry import build_sampler
from hqdm.study.statistics import interval_of
from hqdm.training.finite import Diverged
from hqdm.training.optim import VAL_LOSS
from hqdm.utils.errors import first_line
from hqdm.utils.files import write_file
from hqdm.utils.pixels import to_float
from hqdm.utils.seeds import ImageNoise

TAUS = tuple(range(1, 21))  # steps at sampling
IMPROVEMENT = 0.01
VALIDATE_EVERY = 100  # updates
RESTORE_T = 0.5
QUIET = (
    *("--trainer.logger", "false", "--trainer.enable_progress_bar", "false"),
    *("--trainer.max_epochs", "-1", "--sample-every", "0", "--checkpoint-every", str(10**9)),
    "--overwrite",
)


class UntilConverged(Callback):
    """Ends training by `converged`.

    Args:
        least: The smallest number of updates.

    Attributes:
        history: Updates and validation loss.
        reached: Whether the rule ended the training.
    """

    def __init__(self, least: int) -> None:
        self.least = least
        self.history: list[tuple[int, float]] = []
        self.reached = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the loss of the validation."""
        if trainer.sanity_checking:
            return
        self.history.append((trainer.global_step, float(trainer.callback_metrics[VAL_LOSS])))
        self.reached = converged(self.history, self.least)
        trainer.should_stop = trainer.should_stop or self.reached


def converged(history: Sequence[tuple[int, float]], least: int) -> bool:
    """True if the mean loss of the last quarter is not below that before by `IMPROVEMENT`."""
    end = history[-1][0]
    if end < least:
        return False
    last = [loss for step, loss in history if step > 0.75 * end]
    before = [loss for step, loss in history if 0.5 * end < step <= 0.75 * end]
    return bool(before) and fmean(last) > (1 - IMPROVEMENT) * fmean(before)


def train(row: Row, rate: float, seed: int, updates: int) -> tuple[Denoiser, dict[str, Any]]:
    """Train a model until it has converged.

    Returns:
        The model, and the updates and seconds of the run.

    Raises:
        Diverged: If the loss is not finite.
    """
    config = configuration(row, rate, seed)
    config["trainer"] = {
        "max_steps": updates,
        "check_val_every_n_epoch": max(1, VALIDATE_EVERY * row.batch // SOURCES[row.data].train),
    }
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "row.yaml"
        file.write_text(yaml.safe_dump(config))
        cli = TrainingCLI(["--config", str(file), *QUIET, "--out", str(Path(scratch) / "run")])
        if row.network == CONTROL:
            return closed_form(cli), {"updates": 0, "seconds": 0.0, "converged": True}
        until = UntilConverged(SOURCES[row.data].least)
        cli.trainer.callbacks.insert(0, until)
        started = time.perf_counter()
        cli.run()
        seconds = time.perf_counter() - started
        steps = cli.trainer.global_step
    effort = {"updates": steps, "seconds": round(seconds, 1), "converged": until.reached}
    return averaged(cli.model), effort


def closed_form(cli: TrainingCLI) -> Denoiser:
    """The control of the configuration, from the training images."""
    from hqdm.evaluation.unitary_bound import best_unitary

    cli.datamodule.setup()
    denoiser: Denoiser = cli.model.denoiser
    x0 = to_float(cli.datamodule.train_set.images)
    network, _ = best_unitary(denoiser.objective, denoiser.schedule, x0, cli.model.seed)
    return Denoiser(network, denoiser.schedule, denoiser.objective).eval()


@torch.no_grad()
def samples_of(
    row: Row, denoiser: Denoiser, n: int, seed: int, taus: Sequence[int]
) -> Iterator[Tensor]:
    """Samples of each number of steps, `(n, C, H, W)`, from the same noise."""
    y = class_labels(denoiser, n)
    x1 = denoiser.prior(ImageNoise(seed, n))
    wrapped = guided(denoiser, 1.0)
    if row.sampler == "iterate":  # the first steps of many are few steps
        sampler = build_sampler(row.sampler, max(taus))
        path = sampler.run(wrapped, x1, y, return_trajectory=True).trajectory
        yield from (path[tau] for tau in taus)
        return
    for tau in taus:
        yield build_sampler(row.sampler, tau)(wrapped, x1, y, noise=ImageNoise(seed, n))


@cache
def features_of(key: str) -> tuple[Any, Tensor] | None:
    """The extractor of a data set and the features of its test images; None if there is none."""
    name = SOURCES[key].name
    if name not in CLASSIFIERS:
        return None
    extractor = load_extractor(name)
    return extractor, extract(images_of(key)["test"][0], extractor)[0]


def scores(row: Row, images: Tensor) -> dict[str, float]:
    """Scores of samples against the test images."""
    found = pixel_scores(images_of(row.data)["test"][0], images)
    if known := features_of(row.data):
        extractor, reference = known
        found["fid"] = frechet_distance(reference, extract(images, extractor)[0])
    return found


@torch.no_grad()
def restoration(row: Row, denoiser: Denoiser, n: int, seed: int) -> dict[str, float]:
    """SSIM and PSNR of test images that were noised to `RESTORE_T` and restored."""
    test, labels = (part[:n] for part in images_of(row.data)["test"])
    x0 = to_float(test)
    alpha, sigma = denoiser.schedule(torch.tensor(RESTORE_T, dtype=torch.float64))
    x_t = (alpha * x0 + sigma * ImageNoise(seed, len(x0)).draw_like(x0)).float()
    # uss takes the share of its steps that the times have
    sampler = build_sampler(row.sampler, TAU if row.sampler == "uss" else round(RESTORE_T * TAU))
    y = labels if denoiser.n_classes is not None else None
    noise = ImageNoise(seed + 1, len(x0))
    restored = sampler(guided(denoiser, 1.0), x_t, y, t_start=RESTORE_T, noise=noise)
    return pair_scores(x0, restored)


def measure(row: Row, rate: float, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train one model with one learning rate and random seed, and score it."""
    run: dict[str, Any] = {"row": row.key, "rate": rate, "seed": seed}
    try:
        updates = options.updates or SOURCES[row.data].updates
        denoiser, effort = train(row, rate, seed, updates)
    except Diverged as error:
        return {**run, "failure": first_line(error)}
    n = min(options.n or SOURCES[row.data].test, SOURCES[row.data].test)
    validation = images_of(row.data)["val"][0]
    drawn = list(samples_of(row, denoiser, n, seed, options.taus))
    test = [scores(row, images) for images in drawn]
    return {
        **{**run, **effort},
        "parameters": count(denoiser.parameters()),
        "quantum": count(quantum_parameters(denoiser)),
        "validation": [pixel_scores(validation, images)["energy_distance"] for images in drawn],
        "test": {key: [one[key] for one in test] for key in test[0]},
        "restoration": restoration(row, denoiser, n, seed),
    }


COLUMNS = (
    *("model", "task", "parameters", "learning rate", "updates", "seeds", "steps"),
    *("energy distance", "at 10 steps", "pixel FID", "FID", "SSIM", "PSNR", "paper"),
)


def cells(
    row: Row, runs: Sequence[dict[str, Any]], taus: Sequence[int], rates: Sequence[float]
) -> list[str]:
    """The cells of a row, of which these learning rates were tried, in order."""
    place = best_tau(runs)
    at_ten = taus.index(TAU) if TAU in taus else None

    def score(key: str, at: int | None = place) -> str:
        if at is None or key not in runs[0]["test"]:
            return "-"
        return with_interval([run["test"][key][at] for run in runs])

    rate = "-" if row.network == CONTROL else f"{runs[0]['rate']:.3g}"
    if row.network != CONTROL and runs[0]["rate"] in (rates[0], rates[-1]):
        rate += " (edge)"
    mark = "" if all(run["converged"] for run in runs) else " (limit)"
    return [
        *(row.model, row.task, f"{runs[0]['parameters']:,}", rate),
        f"{fmean(run['updates'] for run in runs):,.0f}{mark}",
        *(str(len(runs)), str(taus[place])),
        *(score("energy_distance"), score("energy_distance", at_ten)),
        *(score("pixel_fid"), score("fid")),
        *(with_interval([run["restoration"][key] for run in runs]) for key in ("ssim", "psnr")),
        row.paper or "-",
    ]


def real_cells(floor: dict[str, float]) -> list[str]:
    """The cells of the training images in place of samples."""
    shown = {"energy distance": "energy_distance", "pixel FID": "pixel_fid", "FID": "fid"}
    numbers = {name: f"{floor[key]:.3g}" for name, key in shown.items() if key in floor}
    return ["real images", *(numbers.get(name, "-") for name in COLUMNS[1:])]


def with_interval(values: Sequence[float]) -> str:
    """Mean and interval."""
    mean, low, high = interval_of(values)
    return f"{mean:.3g} [{low:.3g}, {high:.3g}]" if low == low else f"{mean:.3g}"


def tables(results: dict[str, Any]) -> list[Table]:
    """One table per data set."""
    settings, found = results["settings"], []
    for key, source in SOURCES.items():
        own = [
            (row, runs) for row in ROWS if row.data == key and (runs := final_runs(results, row))
        ]
        if not own:
            continue
        body = [
            cells(row, runs, settings["taus"], list(tried_rates(results, row))) for row, runs in own
        ]
        body.append(real_cells(results["floors"][key]))
        found.append(
            Table(
                f"{key}, {source.size}x{source.size}: {source.train} training, {source.val} "
                f"validation, {source.test} test images",
                COLUMNS,
                body,
                n_text=2,
                notes=notes(results, [row for row, _ in own]),
            )
        )
    return found


def notes(results: dict[str, Any], shown: Sequence[Row]) -> list[str]:
    """The conditions of a table."""
    settings = results["settings"]
    limit = settings["updates"] or SOURCES[shown[0].data].updates
    tried = (
        f"{row.model} ({row.task}) {', '.join(map(str, tried_rates(results, row)))}"
        for row in shown
        if row.network != CONTROL
    )
    failed = [
        f"{run['row']} at {run['rate']} with random seed {run['seed']}"
        for run in results["runs"]
        if "failure" in run and run["row"] in {row.key for row in shown}
    ]
    return [
        "Energy distance (V-statistic) and pixel FID to the test images, in pixels in [0, 1]; FID "
        "in the features of the classifier of the package; SSIM and PSNR of test images noised to "
        f"t = {RESTORE_T} and restored. Means over random seeds with 95 % intervals by Student's "
        "t: the bootstrap of so few seeds is too narrow (percentiles) or reaches beyond possible "
        "values (studentised). "
        "Steps: the best number on the validation images. Real images: those of training.",
        f"Weights averaged by a power function, sigma_rel {EMA['sigma_rel']}; the paper has those "
        "of the last update.",
        "Paper: FID of Inception features, not comparable with the scores here.",
        f"Learning rates tried, each with {limit:,} updates at most "
        f"(limit: not converged before; edge: the least or largest of them is the best): "
        f"{'; '.join(tried)}.",
        *[f"Diverged: {'; '.join(failed)}."] * bool(failed),
        *machine_lines(results["machines"]),
    ]


def floor_of(key: str) -> dict[str, float]:
    """The scores of the training images in place of samples."""
    return scores(Row("real images", "", data=key), to_float(images_of(key)["train"][0]))


def write(folder: Path, results: dict[str, Any]) -> None:
    """Write the runs so far, their tables, and a plot per data set."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "amplitude_table.json", json.dumps(results, indent=1) + "\n")
    sections = [table.section() for table in tables(results)]
    text = "\n\n".join(["<!-- written by benchmarks/amplitude_table.py -->", *sections])
    write_file(folder / "amplitude_table.md", f"{text}\n")
    for key in SOURCES:
        if any(final_runs(results, row) for row in ROWS if row.data == key):
            plot(results, key, folder / f"amplitude_table_{key}.png")


def main() -> None:
    """Train what is missing, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", help="only rows with one of these texts in their name")
    parser.add_argument("--data", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument(
        "--updates", type=int, help="largest number (10000 on the digits, 2000 elsewhere)"
    )
    parser.add_argument("--seeds", type=int, help="random seeds (5 on the digits, 3 elsewhere)")
    parser.add_argument("--quick", action="store_true", help="two updates, few images, as a test")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results, none with --quick")
    options = parser.parse_args()
    options.taus, options.n, trials = list(TAUS), None, TRIALS
    if options.quick:
        options.taus, options.n, options.updates, trials = [1, 2, TAU], 8, 2, 2
        options.seeds = options.seeds or 2
    register_sources()
    console = Console(log_path=False)
    folder = options.out or (None if options.quick else RESULTS)
    file = folder / "amplitude_table.json" if folder else None
    results = resumed(
        file,
        {
            **{"updates": options.updates, "seeds": options.seeds, "taus": options.taus},
            **{"n": options.n, "trials": trials, "ema": EMA},
        },
        machine(Settings(options.quick, torch.get_num_threads(), ())),
    )
    shown = [
        row
        for row in ROWS
        if row.data in options.data and any(text in row.key for text in options.rows or [""])
    ]
    present = {row.data for row in shown} | {
        row.data for row in ROWS if any(run["row"] == row.key for run in results["runs"])
    }
    results["floors"] = {key: floor_of(key) for key in SOURCES if key in present}
    for row in shown:
        for rate, seed in pending(results, row, options.seeds or SOURCES[row.data].seeds):
            console.log(f"{row.key}: learning rate {rate:g}, seed {seed}")
            results["runs"].append(measure(row, rate, seed, options))
            if folder:
                write(folder, results)
    for table in tables(results):
        table.print(console)


if __name__ == "__main__":
    main()
