"""Recipes of training at equal seconds: error of the predicted images, and FID.

    python benchmarks/recipe.py [--size 8] [--seconds 70] [--seeds 5] [--out FOLDER] [--quick]

Trains MNIST by the papers' recipe (`configs/papers_recipe.yaml`) and with changes of it
(`RECIPES`), each for the same seconds of processor time (see `timed_training.py`). A schedule of
the learning rate ends with the seconds: the number of steps follows from a short run that is timed
first. The table has means over random seeds with 95 % t intervals, and the mean of the ratios to
the papers' recipe with the same seed. The runs are kept in `recipe_SIZE.json`; an interrupted
benchmark takes up where it ended. Recipes take turns within a random seed.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml
from install_peers import ROOT
from lightning import Trainer
from rich.console import Console
from simulators import RESULTS, machine
from speed.report import Table, machine_lines
from speed.settings import Settings
from timed_training import Judge, Milestones, averaged, resumed, train, write_runs

from hqdm.evaluation.protocol import ScoringProtocol
from hqdm.samplers.registry import build_sampler
from hqdm.study.statistics import mean_interval
from hqdm.training.module import DiffusionModule

DATA = "mnist"
CONFIGS = tuple(ROOT / "configs" / name for name in ("mnist_unet.yaml", "papers_recipe.yaml"))
WIDTHS = {28: {"dim": 10, "mults": [1, 2, 3, 4]}}
NARROW = {"dim": 16, "mults": [1, 2]}  # of smaller images
POWER = {"ema": {"decay": None, "every": 1, "start": 0, "sigma_rel": 0.1}}
V = {**POWER, "predict": "v"}
BATCH = "batch_size"  # of the data
TOTAL, WARMUP = "TOTAL", "WARMUP"  # the number of steps in the seconds of a run, and a twentieth
COSINE = {"class_path": "hqdm.WarmupCosine", "init_args": {"warmup": WARMUP, "total": TOTAL}}


def adam(lr: float) -> dict[str, Any]:
    """Adam with the papers' moments and another learning rate."""
    return {"lr": lr, "betas": [0.9, 0.99]}


RECIPES: dict[str, dict[str, Any]] = {
    "papers": {},
    "power-function average": POWER,
    "predict v": V,
    "v, uniform weight": {**V, "p2_gamma": 0.0},
    "v, min-SNR weight": {**V, "weight": "min_snr"},
    "v, lr 0.003": {**V, **adam(0.003)},
    "v, warm-up and cosine": {**V, "lr_scheduler": COSINE},
    "v, lr 0.003, warm-up and cosine": {**V, **adam(0.003), "lr_scheduler": COSINE},
    "v, lr 0.003, warm-up and cosine, batch 64": {
        **V,
        **adam(0.003),
        "lr_scheduler": COSINE,
        BATCH: 64,
    },
    "v, Muon": {
        **V,
        **{"lr": None, "betas": None},
        "optimizer": {"class_path": "muon.MuonAdam", "init_args": {"lr": 0.001, "muon_lr": 0.001}},
    },
}
"""Keys under `model`, or the batch size, which replace those of the papers' recipe."""
PAPERS = next(iter(RECIPES))
SCORES = {"x0_error": "error in x0", "fid": "FID"}
COLUMNS = (
    *("recipe", "seeds", "steps"),
    *(column for score in SCORES.values() for column in (score, "ratio to papers")),
)


