"""Seconds of training to a FID: configurations of `hqdm fit` beside each other.

    python benchmarks/time_to_fid.py [--configs mnist_unet+papers_recipe mnist_unet] [--out FOLDER]

Trains each configuration until the samples of its averaged weights have the FID, in the features of
the classifier of the package, or until `--limit` seconds of processor time. The samples are scored
after `--first` seconds and then at times that grow by the factor `--growth`; scores and checkpoints
do not count as training (see `timed_training.py`). The time to the FID lies between the last score
above it and the first one below. Runs and checkpoints are kept in the folder, so that an
interrupted benchmark takes up at its last score. The default sampler is that of docs/results.md.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from install_peers import ROOT
from lightning import Trainer
from rich.console import Console
from simulators import RESULTS, machine
from speed.report import Table, machine_lines
from speed.settings import Settings
from timed_training import Judge, Milestones, averaged, resumed, train, write_runs

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.evaluation.protocol import ScoringProtocol
from hqdm.samplers.registry import build_sampler
from hqdm.training.module import DiffusionModule

CONFIGS = ("mnist_unet+papers_recipe", "mnist_unet")
COLUMNS = ("configuration", "seconds", "steps", "FID", "last score above", "ratio to first")


def times(first: float, growth: float, limit: float) -> list[float]:
    """The seconds of training at which samples are scored, up to the limit."""
    found = [min(first, limit)]
    while found[-1] < limit:
        found.append(min(found[-1] * growth, limit))
    return found


def files(config: str) -> list[str]:
    """The options of `hqdm fit` for configurations that are joined by +, the last one on top."""
    return [word for name in config.split("+") for word in ("--config", name)]


def measure(
    run: dict[str, Any],
    options: argparse.Namespace,
    folder: Path,
    judge: Judge,
    save: Callable[[], None],
) -> None:
    """Train one configuration until its samples have the FID.

    Args:
        run: The run so far; each score is added.
        options: The options of the benchmark.
        folder: Folder of the run and its checkpoint.
        judge: Scores the samples.
        save: Called after each change of `run`.
    """
    scores = run["scores"]

    def checkpoint(step: int) -> Path:
        return folder / f"step_{step}.ckpt"

    def score(trainer: Trainer, module: DiffusionModule, spent: float) -> bool:
        step, fid = trainer.global_step, judge.fid(averaged(module))
        trainer.save_checkpoint(checkpoint(step))
        scores.append({"seconds": spent, "steps": step, "fid": fid})
        save()  # before the last checkpoint is removed: one of the two is always complete
        for earlier in scores[:-1]:
            checkpoint(earlier["steps"]).unlink(missing_ok=True)
        return fid <= options.target

    at = times(options.first, options.growth, options.limit)
    before = scores[-1]["seconds"] if scores else 0.0
    resume = ["--resume", str(checkpoint(scores[-1]["steps"]))] if scores else []
    command = [*files(run["config"]), "--seed_everything", str(options.seed), *resume]
    train(command, folder / "run", Milestones(at, score, before))
    run["finished"] = True
    save()


def table(results: dict[str, Any]) -> Table:
    """The time to the FID of each configuration."""
    settings, cells = results["settings"], []
    base: tuple[float, bool] | None = None
    for run in results["runs"]:
        *above, last = run["scores"] or [{"seconds": 0.0, "steps": 0, "fid": float("nan")}]
        reached = last["fid"] <= settings["target"]
        base = base or (last["seconds"], reached)
        name = run["config"] if run["finished"] else f"{run['config']} (unfinished)"
        cells.append(
            (
                name,
                f"{'' if reached else '> '}{last['seconds']:,.0f}",
                f"{last['steps']:,}",
                f"{last['fid']:.2f}",
                f"{above[-1]['seconds']:,.0f}" if above else "-",
                _ratio(last["seconds"], *base) if reached else "-",
            )
        )
    return Table(
        f"Seconds of training to a FID of {settings['target']:g}, {settings['data']}",
        COLUMNS,
        cells,
        notes=(
            f"{settings['n']} samples by {settings['sampler']}, {settings['steps']} steps, of the "
            f"averaged weights; one run each, random seed {settings['seed']}.",
            *machine_lines(results["machines"]),
        ),
    )


def _ratio(seconds: float, base: float, reached: bool) -> str:
    """The ratio to the time of the first configuration, an upper bound if that is a lower one."""
    return f"{'' if reached else '< '}{seconds / base:.2f}" if base else "-"


def main() -> None:
    """Train what is not finished, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--configs", nargs="+", default=CONFIGS, help="names or files, joined by +; first: base"
    )
    parser.add_argument("--data", default="mnist", help="the data set of all of them (mnist)")
    parser.add_argument("--target", type=float, default=3.0, help="the FID (3)")
    parser.add_argument("--first", type=float, default=60.0, help="seconds to the first score (60)")
    parser.add_argument("--growth", type=float, default=1.25, help="factor between scores (1.25)")
    parser.add_argument("--limit", type=float, default=7200.0, help="seconds of training (7200)")
    parser.add_argument("--n", type=int, default=2048, help="samples of a score (2048)")
    parser.add_argument("--sampler", default="ddim", help="sampler of the scores (ddim)")
    parser.add_argument("--steps", type=int, default=50, help="steps of the sampler (50)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the training (0)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="benchmarks/results")
    parser.add_argument(
        "--runs", type=Path, default=ROOT / "runs" / "time_to_fid", help="folder of the checkpoints"
    )
    options = parser.parse_args()
    if options.growth <= 1:
        parser.error("--growth needs a factor above 1")
    keys = ("data", "target", "first", "growth", "limit", "n", "sampler", "steps", "seed")
    file = options.out / "time_to_fid.json"
    results = resumed(
        file,
        {key: getattr(options, key) for key in keys},
        machine(Settings(False, torch.get_num_threads(), ())),
    )
    runs = {run["config"]: run for run in results["runs"]}
    protocol = ScoringProtocol(options.data, n=options.n)
    sampler = build_sampler(options.sampler, options.steps)
    console = Console(log_path=False)
    for config in options.configs:
        if config not in runs:
            runs[config] = {"config": config, "finished": False, "scores": []}
            results["runs"].append(runs[config])
        if runs[config]["finished"]:
            continue
        console.log(config)
        shape = TrainingCLI(files(config)).model.denoiser.image_shape
        measure(
            runs[config],
            options,
            options.runs / Path(config).stem,
            Judge(protocol, sampler, shape),
            lambda: write_runs(file, results, table(results), "time_to_fid.py"),
        )
    table(results).print(console)


if __name__ == "__main__":
    main()
