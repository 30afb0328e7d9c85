"""`hqdm interpolate`: interpolate between two images."""

from collections.abc import Sequence
from pathlib import Path

from hqdm.cli.options import (
    Parser,
    add_checkpoint,
    add_output,
    add_own,
    load_model,
    own_of,
)
from hqdm.storage.claims import claim


def run(args: Sequence[str]) -> None:
    """Interpolate between two images through their noise."""
    parser = Parser("hqdm interpolate", description=run.__doc__)
    add_checkpoint(parser)
    parser.add_argument(
        "--images", nargs=2, required=True, help="two image files of the model's size"
    )
    parser.add_argument("--sampler", default="unipc3", help="a deterministic one or rex (unipc3)")
    add_own(parser)
    parser.add_argument("--steps", type=int, default=40, help="sampler steps (40)")
    parser.add_argument("--n", type=int, default=9, help="images in the strip (9)")
    add_output(parser, "interpolation")
    options = parser.parse_args(args)

    import torch

    from hqdm.generation import interpolation
    from hqdm.samplers.registry import build_sampler
    from hqdm.utils.pictures import read_image
    from hqdm.utils.progress import progress_bar

    out = Path(options.out)
    denoiser = load_model(options)
    sampler = build_sampler(options.sampler, options.steps, "lambda", own=own_of(options))
    images = torch.stack([read_image(Path(file), denoiser.image_shape) for file in options.images])
    with claim(out, interpolation.INTERPOLATION_FILES, options.overwrite):
        with progress_bar() as progress:
            result = interpolation.interpolate(denoiser, sampler, images, options.n, progress)
        written = interpolation.write_interpolation(result, sampler, options.images, out)
    errors = ", ".join(f"{error:.4f}" for error in result.round_trip.tolist())
    print(f"round trip errors (root mean square): {errors}; wrote {written}")
