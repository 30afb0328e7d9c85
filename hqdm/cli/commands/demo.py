"""`hqdm demo`: train, sample and score a hybrid U-Net on the 8x8 digits of scikit-learn."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.cli.configuration import preset
from hqdm.cli.options import Parser
from hqdm.diffusion.loading import load_denoiser
from hqdm.evaluation.protocol import ScoringProtocol
from hqdm.evaluation.report import REPORT_FILES, evaluate, write_report
from hqdm.generation.sampling import SAMPLE_FILES, sample_images, write_samples
from hqdm.samplers import DDIM
from hqdm.storage.run_files import LOSS
from hqdm.utils.errors import HQDMError
from hqdm.utils.pictures import read_metric
from hqdm.utils.progress import progress_bar
from hqdm.utils.tables import Sheet, show

CONFIG = "digits_qvunet"
FILES = (*REPORT_FILES, *(f"samples/{name}" for name in SAMPLE_FILES))
SAMPLER_STEPS = 50
SCORED = 512


def run(args: Sequence[str]) -> None:
    """Train a hybrid U-Net on 8x8 digits, sample it and score it, in under 5 minutes."""
    parser = Parser("hqdm demo", description=run.__doc__)
    parser.add_argument("--out", default="runs/demo", help="folder of the run (runs/demo)")
    parser.add_argument("--steps", type=int, help="training steps")
    parser.add_argument("--overwrite", action="store_true", help="replace a run in --out")
    options = parser.parse_args(args)

    train_and_score(Path(options.out), options.steps, options.overwrite)


def train_and_score(out: Path, steps: int | None, overwrite: bool) -> None:
    """Train, sample, score, and print the results.

    Args:
        out: Folder of the run.
        steps: Training steps; None is the number in the preset.
        overwrite: Replace a run in `out`.

    Raises:
        HQDMError: If `steps` is below 1, or `out` holds files that would be replaced and
            `overwrite` is false.
    """
    if steps is not None and steps < 1:
        raise HQDMError(f"steps needs 1 or more, got {steps}")
    arguments = ["--config", str(preset(CONFIG)), "--out", str(out)]
    if steps is not None:
        # A short run ends before the preset's first validation.
        arguments += ["--trainer.max_steps", str(steps), "--trainer.check_val_every_n_epoch", "1"]
    if overwrite:
        arguments.append("--overwrite")
    started = time.monotonic()
    cli = TrainingCLI(arguments)
    with cli.prepared(FILES):
        cli.train()
        _score(out, started, time.monotonic() - started)


def _score(out: Path, started: float, trained: float) -> None:
    """Sample and score the model of a run.

    Args:
        out: Folder of the run.
        started: A value of `time.monotonic`.
        trained: Seconds of training.
    """
    denoiser = load_denoiser(out / "last.ckpt")
    sampler = DDIM(SAMPLER_STEPS)
    with progress_bar() as progress:
        samples = sample_images(denoiser, sampler, 64, progress=progress)
        settings = {"checkpoint": str(out / "last.ckpt"), "seed": 0}
        write_samples(sampler, samples, out / "samples", settings)
        report, images = evaluate(denoiser, sampler, ScoringProtocol("digits", n=SCORED), progress)
    losses = read_metric(out / "csv", "val_loss")
    report["seconds"] |= {"training": round(trained, 1)}
    report["val_loss"] = list(losses.values())[-1]
    write_report(report, images, out)
    show(_sheet(report, time.monotonic() - started))
    for name in (LOSS, *FILES):  # `cli.train` has named the checkpoint
        print(f"wrote {out / name}")


def _sheet(report: dict[str, Any], seconds: float) -> Sheet:
    scores, floor, pairs = report["scores"], report["floor"], report["restoration"]
    model, effect = report["model"], report["quantum_effect"]
    rows = [
        ("parameters (quantum)", f"{model['parameters']:,} ({model['quantum']:,})", ""),
        ("validation loss", f"{report['val_loss']:.4f}", ""),
        ("loss with circuits silenced", f"{effect['mean_output'] / effect['loss'] - 1:+.2%}", ""),
        ("FID (digits classifier)", f"{scores['fid']:.2f}", f"{floor['fid']:.2f}"),
        ("KID (digits classifier)", f"{scores['kid']:.4f}", f"{floor['kid']:.4f}"),
        (f"SSIM, restored from t = {pairs['t']}", f"{pairs['ssim']:.3f}", ""),
        (f"PSNR, restored from t = {pairs['t']}", f"{pairs['psnr']:.2f} dB", ""),
        ("seconds", f"{seconds:.0f}", ""),
    ]
    return Sheet("hybrid U-Net on 8x8 digits", ("measure", "value", "real against real"), rows)
