"""The commands `hqdm carleman fit | sample | ...`: sampling a trained model without its network."""

import time
import warnings
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hqdm.cli.options import (
    Parser,
    add_checkpoint,
    add_data,
    add_kinds,
    add_noise,
    add_output,
    load_model,
)
from hqdm.storage.claims import claim, lock_of
from hqdm.utils.errors import HQDMError, check_names, unknown
from hqdm.utils.tables import Sheet, counted, show

if TYPE_CHECKING:
    from hqdm.carleman.magnus import Backend
    from hqdm.data.sets import ImageSet
    from hqdm.diffusion.denoiser import Denoiser
    from hqdm.surrogate.fit import CarlemanFit
    from hqdm.surrogate.learned import ClassFits
    from hqdm.surrogate.report_files import ReportFiles
    from hqdm.utils.progress import Progress

DIM, PCA_DEGREE = 4, 3
BACKENDS = ("direct", "qlss", "lchs", "schrodingerisation")
ROWS = 12


def add_fit(parser: Parser) -> None:
    """Add the options of the model and its fit."""
    add_checkpoint(parser)
    parser.add_argument("--fit", help="file of `hqdm carleman fit` (next to the checkpoint)")


def add_system(parser: Parser) -> None:
    """Add the options of the linear system."""
    parser.add_argument(
        "--order", type=int, help="truncation order N (5; in latents of an autoencoder 3)"
    )
    parser.add_argument(
        "--closure", help="least_squares or drop (least_squares; in those of an autoencoder drop)"
    )
    parser.add_argument("--basis", default="monomial", help="monomial or hermite (monomial)")


