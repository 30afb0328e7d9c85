"""The effect of bfloat16 on training: error of the predicted images after the same steps.

    HQDM_BACKEND=torch python benchmarks/half_precision.py [--steps 500] [--seeds 5] [--write FILE]

Trains a U-Net on 8x8 MNIST by `configs/mnist_unet.yaml` in float32 and in bfloat16 autocast, with
the same initial weights, batches and noise per random seed. The table has the error in x0 of both
(see `timed_training.py`) and the mean of their ratio with its 95 % t interval. Torch computes the
network: under autocast the compiled kernels compute in float32.
"""

import argparse
import os
import tempfile
from pathlib import Path

import torch
from recipe import CONFIGS, DATA, NARROW
from simulators import machine
from speed.report import Table, machine_line
from speed.settings import Settings
from timed_training import QUIET, Judge, averaged

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.evaluation.protocol import ScoringProtocol
from hqdm.samplers.registry import build_sampler
from hqdm.study.statistics import mean_interval

PRECISIONS = ("32-true", "bf16-mixed")
SIZE = 8


def train(precision: str, seed: int, steps: int, folder: Path) -> TrainingCLI:
    """Train for a number of steps."""
    network = (f"--model.network.{key}={value}" for key, value in NARROW.items())
    cli = TrainingCLI(
        [
            *(
                "--config",
                str(CONFIGS[0]),
                f"--data.name={DATA}",
                f"--data.size={SIZE}",
                *network,
                *QUIET,
            ),
            *(f"--seed_everything={seed}", f"--trainer.max_steps={steps}"),
            *(f"--trainer.precision={precision}", "--out", str(folder)),
        ]
    )
    cli.run()
    return cli


def main() -> None:
    """Train, score, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500, help="of each training (500)")
    parser.add_argument("--seeds", type=int, default=5, help="number of random seeds (5)")
    parser.add_argument("--write", type=Path, help="Markdown file of the table")
    options = parser.parse_args()
    if os.environ.get("HQDM_BACKEND") != "torch":
        parser.error("set HQDM_BACKEND=torch: the compiled kernels compute in float32")
    judge = Judge(ScoringProtocol(DATA, n=16), build_sampler("unipc", 2), (1, SIZE, SIZE))
    errors: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for seed in range(options.seeds):
        for precision, found in errors.items():
            with tempfile.TemporaryDirectory() as scratch:
                cli = train(precision, seed, options.steps, Path(scratch))
            found.append(judge.x0_error(averaged(cli.model)))
    full, half = (mean_interval(found) for found in errors.values())
    ratio = mean_interval([b / a for a, b in zip(*errors.values(), strict=True)])
    cells = (f"{mean:.5g} ± {half_width:.2g}" for mean, half_width in (full, half, ratio))
    table = Table(
        f"bfloat16 autocast beside float32, {DATA}, {SIZE}x{SIZE}",
        ("steps", "random seeds", "error in x0, float32", "bfloat16", "ratio"),
        [(f"{options.steps:,}", str(options.seeds), *cells)],
        notes=(
            "Means with 95 % t intervals; the same initial weights, batches and noise per seed.",
            machine_line(machine(Settings(False, torch.get_num_threads(), ()))),
        ),
    )
    table.publish(options.write)


if __name__ == "__main__":
    main()
