"""`hqdm evaluate`: score a trained model."""

from collections.abc import Sequence
from pathlib import Path

from hqdm.cli.options import (
    Parser,
    add_checkpoint,
    add_output,
    add_sampler,
    add_scores,
    load_model,
    protocol_of,
    sampler_of,
)
from hqdm.storage.claims import claim


def run(args: Sequence[str]) -> None:
    """Score a trained model: FID, KID, IS, SSIM, PSNR, memorisation."""
    parser = Parser("hqdm evaluate", description=run.__doc__)
    add_checkpoint(parser)
    add_sampler(parser, n=2048)
    add_scores(parser)
    parser.add_argument(
        "--restore-t", type=float, default=0.5, help="time t of SSIM and PSNR (0.5)"
    )
    parser.add_argument(
        "--fld", action="store_true", help="also score fidelity, diversity and novelty in one (FLD)"
    )
    add_output(parser, None, "folder to write to (evaluation, next to the checkpoint)")
    options = parser.parse_args(args)

    from hqdm.diffusion.loading import model_digest, model_file
    from hqdm.evaluation.report import REPORT_FILES, score_sheet, write_report
    from hqdm.evaluation.report import evaluate as score
    from hqdm.utils.progress import progress_bar
    from hqdm.utils.tables import show

    checkpoint = Path(options.checkpoint)
    beside = checkpoint if checkpoint.is_dir() else checkpoint.parent
    out = Path(options.out) if options.out else beside / "evaluation"
    denoiser = load_model(options)
    model = {
        "checkpoint": str(model_file(options.checkpoint).absolute()),
        "checkpoint_sha256": model_digest(options.checkpoint),
    }
    sampler = sampler_of(options, denoiser)
    with claim(out, REPORT_FILES, options.overwrite):
        with progress_bar() as progress:
            report, images = score(denoiser, sampler, protocol_of(options), progress)
        written = write_report({**model, **report}, images, out)
    show(score_sheet(report))
    print(f"wrote {written}")
