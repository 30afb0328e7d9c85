"""`hqdm evaluate`: score a trained model."""

from collections.abc import Sequence
from pathlib import Path

from hqdm.cli.options import (
    Parser,
    add_checkpoint,
    add_output,
    add_sampler,
    add_scores,
    load_any_model,
    protocol_of,
    sampler_of,
)
from hqdm.storage.claims import claim

N = 2048


def run(args: Sequence[str]) -> None:
    """Score a trained model: FID, KID, IS, SSIM, PSNR, memorisation."""
    parser = Parser("hqdm evaluate", description=run.__doc__)
    add_checkpoint(parser)
    add_sampler(parser, n=N)
    parser.set_defaults(n=None)
    add_scores(parser, states=True)
    parser.add_argument(
        "--restore-t", type=float, default=0.5, help="time t of SSIM and PSNR (0.5)"
    )
    parser.add_argument(
        "--fld", action="store_true", help="also score fidelity, diversity and novelty in one (FLD)"
    )
    add_output(parser, None, "folder to write to (evaluation, next to the checkpoint)")
    options = parser.parse_args(args)

    from hqdm.diffusion.denoiser import Denoiser
    from hqdm.diffusion.loading import model_digest, model_file
    from hqdm.evaluation.report import REPORT_FILES, score_sheet, write_report
    from hqdm.evaluation.report import evaluate as score
    from hqdm.utils.progress import progress_bar
    from hqdm.utils.tables import show

    checkpoint = Path(options.checkpoint)
    beside = checkpoint if checkpoint.is_dir() else checkpoint.parent
    out = Path(options.out) if options.out else beside / "evaluation"
    denoiser = load_any_model(options)
    model = {
        "checkpoint": str(model_file(options.checkpoint).absolute()),
        "checkpoint_sha256": model_digest(options.checkpoint),
    }
    if not isinstance(denoiser, Denoiser):
        from hqdm.cli import states  # imports PennyLane

        parser.refuse_others(args, (*states.COMMON, "data"), denoiser.noun)
        data = None
        if options.data is not None:
            from hqdm.cli.commands.fit import TrainingCLI  # Lightning is slow to import

            data = TrainingCLI(["--config", options.data]).datamodule
        states.evaluate(denoiser, data, options, model, out)
        return
    if options.data is None:
        parser.error("the following arguments are required: --data")
    options.n = N if options.n is None else options.n
    sampler = sampler_of(options, denoiser)
    with claim(out, REPORT_FILES, options.overwrite):
        with progress_bar() as progress:
            report, images = score(denoiser, sampler, protocol_of(options), progress)
        written = write_report({**model, **report}, images, out)
    show(score_sheet(report))
    print(f"wrote {written}")