def fit(args: Sequence[str]) -> None:
    """Fit latents and a polynomial for the noise to a trained model."""
    parser = Parser("hqdm carleman fit", description=fit.__doc__)
    add_checkpoint(parser)
    add_data(parser, "data set on which the model was trained")
    parser.add_argument(
        "--latents", help="pca, or learned: those of an autoencoder (learned if the model is one)"
    )
    parser.add_argument("--dim", type=int, help="latent dimension d of pca (4)")
    parser.add_argument(
        "--degree", type=int, help="degree of the polynomial, 1 to 3 (pca: 3, learned: 2)"
    )
    parser.add_argument(
        "--target", help="of pca: fit to the denoiser or the noise (denoiser); learned: noise"
    )
    parser.add_argument("--samples", type=int, help="noised images per node (2048; noise: 20000)")
    parser.add_argument("--nodes", type=int, default=48, help="nodes in lambda (48)")
    parser.add_argument("--ridge", type=float, default=1e-4, help="weight of the penalty (1e-4)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (0)")
    add_output(parser, None, "file to write (next to the checkpoint)")
    options = parser.parse_args(args)

    from hqdm.nn.autoencoders import Autoencoder
    from hqdm.surrogate.fit import LEARNED, PRINCIPAL
    from hqdm.surrogate.fit_files import fit_path
    from hqdm.surrogate.learned import ClassFits
    from hqdm.utils.files import together
    from hqdm.utils.progress import progress_bar

    out = Path(options.out) if options.out else fit_path(Path(options.checkpoint))
    denoiser = load_model(options)
    if options.latents is None:
        options.latents = LEARNED if isinstance(denoiser.network, Autoencoder) else PRINCIPAL
    check_names("latents", [options.latents], (PRINCIPAL, LEARNED))
    if options.latents == LEARNED and (options.dim is not None or options.target is not None):
        raise HQDMError(
            "--dim and --target are of the latents pca: an autoencoder has its own dimension, and "
            "its fit is one of the noise; leave them out"
        )
    plot = out.with_suffix(".png")
    with claim(out.parent, (out.name, plot.name), options.overwrite, lock_of(out)):
        with progress_bar() as progress:
            images = training_images(options, denoiser, progress)
            started = time.monotonic()
            found = fitted(denoiser, images, options, progress)
        seconds = time.monotonic() - started
        with together():
            found.save(out)
            found.save_plot(plot)
    fits = found.fits if isinstance(found, ClassFits) else (found,)
    latents, noise = fits[0].latents, fits[0].noise
    lam = noise.nodes - latents.time(0.0)
    shown = range(0, len(lam), max(1, len(lam) // ROWS))
    rows = [(f"{lam[place]:.2f}", *(f"{fit.r2[place]:.4f}" for fit in fits)) for place in shown]
    title = f"noise of degree {noise.degree} in {out.name}"
    names = ["R² held out"] if len(fits) == 1 else [f"class {k}" for k in range(len(fits))]
    show(Sheet(title, ("lambda", *names), rows))
    if options.latents == PRINCIPAL:
        sign = "dissipative" if latents.dissipative else "not dissipative"
        print(
            f"{latents.dim} latents explain {latents.explained:.1%} of the variance; divided by "
            f"{latents.scale:.3f}, the largest variance is {latents.largest:.2f}, so that the "
            f"linear drift of Gaussian data is {sign}"
        )
    else:
        print(f"{latents.dim} latents of the autoencoder, whitened to variance {latents.largest}")
    print(f"{seconds:.1f} s; wrote {out}, {plot}")


def fitted(
    denoiser: "Denoiser", images: "ImageSet", options: Namespace, progress: "Progress"
) -> "CarlemanFit | ClassFits":
    """The fit with the options of `hqdm carleman fit`."""
    from hqdm.surrogate.fit import LEARNED, fit_carleman
    from hqdm.surrogate.learned import DEGREE, fit_learned

    common = {
        **{key: vars(options)[key] for key in ("samples", "nodes", "ridge", "seed")},
        **{"labels": images.labels, "progress": progress},
    }
    if options.latents == LEARNED:
        degree = DEGREE if options.degree is None else options.degree
        return fit_learned(denoiser, images.images, degree, **common)
    return fit_carleman(
        denoiser,
        images.images,
        DIM if options.dim is None else options.dim,
        PCA_DEGREE if options.degree is None else options.degree,
        target=options.target or "denoiser",
        **common,
    )


def sample(args: Sequence[str]) -> None:
    """Generate images by linear maps, optionally with the network for the last steps."""
    parser = Parser("hqdm carleman sample", description=sample.__doc__)
    add_fit(parser)
    add_system(parser)
    parser.add_argument(
        "--segments", type=int, default=8, help="number of segments, each with a new lift (8)"
    )
    parser.add_argument(
        "--expansion",
        default="spline",
        help="coefficients in lambda: spline, dpm1 to dpm3, unipc1 to unipc3 (spline)",
    )
    parser.add_argument(
        "--backend",
        default="direct",
        help="direct, qlss, lchs or schrodingerisation (direct)",
    )
    parser.add_argument("--then", help="sampler of the last steps, with the network, e.g. unipc")
    parser.add_argument("--steps", type=int, help="steps of that sampler (5)")
    parser.add_argument("--switch", type=float, help="lambda at which that sampler starts")
    add_noise(parser, n=64)
    parser.add_argument("--batch-size", type=int, default=1024, help="images per batch (1024)")
    add_kinds(parser)
    add_output(parser, "samples")
    options = parser.parse_args(args)

    from hqdm.diffusion.loading import model_digest
    from hqdm.generation.files import check_no_others
    from hqdm.generation.sampling import sample_files, sample_images, write_samples
    from hqdm.samplers.registry import sampler_entry
    from hqdm.surrogate.learned import load_fit
    from hqdm.surrogate.names import CARLEMAN
    from hqdm.surrogate.sampler import build_carleman
    from hqdm.utils.progress import progress_bar

    if options.guidance != 1:
        raise HQDMError("carleman was fitted without guidance: leave --guidance out")
    if options.then is None and (options.steps, options.switch) != (None, None):
        raise HQDMError("--steps and --switch need the hybrid mode: name a sampler with --then")
    denoiser = load_model(options)
    found = load_fit(Path(options.checkpoint), denoiser, options.fit)
    own = {
        **{key: vars(options)[key] for key in ("order", "closure", "basis", "expansion")},
        "backend": backend_named(options.backend),
    }
    own = {key: value for key, value in own.items() if value is not None}
    if options.then is None:
        sampler = build_carleman(found, options.segments, **own)
    else:
        if options.switch is not None:
            own["switch"] = options.switch
        name = f"{CARLEMAN}+{options.then}"
        sampler_entry(name)  # refuses an unknown name
        own["segments"] = options.segments
        sampler = build_carleman(found, options.steps, options.then, **own)
        sampler.name = name
    out = Path(options.out)
    if options.backend != "direct":  # solves for each image separately
        options.batch_size = 1
    settings = {**vars(options), "checkpoint_sha256": model_digest(options.checkpoint)}
    files = sample_files(denoiser, options.n, None, options.save)
    with claim(out, files, options.overwrite):
        check_no_others(out, files)
        given = {key: vars(options)[key] for key in ("seed", "batch_size")}
        with progress_bar() as bar:
            progress = bar
            if options.backend != "direct":
                progress = _estimating(bar, options.backend, options.n * sampler.steps)
            samples = sample_images(denoiser, sampler, options.n, **given, progress=progress)
            written = write_samples(sampler, samples, out, settings, options.save, bar)
    facts = {
        "images": str(options.n),
        "seconds": f"{samples.seconds:.2f}",
        "network evaluations": str(samples.evaluations),
        "lifted dimension": str(len(sampler.system)),
        "linear maps": str(options.segments),
    }
    show(Sheet("", tuple(facts), [tuple(facts.values())], n_text=0))
    print(f"wrote {written}")


def _estimating(progress: "Progress", backend: str, systems: int) -> "Progress":
    """Warn of the duration of a backend: at once, and with an estimate after the first image.

    Args:
        progress: Receives all reports.
        backend: Name of the backend.
        systems: Number of linear systems that it solves.
    """
    started = time.monotonic()
    warnings.warn(
        f"the {backend} backend solves {counted(systems, 'linear system')}, one per image and "
        "segment, and the first image tells for how long; --backend direct takes seconds",
        UserWarning,
        stacklevel=2,
    )

    def told(task: str, done: int, total: int) -> None:
        progress(task, done, total)
        if task == "images" and done == 1 < total:
            seconds = time.monotonic() - started
            left = timedelta(seconds=round(seconds * (total - 1)))
            warnings.warn(
                f"the first image took {seconds:.1f} s, so that the other {total - 1} take about "
                f"{left} (hours:minutes:seconds)",
                UserWarning,
                stacklevel=2,
            )

    return told


def training_images(options: Namespace, denoiser: "Denoiser", progress: "Progress") -> "ImageSet":
    """The training images of `--data` in the size of the model."""
    from hqdm.data.images import load_images

    channels, size, _ = denoiser.image_shape
    return load_images(
        options.data,
        "train",
        size=size,
        channels=channels,
        offline=options.offline,
        skip_bad=options.skip_bad,
        progress=progress,
    )


def whole_numbers(text: str) -> tuple[int, ...]:
    """Parse whole numbers from 1, separated by commas; sorted, without duplicates.

    Raises:
        ArgumentTypeError: If an item is not a whole number from 1.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise ArgumentTypeError(f"expected whole numbers from 1, separated by commas, got {text!r}")
    return tuple(sorted({int(part) for part in parts}))


def analyse(args: Sequence[str]) -> None:
    """Measure each error of the linearised sampler separately, and the total error."""
    parser = Parser("hqdm carleman analyse", description=analyse.__doc__)
    add_fit(parser)
    add_system(parser)
    parser.add_argument(
        "--orders", type=whole_numbers, default="2,3,4,5", help="orders of the table (2,3,4,5)"
    )
    parser.add_argument(
        "--segments",
        type=whole_numbers,
        default="4,8,16",
        help="numbers of segments of the table; the largest for all other errors (4,8,16)",
    )
    parser.add_argument("--n", type=int, default=500, help="initial values (500)")
    parser.add_argument(
        "--network-n", type=int, default=128, help="initial values for the network's flow (128)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed (0)")
    add_output(parser, "carleman-analysis")
    options = parser.parse_args(args)

    from hqdm.surrogate.analysis import Analysis
    from hqdm.surrogate.analysis import analyse as study
    from hqdm.surrogate.analysis_report import ANALYSIS
    from hqdm.surrogate.fit import CarlemanFit
    from hqdm.surrogate.latents import LearnedLatents
    from hqdm.surrogate.learned import load_fit

    given = {f.name: vars(options)[f.name] for f in fields(Analysis)}
    settings = Analysis(**{key: value for key, value in given.items() if value is not None})
    denoiser = load_model(options)
    found = load_fit(Path(options.checkpoint), denoiser, options.fit)
    if not isinstance(found, CarlemanFit) or isinstance(found.latents, LearnedLatents):
        raise HQDMError(
            "analyse compares with the network's flow, which an autoencoder has not: use the fit "
            "of a denoiser"
        )
    write_study(ANALYSIS, options, lambda progress: study(denoiser, found, settings, progress))


def resources(args: Sequence[str]) -> None:
    """Estimate the quantum resources per sample, and the classical costs."""
    parser = Parser("hqdm carleman resources", description=resources.__doc__)
    add_checkpoint(parser)
    add_data(parser, "data set on which the model was trained")
    parser.add_argument(
        "--dims", type=whole_numbers, default="2,3,4,6,8", help="dimensions d (2,3,4,6,8)"
    )
    parser.add_argument("--order", type=int, default=3, help="truncation order N (3)")
    parser.add_argument(
        "--orders", type=whole_numbers, default="2,3,4", help="orders compared at one d (2,3,4)"
    )
    parser.add_argument(
        "--degree", type=int, default=3, help="degree of the polynomials, 1 to 3 (3)"
    )
    parser.add_argument("--segments", type=int, default=8, help="segments per sample (8)")
    parser.add_argument(
        "--tolerance", type=float, default=0.01, help="relative error of a sample (0.01)"
    )
    parser.add_argument(
        "--extrapolate",
        type=whole_numbers,
        default="10,100,1000,10000,100000,1000000",
        help="larger dimensions to extrapolate to (10,100,1000,10000,100000,1000000)",
    )
    parser.add_argument("--samples", type=int, default=5000, help="noised images per node (5000)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (0)")
    add_output(parser, "carleman-resources")
    options = parser.parse_args(args)

    from hqdm.surrogate.resources import Study, study
    from hqdm.surrogate.resources_report import RESOURCES

    settings = Study(**{f.name: vars(options)[f.name] for f in fields(Study)})
    denoiser = load_model(options)

    def measured(progress: "Progress") -> dict[str, Any]:
        images = training_images(options, denoiser, progress)
        return study(denoiser, images.images, settings, progress)

    write_study(RESOURCES, options, measured)


def wave(args: Sequence[str]) -> None:
    """Move the wave function of the fitted flow of one or two latents, and compare its density."""
    parser = Parser("hqdm carleman wave", description=wave.__doc__)
    add_fit(parser)
    parser.add_argument(
        "--qubits", type=whole_numbers, default="4,5,6", help="qubits of a coordinate (4,5,6)"
    )
    parser.add_argument("--extent", type=float, default=4.5, help="half of the grid's side (4.5)")
    parser.add_argument(
        "--steps", type=int, default=32, help="steps in lambda of exact exponentials (32)"
    )
    parser.add_argument(
        "--products",
        type=whole_numbers,
        default="16,32,64",
        help="steps of the products of rotations (16,32,64)",
    )
    parser.add_argument("--n", type=int, default=1000, help="samples in the picture (1000)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (0)")
    add_output(parser, "carleman-wave")
    options = parser.parse_args(args)

    from hqdm.surrogate.fit import CarlemanFit
    from hqdm.surrogate.learned import load_fit
    from hqdm.surrogate.waves.report import WAVES
    from hqdm.surrogate.waves.study import Waves, study

    settings = Waves(**{f.name: vars(options)[f.name] for f in fields(Waves)})
    found = load_fit(Path(options.checkpoint), load_model(options), options.fit)
    if not isinstance(found, CarlemanFit):
        raise HQDMError("wave needs one fit, got one for each class: use a model without classes")
    write_study(WAVES, options, lambda progress: study(found, settings, progress))


def write_study(
    files: "ReportFiles", options: Namespace, study: "Callable[[Progress], dict[str, Any]]"
) -> None:
    """Run a study, print its tables, and write its files to `--out`.

    Args:
        files: The files.
        options: The options of the command.
        study: The study, whose results are written.

    Raises:
        HQDMError: If the folder holds such files, or they cannot be written.
    """
    from hqdm.utils.progress import progress_bar

    out = Path(options.out)
    with claim(out, files.names, options.overwrite):
        with progress_bar() as progress:
            report = study(progress)
        written = files.write(report, out)
    show(files.page(report))
    print(f"wrote {written}")


def backend_named(name: str) -> "Backend":
    """The backend of a given name, with default options.

    Raises:
        HQDMError: If the name is unknown.
    """
    from hqdm.carleman.lchs.solver import LCHS
    from hqdm.carleman.magnus import Direct
    from hqdm.carleman.qlss.solver import QLSS
    from hqdm.carleman.schrodingerisation.solver import Schrodingerisation

    if name not in BACKENDS:
        raise unknown("backend", name, BACKENDS)
    kinds = (Direct, QLSS, LCHS, Schrodingerisation)
    return dict(zip(BACKENDS, kinds, strict=True))[name]()


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "fit": fit,
    "sample": sample,
    "analyse": analyse,
    "resources": resources,
    "wave": wave,
}


def run(argv: Sequence[str]) -> None:
    """Sample without the network: Carleman linearisation, its errors and its quantum cost.

    Raises:
        HQDMError: On bad input.
    """
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        lines = [f"  {name:<{width}}  {command.__doc__}" for name, command in COMMANDS.items()]
        print("\n".join(["usage: hqdm carleman COMMAND [options]", "", *lines]))
    elif argv[0] not in COMMANDS:
        raise unknown("command of hqdm carleman", argv[0], COMMANDS)
    else:
        COMMANDS[argv[0]](argv[1:])
