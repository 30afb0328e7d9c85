"""The command line: `hqdm fit | sample | evaluate | compare-samplers | ...`.

Every command refuses bad input with one line and exit code 2, and overwrites nothing unless told.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from hqdm import __version__
from hqdm.errors import HQDMError, Interrupted, unknown
from hqdm.folders import claim_files
from hqdm.options import (
    Parser,
    add_checkpoint,
    add_drawing,
    add_noise,
    add_output,
    add_sampler,
    add_scores,
    fit_for,
    grid_of,
    load_model,
    protocol_of,
    sampler_of,
)

EXIT_BAD_INPUT = 2
EXIT_SIGNAL = 128


def fit(args: Sequence[str]) -> None:
    """Train a model."""
    from hqdm.training.cli import TrainingCLI

    TrainingCLI(args).run()


def sample(args: Sequence[str]) -> None:
    """Draw images from a trained model."""
    parser = Parser("hqdm sample", description=sample.__doc__)
    add_checkpoint(parser)
    add_sampler(parser, n=64)
    parser.add_argument("--label", type=int, help="class of all images (each class in turn)")
    parser.add_argument(
        "--devices", type=int, default=1, help="processes to spread images over (1)"
    )
    parser.add_argument("--strategy", default="auto", help="how to start them: auto or ddp (auto)")
    add_output(parser, "samples")
    options = parser.parse_args(args)

    from hqdm.sampling import SAMPLE_FILES, progress_bar, sample_images, write_samples

    out = Path(options.out)
    denoiser = load_model(options)
    sampler = sampler_of(options, denoiser)
    claim_files(out, SAMPLE_FILES, options.overwrite)
    given = {key: vars(options)[key] for key in ("seed", "label", "guidance", "batch_size")}
    if (options.devices, options.strategy) == (1, "auto"):
        with progress_bar() as progress:
            samples = sample_images(denoiser, sampler, options.n, **given, progress=progress)
    else:
        from hqdm.sharding import sample_sharded  # Lightning is slow to import

        gathered = sample_sharded(
            denoiser,
            sampler,
            options.n,
            **given,
            devices=options.devices,
            strategy=options.strategy,
            accelerator=next(denoiser.parameters()).device.type,
            progress=sys.stdout.isatty(),
        )
        if gathered is None:  # another process has them
            return
        samples = gathered
    written = write_samples(denoiser, sampler, samples, out, vars(options))
    print(f"{options.n} images, {samples.effort}: {written}")


def evaluate(args: Sequence[str]) -> None:
    """Score a trained model: FID, KID, IS, SSIM, PSNR, memorisation."""
    parser = Parser("hqdm evaluate", description=evaluate.__doc__)
    add_checkpoint(parser)
    add_sampler(parser, n=2048)
    add_scores(parser)
    parser.add_argument("--restore-t", type=float, default=0.5, help="noise level of pairs (0.5)")
    add_output(parser, None, "folder to write to (evaluation, beside the checkpoint)")
    options = parser.parse_args(args)

    from hqdm.evaluation import REPORT_FILES, score_table, write_report
    from hqdm.evaluation import evaluate as score
    from hqdm.sampling import progress_bar

    checkpoint = Path(options.checkpoint)
    beside = checkpoint if checkpoint.is_dir() else checkpoint.parent
    out = Path(options.out) if options.out else beside / "evaluation"
    denoiser = load_model(options)
    sampler = sampler_of(options, denoiser)
    claim_files(out, REPORT_FILES, options.overwrite)
    with progress_bar() as progress:
        report, images = score(denoiser, sampler, protocol_of(options), progress)
    written = write_report(report, images, out)
    Console().print(score_table(report))
    print(f"wrote {written}")


def compare_samplers(args: Sequence[str]) -> None:
    """Compare samplers of a trained model: FID against network evaluations and seconds."""
    parser = Parser("hqdm compare-samplers", description=compare_samplers.__doc__)
    add_checkpoint(parser)
    parser.add_argument(
        "--samplers",
        default="ddim,dpm3,unipc3",
        help="names between commas; name:evaluations, dpm-adaptive:tolerance (ddim,dpm3,unipc3)",
    )
    parser.add_argument("--nfe", default="5,10,20,50", help="numbers of evaluations (5,10,20,50)")
    add_drawing(parser, n=1024)
    add_scores(parser)
    parser.add_argument("--resume", action="store_true", help="take images that are in --out")
    add_output(parser, "comparison")
    options = parser.parse_args(args)

    from hqdm.comparison import (
        COMPARISON_FILES,
        Comparison,
        compare,
        comparison_table,
        parse_entries,
    )
    from hqdm.sampling import RECORD_FILE, progress_bar

    out = Path(options.out)
    entries = parse_entries(options.samplers, options.nfe)
    denoiser = load_model(options)
    grid = grid_of(options, entries[0].sampler, denoiser)
    fit = fit_for(tuple(entry.sampler for entry in entries), options, denoiser)
    records = [f"{entry.folder}/{RECORD_FILE}" for entry in entries]
    claim_files(out, (*COMPARISON_FILES, *records), options.overwrite or options.resume)
    comparison = Comparison(
        options.checkpoint, entries, protocol_of(options), out, grid, options.resume, fit
    )
    with progress_bar() as progress:
        report = compare(denoiser, comparison, progress)
    Console().print(comparison_table(report))
    print(f"wrote {', '.join(str(out / name) for name in COMPARISON_FILES)}")


def interpolate(args: Sequence[str]) -> None:
    """Draw what lies between two images, through their noise."""
    parser = Parser("hqdm interpolate", description=interpolate.__doc__)
    add_checkpoint(parser)
    parser.add_argument("--images", nargs=2, required=True, help="two image files of its size")
    parser.add_argument("--sampler", default="unipc3", help="a deterministic sampler (unipc3)")
    parser.add_argument("--steps", type=int, default=40, help="sampler steps (40)")
    parser.add_argument("--n", type=int, default=9, help="images in the strip (9)")
    add_output(parser, "interpolation")
    options = parser.parse_args(args)

    import torch

    from hqdm import interpolation
    from hqdm.pictures import read_image
    from hqdm.samplers import build_sampler
    from hqdm.sampling import progress_bar

    out = Path(options.out)
    denoiser = load_model(options)
    sampler = build_sampler(options.sampler, options.steps, "lambda")
    images = torch.stack([read_image(Path(file), denoiser.image_shape) for file in options.images])
    claim_files(out, interpolation.INTERPOLATION_FILES, options.overwrite)
    with progress_bar() as progress:
        result = interpolation.interpolate(denoiser, sampler, images, options.n, progress)
    written = interpolation.write_interpolation(result, sampler, options.images, out)
    errors = ", ".join(f"{error:.4f}" for error in result.round_trip.tolist())
    print(f"round trip errors (root mean square): {errors}; wrote {written}")


def inpaint(args: Sequence[str]) -> None:
    """Fill the hole in an image with what a trained model draws."""
    parser = Parser("hqdm inpaint", description=inpaint.__doc__)
    add_checkpoint(parser)
    parser.add_argument("--image", required=True, help="image file of the model's size")
    parser.add_argument(
        "--mask", required=True, help="image file of that size: white is filled, black is kept"
    )
    add_sampler(parser, n=7, sampler="unipc")
    parser.add_argument(
        "--resample", type=int, default=10, help="how often each step is taken, as in RePaint (10)"
    )
    parser.add_argument("--label", type=int, help="class of all images (each class in turn)")
    add_output(parser, "inpainting")
    options = parser.parse_args(args)

    from hqdm.inpainting import INPAINT_FILES, read_known, write_inpainting
    from hqdm.samplers import RePaint
    from hqdm.sampling import progress_bar, sample_images

    out = Path(options.out)
    denoiser = load_model(options)
    sampler = RePaint(sampler_of(options, denoiser), options.resample)
    known = read_known(Path(options.image), Path(options.mask), denoiser.image_shape)
    claim_files(out, INPAINT_FILES, options.overwrite)
    with progress_bar() as progress:
        samples = sample_images(
            denoiser,
            sampler,
            options.n,
            seed=options.seed,
            label=options.label,
            guidance=options.guidance,
            around=known.around,
            batch_size=options.batch_size,
            progress=progress,
        )
    written = write_inpainting(known, sampler, samples, out, vars(options))
    print(f"{options.n} fillings, {samples.effort}: {written}")


def optimise_grid(args: Sequence[str]) -> None:
    """Fit a sampler's grid of times to a trained model."""
    parser = Parser("hqdm optimise-grid", description=optimise_grid.__doc__)
    add_checkpoint(parser)
    parser.add_argument("--sampler", default="unipc3", help="a deterministic sampler (unipc3)")
    parser.add_argument("--steps", type=int, default=10, help="sampler steps (10)")
    add_noise(parser, n=64)
    parser.add_argument("--trials", type=int, default=200, help="grids to try (200)")
    add_output(parser, "grid.json", "file to write")
    options = parser.parse_args(args)

    from hqdm.samplers import optimised
    from hqdm.sampling import class_labels, guided, image_batches, progress_bar

    out = Path(options.out)
    if out.suffix != ".json":
        raise HQDMError(f"--out needs a name that ends in .json, got {out}")
    denoiser = load_model(options)
    denoising = guided(denoiser, options.guidance)
    image_batches(options.n, options.n, options.seed)  # refuses what cannot be drawn
    claim_files(out.parent, (out.name,), options.overwrite)
    device = next(denoiser.parameters()).device
    noises = optimised.noise_pair(options.seed, options.n, denoiser.image_shape)
    labels = class_labels(denoiser, options.n, None)
    with progress_bar() as progress:
        grid = optimised.optimise_grid(
            denoising,
            options.sampler,
            options.steps,
            *(noise.to(device) for noise in noises),
            y=None if labels is None else labels.to(device),
            seed=options.seed,
            trials=options.trials,
            progress=progress,
        )
    grid.write(out)
    print(
        f"error on other noise {grid.before:.4f} even in lambda, {grid.after:.4f} on the new grid; "
        f"wrote {out}: hqdm sample --sampler {grid.sampler} --grid {out}"
    )


