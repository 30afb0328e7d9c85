"""`hqdm optimise-grid`: fit a sampler's grid of times to a trained model."""

from collections.abc import Sequence
from pathlib import Path

from hqdm.cli.options import Parser, add_checkpoint, add_noise, add_output, load_model
from hqdm.storage.claims import claim, lock_of
from hqdm.utils.errors import HQDMError


def run(args: Sequence[str]) -> None:
    """Fit a sampler's grid of times to a trained model."""
    parser = Parser("hqdm optimise-grid", description=run.__doc__)
    add_checkpoint(parser)
    parser.add_argument("--sampler", default="unipc3", help="a deterministic sampler (unipc3)")
    parser.add_argument("--steps", type=int, default=10, help="sampler steps (10)")
    parser.add_argument(
        "--method",
        default="powell",
        help="powell (the sampler's error), gits (errors of Euler steps) or ays (a bound of the KL "
        "divergence) (powell)",
    )
    add_noise(parser, n=64)
    parser.add_argument("--trials", type=int, help="grids to try with powell (200)")
    add_output(parser, "grid.json", "file to write")
    options = parser.parse_args(args)

    from hqdm.diffusion.denoiser import class_labels
    from hqdm.generation.sampling import guided, image_batches
    from hqdm.samplers import optimised
    from hqdm.utils.progress import progress_bar

    out = Path(options.out)
    if out.suffix != ".json":
        raise HQDMError(f"--out needs a name that ends in .json, got {out}")
    denoiser = load_model(options)
    denoising = guided(denoiser, options.guidance)
    image_batches(denoiser.sample_shape, options.n, options.n, options.seed)  # refuses bad numbers
    with claim(out.parent, (out.name,), options.overwrite, lock_of(out)):
        device = next(denoiser.parameters()).device
        prior_std = denoiser.schedule.prior_std
        noises = optimised.noise_pair(options.seed, options.n, denoiser.sample_shape, prior_std)
        labels = class_labels(denoiser, options.n, None)
        with progress_bar() as progress:
            grid = optimised.optimise_grid(
                denoising,
                options.sampler,
                options.steps,
                *(noise.to(device, denoiser.working_dtype) for noise in noises),
                method=options.method,
                y=None if labels is None else labels.to(device),
                seed=options.seed,
                trials=options.trials,
                progress=progress,
            )
        grid.write(out)
    print(
        f"error on other noise: {grid.before:.4f} on the uniform grid in lambda, "
        f"{grid.after:.4f} on the new grid; wrote {out}: "
        f"hqdm sample --sampler {grid.sampler} --grid {out}"
    )