def options_of(recipe: dict[str, Any], size: int, seed: int, total: int, folder: Path) -> list[str]:
    """Options of `hqdm fit`: the papers' configuration, and a file with the changes."""
    model = {key: value for key, value in recipe.items() if key != BATCH}
    text = json.dumps({**model, "network": WIDTHS.get(size, NARROW)})
    for name, number in ((TOTAL, total), (WARMUP, total // 20)):
        text = text.replace(f'"{name}"', str(number))
    data = {"name": DATA, "size": size, BATCH: recipe.get(BATCH, 128)}
    changes = {"data": data, "model": json.loads(text), "seed_everything": seed}
    file = folder / "changes.yaml"
    file.write_text(yaml.safe_dump(changes))
    return [word for config in (*CONFIGS, file) for word in ("--config", str(config))]


def steps_in(recipe: dict[str, Any], size: int, seconds: float, folder: Path) -> int:
    """The number of steps in some seconds, from those in the second twentieth of them."""
    steps: list[tuple[int, float]] = []

    def count(trainer: Trainer, _: DiffusionModule, spent: float) -> None:
        steps.append((trainer.global_step, spent))

    share = seconds / 20
    train(options_of(recipe, size, 0, 10**6, folder), folder, Milestones([share, 2 * share], count))
    (first, at_first), (last, at_last) = steps[0], steps[-1]
    rate = (last - first) / (at_last - at_first) if last > first else last / at_last
    return max(1, int(seconds * rate))


def measure(name: str, seed: int, options: argparse.Namespace, judge: Judge) -> dict[str, Any]:
    """Train one recipe with one random seed, and score it."""
    recipe, scores = RECIPES[name], {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        scheduled = "lr_scheduler" in recipe
        total = steps_in(recipe, options.size, options.seconds, folder) if scheduled else 1

        def score(trainer: Trainer, module: DiffusionModule, spent: float) -> None:
            denoiser = averaged(module)
            scores.update(steps=trainer.global_step, seconds=spent)
            scores.update(x0_error=judge.x0_error(denoiser), fid=judge.fid(denoiser))

        fit = options_of(recipe, options.size, seed, total, folder)
        train(fit, folder, Milestones([options.seconds], score))
    return {"recipe": name, "seed": seed, **scores}


def table(results: dict[str, Any]) -> Table:
    """Means over the random seeds."""
    runs = {(run["recipe"], run["seed"]): run for run in results["runs"]}
    cells = []
    for name in dict.fromkeys(recipe for recipe, _ in runs):
        own = {seed: run for (recipe, seed), run in runs.items() if recipe == name}
        steps, _ = mean_interval([run["steps"] for run in own.values()])
        row = [name, str(len(own)), f"{steps:,.0f}"]
        for score in SCORES:
            row.append(_mean([run[score] for run in own.values()]))
            paired = [
                run[score] / runs[PAPERS, seed][score]
                for seed, run in own.items()
                if (PAPERS, seed) in runs
            ]
            row.append(_mean(paired) if paired else "-")
        cells.append(row)
    settings = results["settings"]
    size = settings["size"]
    return Table(
        f"MNIST, {size}x{size}, {settings['seconds']:g} s of processor time for each training",
        COLUMNS,
        cells,
        notes=(
            "Error in x0: mean squared error per pixel in noisy test images, times uniform. FID: "
            f"{settings['n']} samples by {settings['sampler']}, {settings['steps']} steps, in the "
            "features of the classifier of the package. Means with 95 % t intervals.",
            *machine_lines(results["machines"]),
        ),
    )


def _mean(values: list[float]) -> str:
    mean, half = mean_interval(values)
    return f"{mean:.4g} ± {half:.2g}" if half == half else f"{mean:.4g}"


def main() -> None:
    """Train what is missing, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=8, help="height and width of the images (8)")
    parser.add_argument("--seconds", type=float, default=70.0, help="of training (70)")
    parser.add_argument("--seeds", type=int, default=5, help="number of random seeds (5)")
    parser.add_argument("--n", type=int, default=2048, help="samples of the FID (2048)")
    parser.add_argument("--sampler", default="unipc", help="sampler of the FID (unipc)")
    parser.add_argument("--steps", type=int, default=10, help="steps of the sampler (10)")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--quick", action="store_true", help="one seed, two seconds, as a test")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results, none with --quick")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.seeds, options.n, options.steps = 2.0, 1, 16, 2
    console = Console(log_path=False)
    keys = ("size", "seconds", "n", "sampler", "steps")
    folder = options.out or (None if options.quick else RESULTS)
    file = folder / f"recipe_{options.size}.json" if folder else None
    results = resumed(
        file,
        {key: getattr(options, key) for key in keys},
        machine(Settings(options.quick, torch.get_num_threads(), ())),
    )
    protocol = ScoringProtocol(DATA, n=options.n)
    judge = Judge(
        protocol, build_sampler(options.sampler, options.steps), (1, options.size, options.size)
    )
    done = {(run["recipe"], run["seed"]) for run in results["runs"]}
    for seed in range(options.seeds):
        for name in options.recipes:
            if (name, seed) in done:
                continue
            console.log(f"seed {seed}: {name}")
            results["runs"].append(measure(name, seed, options, judge))
            if file:
                write_runs(file, results, table(results), "recipe.py")
    table(results).print(console)


if __name__ == "__main__":
    main()
