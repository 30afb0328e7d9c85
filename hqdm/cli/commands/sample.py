"""`hqdm sample`: generate images, or quantum states, with a trained model."""

from argparse import SUPPRESS, Namespace
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from hqdm.cli.options import (
    Parser,
    add_checkpoint,
    add_kinds,
    add_label,
    add_output,
    add_sampler,
    drawing_of,
    load_any_model,
    sampler_of,
)
from hqdm.storage.claims import claim
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError
from hqdm.utils.tables import counted

N = 64


def run(args: Sequence[str]) -> None:
    """Generate images, or quantum states, with a trained model."""
    parser = Parser("hqdm sample", description=run.__doc__)
    add_checkpoint(parser)
    add_sampler(parser, n=N)
    parser.set_defaults(n=None)
    add_label(parser)
    parser.add_argument("--per-class", type=int, help="number of images per class, in place of --n")
    add_kinds(parser)
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

    from hqdm.diffusion.denoiser import Denoiser
    from hqdm.diffusion.loading import model_digest
    from hqdm.generation.files import check_no_others
    from hqdm.generation.sampling import sample_files, sample_images, write_samples
    from hqdm.utils.progress import progress_bar, silent

    out = Path(options.out)
    denoiser = load_any_model(options)
    if not isinstance(denoiser, Denoiser):
        from hqdm.cli.states import COMMON, sample  # imports PennyLane

        parser.refuse_others(args, COMMON, denoiser.noun)
        sample(denoiser, options)
        return
    sampler = sampler_of(options, denoiser)
    given = drawing_of(options, denoiser)
    options.n = _number(options, denoiser.n_classes)
    settings = {**vars(options), "checkpoint_sha256": model_digest(options.checkpoint)}
    files = sample_files(denoiser, options.n, options.label, options.save)
    alone = (options.processes, options.strategy) == (1, "auto")
    with claim(out, files, options.overwrite) if alone or _is_first() else nullcontext():
        check_no_others(out, files)
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
            written = write_samples(sampler, samples, out, settings, options.save, progress)
    print(f"{counted(options.n, 'image')}, {samples.effort(sampler)}: {written}")


def _number(options: Namespace, n_classes: int | None) -> int:
    """The number of images of `--n` or `--per-class`.

    Raises:
        HQDMError: If both are given, or the model has no classes.
    """
    if options.per_class is None:
        return N if options.n is None else int(options.n)
    if options.n is not None:
        raise HQDMError("--n and --per-class exclude each other: leave one out")
    if n_classes is None:
        raise HQDMError("the model has no class labels: give --n in place of --per-class")
    label = options.label
    classes = n_classes if label is None else len(label) if isinstance(label, list) else 1
    return whole("--per-class", options.per_class, 1) * classes


def _is_first() -> bool:
    """True if this is the process that writes; Lightning runs the command in all of them."""
    from lightning.fabric.utilities.rank_zero import rank_zero_only  # slow to import

    return getattr(rank_zero_only, "rank", 0) == 0
