"""`hqdm inpaint`: fill a masked part of an image."""

from collections.abc import Sequence
from pathlib import Path

from hqdm.cli.options import (
    Parser,
    add_checkpoint,
    add_label,
    add_output,
    add_sampler,
    drawing_of,
    load_model,
    sampler_of,
)
from hqdm.storage.claims import claim
from hqdm.utils.tables import counted


def run(args: Sequence[str]) -> None:
    """Fill a masked part of an image with a trained model."""
    parser = Parser("hqdm inpaint", description=run.__doc__)
    add_checkpoint(parser)
    parser.add_argument("--image", required=True, help="image file of the model's size")
    parser.add_argument(
        "--mask",
        required=True,
        help="top, bottom, left, right or random (half of the image is filled), or an image file "
        "of that size; white is filled, black is kept",
    )
    add_sampler(parser, n=7, sampler="unipc")
    parser.add_argument(
        "--resample", type=int, help="times that each step is taken, as in RePaint (10)"
    )
    parser.add_argument(
        "--no-reset",
        action="store_true",
        help="recursive samplers: keep the known pixels in the first image only, not in every step",
    )
    add_label(parser)
    add_output(parser, "inpainting")
    options = parser.parse_args(args)

    from hqdm.generation.inpainting import INPAINT_FILES, read_known, write_inpainting
    from hqdm.generation.sampling import sample_images
    from hqdm.utils.progress import progress_bar

    out = Path(options.out)
    denoiser = load_model(options)
    sampler = sampler_of(options, denoiser)
    known = read_known(Path(options.image), options.mask, denoiser.image_shape, options.seed)
    filling = known.filling(sampler, options.resample, reset=not options.no_reset)
    given = drawing_of(options, denoiser)
    with claim(out, INPAINT_FILES, options.overwrite):
        with progress_bar() as progress:
            samples = sample_images(
                denoiser,
                filling.sampler,
                options.n,
                **given,
                around=filling.around,
                progress=progress,
            )
        written = write_inpainting(known, filling.sampler, samples, out, vars(options))
    print(f"{counted(options.n, 'filling')}, {samples.effort(filling.sampler)}: {written}")
