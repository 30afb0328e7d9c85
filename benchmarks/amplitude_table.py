"""Reproduction table of the amplitude-embedded denoisers and their classical baselines.

    python benchmarks/amplitude_table.py [--rows TEXT ...] [--data NAME ...] [--updates N]
                                         [--out FOLDER] [--quick]

One row per model, data set and task (`ROWS`). For both sides, circuits and baselines, the same
multiples (`FACTORS`) of the learning rate of the paper are tried with random seed `SEARCH_SEED`;
the one of the least energy distance of samples to the validation images, at the best number of
steps, trains all other seeds. The averaged weights (`EMA`) are validated and sampled: with a
constant learning rate those of the last update alone change from one update to the next. A run ends
when the mean validation loss of its last quarter of updates is not below that of the quarter before
by more than `IMPROVEMENT`, or after the updates of `SOURCES`. Samples of 1 to 20 steps are scored
against test images; the number of steps in the table is the best one on the validation images.
Every finished run is kept in `amplitude_table.json`; an interrupted benchmark takes up where it
ended. The paper's values, where it gives any, stand beside ours; they are FIDs of Inception
features and not comparable with any score here.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib.pyplot as plt
import torch
import yaml
from lightning import Callback, LightningModule, Trainer
from rich.console import Console
from simulators import RESULTS, machine
from speed.report import Table, machine_lines
from speed.settings import Settings
from timed_training import averaged, resumed
from torch import Tensor

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.data.images import ImageSet, load_images, register_data
from hqdm.diffusion.denoiser import Denoiser, class_labels
from hqdm.generation.sampling import guided
from hqdm.metrics import CLASSIFIERS, load_extractor, pair_scores, pixel_scores
from hqdm.metrics.distribution import extract, frechet_distance
from hqdm.nn.parts import count, quantum_parameters
from hqdm.samplers.registry import build_sampler
from hqdm.study.statistics import LEAST_PAIRS, interval_of
from hqdm.training.finite import Diverged
from hqdm.training.optim import VAL_LOSS
from hqdm.utils.errors import first_line
from hqdm.utils.files import write_file
from hqdm.utils.pixels import to_float, to_uint8
from hqdm.utils.seeds import ImageNoise

TAU = 10  # steps in training
TAUS = tuple(range(1, 21))  # steps at sampling
FACTORS = (1 / 3, 1.0, 3.0, 10.0)
SEARCH_SEED = 1000  # of which no score is shown
IMPROVEMENT = 0.01
EMA = {"sigma_rel": 0.1, "every": 1, "start": 0}
VALIDATE_EVERY = 100  # updates
RESTORE_T = 0.5
UNKNOWN_RATE = 0.003  # where the paper gives no learning rate
QUIET = (
    *("--trainer.logger", "false", "--trainer.enable_progress_bar", "false"),
    *("--trainer.max_epochs", "-1", "--sample-every", "0", "--checkpoint-every", str(10**9)),
    "--overwrite",
)


@dataclass(frozen=True)
class Source:
    """Images of a data set.

    Attributes:
        name: Name of the data set in hqdm.
        size: Height and width.
        classes: The classes that are taken; None takes all.
        train: Number of training images, the first ones.
        val: Number of validation images, those after them.
        test: Number of test images, and of samples.
        seeds: Number of random seeds.
        least: Smallest number of updates.
        updates: Largest number of updates; those of larger images take up to 0.5 s.
    """

    name: str
    size: int
    classes: tuple[int, ...] | None = (0, 1)
    train: int = 80
    val: int = 100
    test: int = 1000
    seeds: int = 3
    least: int = 1000
    updates: int = 2000


SOURCES = {
    # Zeros and ones of scikit-learn in its order: the first 80 are those of the paper's training.
    "digits": Source("digits", 8, val=80, test=200, seeds=5, least=3000, updates=10_000),
    "mnist": Source("mnist", 28),
    "fashion": Source("fashion_mnist", 28),  # T-shirts and trousers
    "cifar10": Source("cifar10", 32, classes=None),  # in grey
}


@dataclass(frozen=True)
class Row:
    """A model and its task.

    Attributes:
        model: Name in the table.
        network: Registered name of the network.
        options: Its options.
        rate: The paper's learning rate, or `UNKNOWN_RATE`.
        paper: The paper's scores.
        batch: Images per batch, each with all pairs of steps.
        sampler: Name of the sampler.
        data: Key of `SOURCES`.
        guided: Whether the network takes labels.
        target: "data" or "noise" of the mixing process, or "x0" of the Gaussian process.
    """

    model: str
    network: str
    options: dict[str, Any] = field(default_factory=dict)
    rate: float = UNKNOWN_RATE
    paper: str = ""
    batch: int = 20
    sampler: str = "iterate"
    data: str = "digits"
    guided: bool = False
    target: str = "data"

    @property
    def key(self) -> str:
        """The row in one line."""
        return f"{self.model}; {self.data}; {self.task}"

    @property
    def task(self) -> str:
        """The task in words."""
        process = "x0 of the Gaussian process" if self.target == "x0" else self.target
        return f"{'guided' if self.guided else 'unguided'}, {process}"

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates that are tried; an unused one for a closed form."""
        if self.network == CONTROL:
            return (1.0,)
        return tuple(float(f"{factor * self.rate:.3g}") for factor in FACTORS)


