"""Training on MNIST for the rest of the time, then its scores."""

import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from device.context import Context
from device.record import Row
from hqdm.cli.main import main
from hqdm.storage.checkpoint import read_checkpoint

CONFIG, QUICK_CONFIG = "mnist_qvunet", "digits_qvunet"
FOR_SCORES = 60.0  # seconds: data, 2,048 samples with 50 evaluations, features, nearest neighbours
N, STEPS = 2048, 50
QUICK_N, QUICK_STEPS = 32, 2
SCORES = ("fid", "kid", "is_mean")


def run(context: Context) -> Iterator[Row]:
    """Train, then score."""
    seconds = max(10, math.floor(context.left - FOR_SCORES))
    config = QUICK_CONFIG if context.quick else CONFIG
    data = config.split("_")[0]
    with TemporaryDirectory() as folder:
        row: Row = {"config": config}
        yield context.attempt(row, lambda: _train(context, config, folder, seconds))
        row = {"config": config, "samples": QUICK_N if context.quick else N}
        yield context.attempt(row, lambda: _score(context, folder, data))


def _hqdm(*words: str) -> None:
    """A command of hqdm, whose errors are one line on standard error."""
    sys.stdout.flush()
    code = main(words)
    if code:
        raise RuntimeError(f"hqdm {words[0]} ended with code {code}")


def _train(context: Context, config: str, folder: str, seconds: int) -> Row:
    words = ["fit", "--config", config, "--out", folder, "--overwrite", "--offline"]
    words += ["--trainer.accelerator", "gpu" if context.device.type == "cuda" else "cpu"]
    words += ["--trainer.devices", "1", "--seed_everything", str(context.seed)]
    if context.quick:
        words += ["--trainer.max_steps", "2", "--trainer.limit_val_batches", "1"]
    else:
        minutes, rest = divmod(seconds, 60)
        words += ["--trainer.max_time", f"00:00:{minutes:02}:{rest:02}"]
    started = time.perf_counter()
    _hqdm(*words)
    took = time.perf_counter() - started
    steps = read_checkpoint(Path(folder) / "last.ckpt").batches_seen
    return {"seconds": took, "steps": steps, "ms per step with validation": 1e3 * took / steps}


def _score(context: Context, folder: str, data: str) -> Row:
    n, steps = (QUICK_N, QUICK_STEPS) if context.quick else (N, STEPS)
    started = time.perf_counter()
    _hqdm(
        *("evaluate", "--checkpoint", folder, "--data", data, "--n", str(n), "--offline"),
        *("--sampler", "ddim", "--steps", str(steps), "--device", context.device.type),
        *("--overwrite", "--out", f"{folder}/evaluation"),
    )
    report = json.loads((Path(folder) / "evaluation" / "metrics.json").read_text())
    scores = {key: report["scores"].get(key) for key in SCORES}
    floor = {f"{key} of real images": report["floor"].get(key) for key in SCORES[:1]}
    return {**scores, **floor, "seconds": time.perf_counter() - started}
