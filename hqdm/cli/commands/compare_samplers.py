"""`hqdm compare-samplers`: compare samplers of a trained model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hqdm.cli.options import (
    Parser,
    add_checkpoint,
    add_drawing,
    add_output,
    add_scores,
    grid_of,
    load_model,
    loaded_for,
    protocol_of,
)
from hqdm.storage.claims import claim


def run(args: Sequence[str]) -> None:
    """Compare samplers of a trained model: FID against network evaluations and seconds."""
    parser = Parser("hqdm compare-samplers", description=run.__doc__)
    add_checkpoint(parser)
    parser.add_argument(
        "--samplers",
        default="ddim,dpm3,unipc3",
        help="names, name:evaluations or dpm-adaptive:tolerance, with commas (ddim,dpm3,unipc3)",
    )
    parser.add_argument("--nfe", default="5,10,20,50", help="numbers of evaluations (5,10,20,50)")
    add_drawing(parser, n=1024)
    add_scores(parser)
    parser.add_argument("--resume", action="store_true", help="use images that are stored in --out")
    add_output(parser, "comparison")
    options = parser.parse_args(args)

    from hqdm.diffusion.loading import model_digest
    from hqdm.evaluation.comparison import (
        COMPARISON_FILES,
        Comparison,
        compare,
        comparison_sheet,
        parse_entries,
    )
    from hqdm.generation.sampling import IMAGES_FILE, RECORD_FILE
    from hqdm.utils.progress import progress_bar
    from hqdm.utils.tables import show

    out = Path(options.out)
    entries = parse_entries(options.samplers, options.nfe)
    denoiser = load_model(options)
    grid = grid_of(options, entries[0].sampler, denoiser)
    loaded = {entry.sampler: loaded_for(entry.sampler, options, denoiser) for entry in entries}
    drawn = [f"{e.folder}/{name}" for e in entries for name in (RECORD_FILE, IMAGES_FILE)]
    files = (*COMPARISON_FILES, *drawn)
    comparison = Comparison(
        options.checkpoint,
        model_digest(options.checkpoint),
        entries,
        protocol_of(options),
        out,
        grid,
        options.resume,
        loaded,
    )
    permitted = options.overwrite or options.resume
    with claim(out, files, permitted), progress_bar() as progress:
        report = compare(denoiser, comparison, progress, _print_result)
    show(comparison_sheet(report))
    print(f"wrote {', '.join(str(out / name) for name in COMPARISON_FILES)}")


def _print_result(result: dict[str, Any]) -> None:
    """Print one line about an entry."""
    effort = f"{result['evaluations']} evaluations, {result['seconds']:.1f} s"
    print(f"{result['sampler']}: {effort}, FID {result['fid']:.3f}")