CONTROL = "BestUnitary"
Q, QU, USS = "QDense", "QUNet", "USS"
DENSE, DCN, UNET = "FullyConnected", "DeepConv", "SmallUNet"


def qunet(model: str, widths: Sequence[int], n_layers: int, rate: float, paper: str = "") -> Row:
    """A QU-Net with the paper's batch of 10 images."""
    options = {"widths": list(widths), "n_layers": n_layers}
    return Row(f"QU-Net {model}", QU, options, rate, paper, batch=10)


def unet(*widths: int, rate: float, paper: str = "") -> Row:
    """A classical U-Net."""
    return Row(f"U-Net {widths}", UNET, {"widths": list(widths)}, rate, paper)


def controlled(row: Row, *controls: str) -> tuple[Row, ...]:
    """A model with its circuits replaced by controls."""
    return tuple(
        replace(row, model=f"{row.model}, {control}", options={**row.options, "control": control})
        for control in controls
    )


def alike(parameters: int, dense: float = 0.0025, dcn: float = 0.0076) -> tuple[Row, ...]:
    """The baselines that match a number of parameters."""
    options = {"parameters": parameters}
    return (
        Row(f"Dense like {parameters:,}", DENSE, options, dense),
        Row(f"DCN like {parameters:,}", DCN, options, dcn),
        Row(f"U-Net like {parameters:,}", UNET, options, 0.0047),
    )


