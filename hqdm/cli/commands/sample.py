"""`hqdm sample`: generate images with a trained model."""

from argparse import SUPPRESS
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from hqdm.cli.options import (
    Parser,
    add_checkpoint,
    add_output,
    add_sampler,
    drawing_of,
    load_model,
    sampler_of,
)
from hqdm.storage.claims import claim
from hqdm.utils.tables import counted


def run(args: Sequence[str]) -> None:
    """Generate images with a trained model."""
    parser = Parser("hqdm sample", description=run.__doc__)
    add_checkpoint(parser)
    add_sampler(parser, n=64)
    parser.add_argument("--label", type=int, help="class of all images (each class in turn)")
    parser.add_argument(
        "--processes", type=int, default=1, help="processes among which images are distributed (1)"
    )
    parser.add_argument(  # the former name, too similar to --device
        "--devices", dest="processes", type=int, default=SUPPRESS, help=SUPPRESS
    )
    parser.add_argument(
        "--strategy", default="auto", help="how processes are started: auto or ddp (auto)"
    )
    add_output(parser, "samples")
    options = parser.parse_args(args)

    from hqdm.diffusion.loading import model_digest
    from hqdm.generation.sampling import SAMPLE_FILES, sample_images, write_samples
    from hqdm.utils.progress import progress_bar, silent

    out = Path(options.out)
    denoiser = load_model(options)
    sampler = sampler_of(options, denoiser)
    settings = {**vars(options), "checkpoint_sha256": model_digest(options.checkpoint)}
    given = drawing_of(options)
    alone = (options.processes, options.strategy) == (1, "auto")
    with claim(out, SAMPLE_FILES, options.overwrite) if alone or _is_first() else nullcontext():
        with progress_bar() if alone or _is_first() else nullcontext(silent) as progress:
            if alone:
                samples = sample_images(denoiser, sampler, options.n, **given, progress=progress)
            else:
                from hqdm.generation.sharding import sample_sharded  # Lightning is slow to import

                gathered = sample_sharded(
                    denoiser,
                    sampler,
                    options.n,
                    **given,
                    processes=options.processes,
                    strategy=options.strategy,
                    accelerator=next(denoiser.parameters()).device.type,
                    progress=progress,
                )
                if gathered is None:  # the first process has the images
                    return
                samples = gathered
        written = write_samples(sampler, samples, out, settings)
    print(f"{counted(options.n, 'image')}, {samples.effort}: {written}")


def _is_first() -> bool:
    """True if this is the process that writes; Lightning runs the command in all of them."""
    from lightning.fabric.utilities.rank_zero import rank_zero_only  # slow to import

    return getattr(rank_zero_only, "rank", 0) == 0