def inspect(args: Sequence[str]) -> None:
    """Show a model: layers, parameter counts, circuits with depth and gates."""
    parser = Parser("hqdm inspect", description=inspect.__doc__)
    parser.add_argument("--config", help="a training configuration")
    add_checkpoint(parser, required=False)
    parser.add_argument(
        "--batch", type=int, default=128, help="images in a step, for the simulators (default 128)"
    )
    options = parser.parse_args(args)
    if options.batch < 1:
        raise HQDMError(f"batch needs 1 or more, got {options.batch}")
    if bool(options.config) == bool(options.checkpoint):
        raise HQDMError("inspect needs one of --config and --checkpoint")

    from hqdm.inspection import report

    if options.config:
        from hqdm.training.cli import TrainingCLI

        denoiser = TrainingCLI(["--config", options.config]).model.denoiser
    else:
        from hqdm.checkpoint import load_denoiser

        denoiser = load_denoiser(options.checkpoint)
    report(denoiser, Console(), options.batch)


def export(args: Sequence[str]) -> None:
    """Write a model as safetensors and config.json, without pickle."""
    parser = Parser("hqdm export", description=export.__doc__)
    add_checkpoint(parser)
    parser.add_argument("--out", required=True, help="folder to write to")
    parser.add_argument("--weights", default="averaged", choices=("averaged", "raw"))
    parser.add_argument("--overwrite", action="store_true", help="replace files in --out")
    options = parser.parse_args(args)

    from hqdm.checkpoint import load_denoiser
    from hqdm.storage import CONFIG_FILE, WEIGHTS_FILE

    denoiser = load_denoiser(options.checkpoint, options.weights)
    claim_files(Path(options.out), (CONFIG_FILE, WEIGHTS_FILE), options.overwrite)
    denoiser.save_pretrained(options.out)
    print(f"wrote {options.out}/{CONFIG_FILE} and {options.out}/{WEIGHTS_FILE}")