QUANTUM_100, CLASSICAL_120 = "FID about 100", "FID about 120"
TASKS: dict[tuple[str, bool, str], tuple[Row, ...]] = {
    ("digits", True, "data"): (
        Row("Q-Dense 47", Q, {"n_layers": 47}, 9.7e-4, QUANTUM_100),
        Row("Q-Dense 47, 7 uploads", Q, {"n_layers": 47, "uploads": 7}, 3.62e-3, "FID 10 lower"),
        qunet("(2, 4, 8), 12 layers", (2, 4, 8), 12, 8.15e-3),
        *controlled(
            Row("Q-Dense 47", Q, {"n_layers": 47}, 9.7e-4), "frozen", "separable", "linear"
        ),
        *controlled(qunet("(2, 4, 8), 12 layers", (2, 4, 8), 12, 8.15e-3), "frozen", "matched"),
        Row("USS 47", USS, {"n_layers": 47}, 7.21e-3, sampler="uss"),
        Row("Dense like 987", DENSE, {"parameters": 987}, 2.5e-3, CLASSICAL_120),
        Row("DCN like 987", DCN, {"parameters": 987}, 7.59e-3, CLASSICAL_120),
        unet(3, 6, rate=4.7e-3, paper=CLASSICAL_120),
        unet(2, 4, 8, rate=3.2e-3),
        unet(4, 8, 16, rate=5.7e-3),
    ),
    ("digits", False, "data"): (
        Row("Q-Dense 50", Q, {"n_layers": 50}, 6.5e-4),
        Row("Q-Dense 47, ancilla", Q, {"n_layers": 47, "ancilla": True}, 6.5e-4),
        qunet("(2, 4, 8), 8 layers", (2, 4, 8), 8, 2.3e-4),
        qunet("(2, 4, 8), 12 layers", (2, 4, 8), 12, 8.15e-3),
        Row("USS 56", USS, {"n_layers": 56}, 1.72e-3, sampler="uss"),
        Row("best unitary", CONTROL, sampler="uss"),
        Row("Dense like 990", DENSE, {"parameters": 990}, 2.5e-3),
        Row("DCN (10, 10)", DCN, {"widths": [10, 10]}, 7.59e-3),
        Row("DCN (6, 6, 6, 6)", DCN, {"widths": [6, 6, 6, 6]}, 1.3e-4),
        Row("U-Net like 990", UNET, {"parameters": 990}, 4.7e-3),
        unet(2, 4, 8, rate=5.07e-3),
    ),
    ("digits", False, "noise"): (
        Row("Q-Dense 55", Q, {"n_layers": 55}, 1.6e-3),
        qunet("(2, 4, 8), 8 layers", (2, 4, 8), 8, 1.13e-3),
        qunet("(2, 4, 8), 12 layers", (2, 4, 8), 12, 9.12e-3),
        Row("Dense like 990", DENSE, {"parameters": 990}, 2.5e-3),
        Row("DCN (9, 10)", DCN, {"widths": [9, 10]}, 5.32e-3),
        Row("U-Net like 990", UNET, {"parameters": 990}, 4.7e-3),
        unet(2, 4, 8, rate=1.339e-2),
    ),
    ("digits", True, "x0"): (
        Row("Q-Dense 47", Q, {"n_layers": 47}, 9.7e-4),
        qunet("(2, 4, 8), 12 layers", (2, 4, 8), 12, 8.15e-3),
        *alike(987),
    ),
    ("mnist", True, "noise"): (
        Row("Q-Dense 30", Q, {"n_layers": 30}, 4.09e-3),
        Row("Q-Dense 60", Q, {"n_layers": 60}, 2.11e-3),
        qunet("(2, 4, 8), 9 layers", (2, 4, 8), 9, 2.87e-3),
        qunet("(2, 4, 8), 19 layers", (2, 4, 8), 19, 1.479e-2),
        unet(3, 6, rate=1.719e-2),
        unet(2, 4, 8, rate=6.41e-3),
        *alike(1980),
    ),
    ("fashion", True, "noise"): (
        Row("Q-Dense 60", Q, {"n_layers": 60}, 7.23e-3),
        Row("Q-Dense 121", Q, {"n_layers": 121}, 1.4e-4, "FID 280"),
        qunet("(3, 6, 12), 8 layers", (3, 6, 12), 8, 5.1e-4),
        qunet("(3, 6, 12), 12 layers", (3, 6, 12), 12, 2.9e-4),
        unet(7, 14, rate=1.27e-2),
        *alike(1980),
        *alike(3993, dcn=1.016e-2),
    ),
    ("cifar10", False, "data"): (
        Row("Q-Dense 133", Q, {"n_layers": 133}, paper="FID 399.38, PSNR 10.06, SSIM 0.061"),
        qunet(
            "(3, 6, 12), 12 layers",
            *((3, 6, 12), 12, UNKNOWN_RATE),
            paper="FID 271.03, PSNR 9.60, SSIM 0.086",
        ),
        Row("USS 133", USS, {"n_layers": 133}, 1.9e-3, sampler="uss"),
        Row("best unitary", CONTROL, sampler="uss"),
        unet(7, 14, rate=UNKNOWN_RATE, paper="FID 395.47, PSNR 8.95, SSIM 0.026"),
        *alike(3990),
    ),
}


def rows() -> Iterator[Row]:
    """All rows of the table."""
    for (data, is_guided, target), models in TASKS.items():
        for row in models:
            given = {**vars(row), "data": data, "guided": is_guided, "target": target}
            if target == "x0":  # one time per image, not all pairs
                given |= {"sampler": "ddim", "batch": SOURCES[data].train}
            yield Row(**given)


ROWS = tuple(rows())


@cache
def images_of(key: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Training, validation and test images of a data set in uint8, with labels 0, 1, ..."""
    source = SOURCES[key]
    ends = source.train, source.train + source.val
    if source.name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits(n_class=2)
        every = to_uint8(torch.from_numpy(digits.images / 8 - 1)[:, None]), digits.target
        first = tested = every[0], torch.from_numpy(every[1])
        held_out = slice(ends[1], ends[1] + source.test)
    else:
        first, tested = (_chosen(source, split) for split in ("train", "test"))
        held_out = slice(source.test)
    return {
        "train": (first[0][: ends[0]], first[1][: ends[0]]),
        "val": (first[0][slice(*ends)], first[1][slice(*ends)]),
        "test": (tested[0][held_out], tested[1][held_out]),
    }


def _chosen(source: Source, split: str) -> tuple[Tensor, Tensor]:
    """The images of a split that are of the classes of a source."""
    found: ImageSet = load_images(source.name, split, size=source.size, channels=1)
    assert found.labels is not None
    if source.classes is None:
        return found.images, found.labels
    places = torch.full((len(found.classes),), -1)
    places[list(source.classes)] = torch.arange(len(source.classes))
    labels = places[found.labels]
    return found.images[labels >= 0], labels[labels >= 0]


def name_of(key: str) -> str:
    """The name of a source as a data set of hqdm."""
    return f"amplitude_table_{key}"


def register_sources() -> None:
    """Make training and validation images available to configurations."""
    for key in SOURCES:

        def load(split: str, key: str = key) -> tuple[Tensor, Tensor]:
            return images_of(key)["train" if split == "train" else "val"]

        register_data(name_of(key))(load)


def configuration(row: Row, rate: float, seed: int) -> dict[str, Any]:
    """The configuration of `hqdm fit`."""
    source = SOURCES[row.data]
    gaussian = row.target == "x0"
    step = {"steps": TAU, "output": row.target, "clamp": True, "pairs": True}
    return {
        "seed_everything": seed,
        "data": {
            **{"name": name_of(row.data), "size": source.size, "channels": 1},
            **{"batch_size": row.batch, "labelled": row.guided},
        },
        "model": {
            "network": {
                **{"name": row.network, "options": row.options},
                "n_classes": len(source.classes or range(10)) if row.guided else None,
            },
            "schedule": "cosine" if gaussian else "mixing",
            "predict": "x0" if gaussian else "step",
            "predict_options": {} if gaussian else step,
            **{"weight": "uniform", "lr": rate, "betas": [0.9, 0.999], "label_dropout": 0.0},
            "ema": EMA,
        },
    }


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


def chosen_rate(runs: Sequence[dict[str, Any]]) -> float | None:
    """The learning rate with the least energy distance to the validation images in the search.

    None if all diverged.
    """
    tried = [run for run in runs if run["seed"] == SEARCH_SEED and "failure" not in run]
    best = min(tried, key=lambda run: min(run["validation"]), default=None)
    return best and best["rate"]


def best_tau(runs: Sequence[dict[str, Any]]) -> int:
    """The place of the number of steps with the least energy distance to the validation images."""
    means = [fmean(values) for values in zip(*(run["validation"] for run in runs), strict=True)]
    return means.index(min(means))


def final_runs(results: dict[str, Any], row: Row) -> list[dict[str, Any]]:
    """The runs of a row with the chosen learning rate that did not diverge.

    None of them if not all rates were tried.
    """
    own = [run for run in results["runs"] if run["row"] == row.key]
    rates = {run["rate"] for run in own if run["seed"] == SEARCH_SEED}
    if len(rates) < min(results["settings"]["tried"], len(row.rates)):
        return []
    rate = chosen_rate(own)
    return [
        run
        for run in own
        if run["rate"] == rate and run["seed"] != SEARCH_SEED and "failure" not in run
    ]


COLUMNS = (
    *("model", "task", "parameters", "learning rate", "updates", "seeds", "steps"),
    *("energy distance", "at 10 steps", "pixel FID", "FID", "SSIM", "PSNR", "paper"),
)


def cells(row: Row, runs: Sequence[dict[str, Any]], taus: Sequence[int]) -> list[str]:
    """The cells of a row."""
    place = best_tau(runs)
    at_ten = taus.index(TAU) if TAU in taus else None

    def score(key: str, at: int | None = place) -> str:
        if at is None or key not in runs[0]["test"]:
            return "-"
        return with_interval([run["test"][key][at] for run in runs])

    rate = "-" if row.network == CONTROL else f"{runs[0]['rate']:.3g}"
    if row.network != CONTROL and runs[0]["rate"] in (row.rates[0], row.rates[-1]):
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
    mean, low, high = interval_of(values, "bootstrap" if len(values) >= LEAST_PAIRS else "t")
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
        body = [cells(row, runs, settings["taus"]) for row, runs in own]
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
        f"{row.model} ({row.task}) {', '.join(map(str, row.rates[: settings['tried']]))}"
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
        f"t = {RESTORE_T} and restored. Means over random seeds with 95 % intervals, by the "
        f"studentised bootstrap from {LEAST_PAIRS} seeds on, by Student's t below. "
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


def plot(results: dict[str, Any], key: str, file: Path) -> None:
    """Scores against the number of steps at sampling: mean, least and largest of the seeds."""
    taus = results["settings"]["taus"]
    labels = {"energy_distance": "energy distance", "pixel_fid": "pixel FID"}
    figure, axes = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
    for axis, (score, label) in zip(axes, labels.items(), strict=True):
        for row in (row for row in ROWS if row.data == key):
            if runs := final_runs(results, row):
                values = torch.tensor([run["test"][score] for run in runs])
                quantum = row.network in (Q, QU, USS)
                style = {"linestyle": "-" if quantum else "--", "marker": "." if quantum else ""}
                (line,) = axis.plot(taus, values.mean(0), label=f"{row.model}, {row.task}", **style)
                low, high = values.amin(0), values.amax(0)
                axis.fill_between(taus, low, high, alpha=0.1, color=line.get_color())
        if score in results["floors"][key]:
            axis.axhline(results["floors"][key][score], color="grey", label="real images")
        axis.set(xlabel="steps at sampling", ylabel=label, yscale="log", xticks=taus)
    axes[1].legend(fontsize=6, bbox_to_anchor=(1, 1), loc="upper left")
    figure.savefig(file, dpi=120)
    plt.close(figure)


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


def pending(
    results: dict[str, Any], row: Row, seeds: int, tried: int
) -> Iterator[tuple[float, int]]:
    """Learning rates and seeds of a row that are still to run; the rates first."""
    done = {(run["row"], run["rate"], run["seed"]) for run in results["runs"]}
    for rate, seed in product(row.rates[:tried], [SEARCH_SEED]):
        if (row.key, rate, seed) not in done:
            yield rate, seed
    best = chosen_rate([run for run in results["runs"] if run["row"] == row.key])
    for seed in range(seeds):
        if best is not None and (row.key, best, seed) not in done:
            yield best, seed


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
    options.taus, options.n, tried = list(TAUS), None, len(FACTORS)
    if options.quick:
        options.taus, options.n, options.updates, tried = [1, 2, TAU], 8, 2, 2
        options.seeds = options.seeds or 2
    register_sources()
    console = Console(log_path=False)
    folder = options.out or (None if options.quick else RESULTS)
    file = folder / "amplitude_table.json" if folder else None
    results = resumed(
        file,
        {
            **{"updates": options.updates, "seeds": options.seeds, "taus": options.taus},
            **{"n": options.n, "tried": tried, "ema": EMA},
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
        for rate, seed in pending(results, row, options.seeds or SOURCES[row.data].seeds, tried):
            console.log(f"{row.key}: learning rate {rate:g}, seed {seed}")
            results["runs"].append(measure(row, rate, seed, options))
            if folder:
                write(folder, results)
    for table in tables(results):
        table.print(console)


if __name__ == "__main__":
    main()