def demo(args: Sequence[str]) -> None:
    """Train a hybrid U-Net on 8x8 digits, sample it and score it, in under 5 minutes."""
    parser = Parser("hqdm demo", description=demo.__doc__)
    parser.add_argument("--out", default="runs/demo", help="folder of the run (runs/demo)")
    parser.add_argument("--steps", type=int, help="training steps")
    parser.add_argument("--overwrite", action="store_true", help="replace a run in --out")
    options = parser.parse_args(args)

    from hqdm.demo import run

    run(Path(options.out), options.steps, options.overwrite)


def carleman(args: Sequence[str]) -> None:
    """Sample without the network: Carleman linearisation, its errors and its quantum cost."""
    from hqdm.carleman_cli import dispatch_carleman

    dispatch_carleman(args)


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "fit": fit,
    "sample": sample,
    "evaluate": evaluate,
    "compare-samplers": compare_samplers,
    "optimise-grid": optimise_grid,
    "interpolate": interpolate,
    "inpaint": inpaint,
    "carleman": carleman,
    "inspect": inspect,
    "export": export,
    "demo": demo,
}


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {(command.__doc__ or '')}" for name, command in COMMANDS.items()]
    hint = "`hqdm COMMAND --help` lists the options of a command."
    return "\n".join(["usage: hqdm COMMAND [options]", "", *lines, "", hint])


def dispatch(argv: Sequence[str]) -> None:
    """Run one command.

    Raises:
        HQDMError: On bad input.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
    elif argv[0] == "--version":
        print(f"hqdm {__version__}")
    elif argv[0] not in COMMANDS:
        raise unknown("command", argv[0], COMMANDS)
    else:
        COMMANDS[argv[0]](argv[1:])


def _note(message: Warning | str, *_: object, **__: object) -> None:
    """Show a warning without the place in the source, which says nothing to a user."""
    print(f"note: {' '.join(str(message).split())}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0, or 2 after bad input, or 128 + the number of the signal that stopped training.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _note
            dispatch(sys.argv[1:] if argv is None else argv)
    except HQDMError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except Interrupted as stop:
        print(str(stop), file=sys.stderr)
        return EXIT_SIGNAL + stop.signum
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return EXIT_SIGNAL + 2
    return 0
