"""Images from the latents of an autoencoder by a linearised flow, with its floor and its controls.

    python benchmarks/learned_latents.py [--data mnist] [--seeds 3] [--out FOLDER] [--quick]

For each random seed an autoencoder is trained by `configs/mnist_autoencoder.yaml`, and these are
scored, in the order of the table:

    real images                 test images
    reconstruction              test images through the autoencoder: the floor of all that follow
    Gaussian, all classes       a normal distribution of the latents of all classes
    quadratic, all classes      the flow of a noise polynomial of degree 2, linearised
    Gaussian of each class      the same for the latents of each class
    quadratic of each class
    network                     a multilayer perceptron in the latents, with labels, by UniPC
    permuted latents            each latent from another training image of the class

The score is the FID to all training images, in the limit of many samples; its mean over the random
seeds has a 95 % interval by Student's t, which contains the error of a single score. The share of
the gap is that between the Gaussian of all classes and the reconstruction that is closed. Then the
truncation error of the linearised flow by order and segments, and the seconds of 10,000 images
beside those of UniPC with 10 evaluations of a U-Net. Every finished seed is kept in
`learned_latents_DATA.json`.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import torch
from amplitude_table import with_interval
from rich.console import Console
from simulators import RESULTS, machine
from speed.report import Table, machine_lines
from speed.settings import Settings
from timed_training import QUIET, averaged, resumed
from torch import Tensor, nn

from hqdm.carleman.analysis import integrate, relative_errors
from hqdm.carleman.monomials import n_monomials
from hqdm.cli.commands.fit import TrainingCLI
from hqdm.data.images import ImageSet, load_images
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.loading import load_denoiser
from hqdm.metrics import load_extractor
from hqdm.metrics.distribution import extract
from hqdm.metrics.features import extractor_for
from hqdm.metrics.uncertainty import fid_infinity
from hqdm.nn.autoencoders import Autoencoder
from hqdm.samplers import Sampler, UniPC
from hqdm.surrogate.analysis import even_edges, propagate
from hqdm.surrogate.fit import CarlemanFit
from hqdm.surrogate.latents import LearnedLatents
from hqdm.surrogate.learned import ClassFits, encode, fit_learned
from hqdm.surrogate.noise_polynomial import DiffusionDrift
from hqdm.surrogate.sampler import LEARNED_SYSTEM, Carleman, build_carleman
from hqdm.utils.errors import HQDMError
from hqdm.utils.files import write_file
from hqdm.utils.pixels import to_float
from hqdm.utils.seeds import ImageNoise

ROOT = Path(__file__).parents[1]
CONFIG, UNET = ROOT / "configs/mnist_autoencoder.yaml", ROOT / "benchmarks/models/mnist_unet"
ORDERS, SEGMENTS = (2, 3), (8, 16, 32)
STARTS = 50  # of each class, for the truncation error
NETWORK_STEPS, NETWORK_EVALUATIONS = 4000, 50
WIDTH, BATCH = 256, 512
FLOOR, GAUSSIAN = "reconstruction", "Gaussian, all classes"


class LatentNetwork(nn.Module):
    """A multilayer perceptron on latents, times and labels, for the noise."""

    config: ClassVar[dict[str, Any]] = {}
    parts: ClassVar[dict[str, nn.Module]] = {}

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__()
        self.n_classes, self.sample_shape = n_classes, (dim,)
        self.label = nn.Embedding(n_classes + 1, WIDTH)
        self.time = nn.Linear(16, WIDTH)
        self.input = nn.Linear(dim, WIDTH)
        layers = [nn.Linear(WIDTH, WIDTH), nn.SiLU()] * 3
        self.hidden = nn.Sequential(nn.SiLU(), *layers, nn.Linear(WIDTH, dim))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LatentNetwork":
        """Networks of this script are not rebuilt."""
        raise NotImplementedError("nothing loads this network")

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The noise `(B, d)` of noised latents `(B, d)`."""
        assert y is not None
        phases = t[:, None] * torch.pi * torch.arange(1, 9, device=t.device)
        waves = torch.cat([phases.sin(), phases.cos()], 1)
        found: Tensor = self.hidden(self.input(x) + self.time(waves) + self.label(y))
        return found


def autoencoder(data: str, seed: int, steps: int | None) -> Denoiser:
    """Train an autoencoder by `CONFIG`."""
    with TemporaryDirectory() as scratch:
        given = ["--config", str(CONFIG), "--seed_everything", str(seed), "--data.name", data]
        given += [] if steps is None else ["--trainer.max_steps", str(steps)]
        cli = TrainingCLI([*given, *QUIET, "--out", str(Path(scratch) / "run")])
        cli.run()
    return averaged(cli.model)


def latent_network(
    autoencoder: Denoiser, z: Tensor, y: Tensor | None, seed: int, steps: int
) -> Denoiser:
    """Train a network in whitened latents."""
    torch.manual_seed(seed)
    assert autoencoder.n_classes is not None
    assert y is not None
    network = LatentNetwork(z.shape[1], autoencoder.n_classes)
    denoiser = Denoiser(network, autoencoder.schedule, "v")
    optimizer = torch.optim.Adam(denoiser.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        chosen = torch.randint(len(z), (BATCH,))
        optimizer.zero_grad()
        denoiser.loss(z[chosen], y[chosen]).backward()
        optimizer.step()
        schedule.step()
    return denoiser.eval()


@torch.no_grad()
def decoded(latents: LearnedLatents, z: Tensor, shape: Sequence[int]) -> Tensor:
    """The images `(N, C, H, W)` of whitened latents `(N, d)`."""
    parts = z.float().split(1000)
    return torch.cat([latents.images(part, 1.0, torch.zeros(len(part), *shape)) for part in parts])


@torch.no_grad()
def reconstruction(denoiser: Denoiser, images: Tensor) -> Tensor:
    """Images through the autoencoder."""
    encoded = torch.as_tensor(encode(denoiser, images)).to(denoiser.dtype)
    assert isinstance(denoiser.network, Autoencoder)
    return torch.cat([denoiser.network.decode(part) for part in encoded.split(1000)])


def drawn(denoiser: Denoiser, sampler: Sampler, n: int, seed: int) -> Tensor:
    """Samples, of all classes in turn."""
    classes = denoiser.n_classes
    y = None if classes is None else torch.arange(n) % classes
    return sampler(denoiser, ImageNoise(seed, n).draw(denoiser.sample_shape), y)


class Rows:
    """The images of each row of the table, for one autoencoder.

    Args:
        denoiser: The autoencoder.
        train: The training images.
        seed: Random seed of fits and samples.
        quick: Fit and train almost nothing.
    """

    def __init__(self, denoiser: Denoiser, train: ImageSet, seed: int, quick: bool) -> None:
        self.denoiser, self.train, self.seed = denoiser, train, seed
        self.options: dict[str, Any] = {"samples": 500, "nodes": 6} if quick else {}
        self.steps = 2 if quick else NETWORK_STEPS

    def fit(self, degree: int, each: bool) -> CarlemanFit | ClassFits:
        """The fit of a degree, of each class or of all images."""
        labels = self.train.labels if each else None
        return fit_learned(
            self.denoiser, self.train.images, degree, labels=labels, seed=self.seed, **self.options
        )

    def flow(self, n: int, degree: int, each: bool) -> Tensor:
        """Samples of the linearised flow; that of degree 1 is linear as it stands."""
        order = 1 if degree == 1 else LEARNED_SYSTEM["order"]
        sampler = build_carleman(self.fit(degree, each), order=order)
        return drawn(self.denoiser, sampler, n, self.seed)

    def network(self, n: int) -> Tensor:
        """Samples of a network that is trained in the latents of all classes."""
        latents = latents_of(self.fit(1, False))
        z = torch.as_tensor(latents.whitened(encode(self.denoiser, self.train.images))).float()
        trained = latent_network(self.denoiser, z, self.train.labels, self.seed, self.steps)
        return decoded(
            latents,
            drawn(trained, UniPC(NETWORK_EVALUATIONS), n, self.seed),
            self.denoiser.sample_shape,
        )

    def permuted(self, n: int) -> Tensor:
        """Each latent drawn from those of the class independently of the others."""
        fits = self.fit(1, True)
        assert isinstance(fits, ClassFits)
        rng, parts = np.random.default_rng(self.seed), []
        for k, own in enumerate(fits.fits):
            count = len(range(k, n, len(fits.fits)))
            z = np.stack([rng.choice(column, count) for column in own.points.T], 1)
            shape = self.denoiser.sample_shape
            parts.append(decoded(latents_of(own), torch.as_tensor(z), shape))
        return torch.cat(parts)

    def all(self, test: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The rows by name, as many images of each as there are test images."""
        n = len(test)
        yield "real images", to_float(test)
        yield FLOOR, reconstruction(self.denoiser, test)
        yield GAUSSIAN, self.flow(n, 1, each=False)
        yield "quadratic, all classes", self.flow(n, 2, each=False)
        yield "Gaussian of each class", self.flow(n, 1, each=True)
        yield "quadratic of each class", self.flow(n, 2, each=True)
        yield f"network, {NETWORK_EVALUATIONS} evaluations", self.network(n)
        yield "permuted latents of each class", self.permuted(n)


def latents_of(fit: CarlemanFit | ClassFits) -> LearnedLatents:
    """The latents of a fit of all images."""
    assert isinstance(fit, CarlemanFit)
    assert isinstance(fit.latents, LearnedLatents)
    return fit.latents


def truncation(fits: ClassFits, seed: int) -> list[dict[str, Any]]:
    """Errors of the linearised flow against the polynomial equation, over all classes.

    Starting points from which the equation itself diverges are counted, and left out.
    """
    errors: dict[tuple[int, int], list[float]] = {}
    diverged = 0
    for fit in fits.fits:
        starts = np.random.default_rng(seed).normal(size=(STARTS, fit.latents.dim))
        first, last = even_edges(fit, 1)
        kept, ends = [], []
        for start in starts.reshape(-1, 1, fit.latents.dim):
            try:
                ends.append(integrate(DiffusionDrift(fit.noise), start, first, last))
                kept.append(start)
            except HQDMError:
                diverged += 1
        for order, segments in product(ORDERS, SEGMENTS):
            sampler = Carleman(fit, segments, order, closure="drop")
            found = propagate(sampler, np.concatenate(kept), even_edges(fit, segments))
            one = relative_errors(found, np.concatenate(ends))
            errors.setdefault((order, segments), []).extend(one)
    starts_in_all = STARTS * len(fits.fits)
    return [
        {
            **{"order": order, "segments": segments, "dimension": n_monomials(dim_of(fits), order)},
            **{"median": float(np.median(one)), "q95": float(np.quantile(one, 0.95))},
            "diverged": diverged / starts_in_all,
        }
        for (order, segments), one in errors.items()
    ]


def dim_of(fits: ClassFits) -> int:
    """The number of latents."""
    return fits.fits[0].latents.dim


def seconds_of(denoiser: Denoiser, sampler: Sampler, n: int) -> float:
    """Seconds per image of samples, after a first batch."""
    drawn(denoiser, sampler, min(n, 20), 0)
    started = time.perf_counter()
    for first in range(0, n, 1000):
        drawn(denoiser, sampler, min(1000, n - first), first)
    return (time.perf_counter() - started) / n


def measure(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train one autoencoder, and measure everything with it."""
    steps = 4 if options.quick else None
    denoiser = autoencoder(options.data, seed, steps)
    channels, size, _ = denoiser.image_shape
    shape = {"size": size, "channels": channels}
    train = load_images(options.data, "train", limit=2000 if options.quick else None, **shape)
    test = load_images(options.data, "test", limit=options.n, **shape).images
    extractor = load_extractor(extractor_for(options.data, size, channels))
    reference = extract(train.images, extractor)[0]
    rows = Rows(denoiser, train, seed, options.quick)
    scores = {}
    for name, images in rows.all(test):
        found = fid_infinity(reference, extract(images, extractor)[0], seed)
        scores[name] = {"fid": found.value, "error": found.error}
    run: dict[str, Any] = {"seed": seed, "scores": scores}
    if seed == 0:
        fits = rows.fit(2, each=True)
        assert isinstance(fits, ClassFits)
        run["truncation"] = truncation(fits, seed)
        unet = load_denoiser(UNET)
        run["seconds"] = {
            "carleman": seconds_of(denoiser, build_carleman(fits), options.speed),
            "unipc": seconds_of(unet, UniPC(10), max(8, options.speed // 40)),
        }
    return run


def tables(results: dict[str, Any]) -> list[Table]:
    """The table of scores, that of the truncation error, and the seconds."""
    runs, settings = results["runs"], results["settings"]
    body = []
    for name in runs[0]["scores"]:
        values = [run["scores"][name]["fid"] for run in runs]
        error = fmean(run["scores"][name]["error"] for run in runs)
        shares = [share(run["scores"], name) for run in runs]
        body.append((name, with_interval(values), f"{error:.2g}", with_interval(shares)))
    notes = [
        f"{settings['data']}, {settings['n']:,} images, {len(runs)} random seeds of the "
        "autoencoder; FID to all training images in the limit of many samples.",
        "Share of the gap between the Gaussian of all classes and the reconstruction.",
        *machine_lines(results["machines"]),
    ]
    columns = ("images", "FID", "standard error of one", "share of the gap")
    found = [Table("Images from latents", columns, body, notes=notes)]
    first = next(run for run in runs if run["seed"] == 0)
    rows = [
        (
            *(str(one["order"]), str(one["segments"]), f"{one['dimension']:,}"),
            *(f"{one[key]:.2%}" for key in ("median", "q95", "diverged")),
        )
        for one in first["truncation"]
    ]
    seconds = first["seconds"]
    ratio = seconds["unipc"] / seconds["carleman"]
    note = (
        f"Milliseconds per image: {1e3 * seconds['carleman']:.3g} without the network, "
        f"{1e3 * seconds['unipc']:.3g} by UniPC with 10 evaluations of the U-Net, {ratio:.0f} "
        "times as long."
    )
    columns = ("N", "segments", "lifted dimension", "median error", "95 % quantile", "diverged")
    found.append(Table("Linearised flow against the polynomial equation", columns, rows, 1, [note]))
    return found


def share(scores: dict[str, dict[str, float]], name: str) -> float:
    """The share of the gap that a row closes."""
    top, floor = scores[GAUSSIAN]["fid"], scores[FLOOR]["fid"]
    return (top - scores[name]["fid"]) / (top - floor)


def main() -> None:
    """Measure what is missing, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist", help="data set (mnist)")
    parser.add_argument("--seeds", type=int, default=3, help="random seeds (3)")
    parser.add_argument("--quick", action="store_true", help="almost no training, as a test")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results, none with --quick")
    options = parser.parse_args()
    options.n, options.speed = (200, 40) if options.quick else (10_000, 10_000)
    folder = options.out or (None if options.quick else RESULTS)
    name = f"learned_latents_{options.data}"
    file = folder / f"{name}.json" if folder else None
    results = resumed(
        file,
        {"data": options.data, "n": options.n},
        machine(Settings(options.quick, torch.get_num_threads(), ())),
    )
    for seed in range(options.seeds):
        if seed in {run["seed"] for run in results["runs"]}:
            continue
        results["runs"].append(measure(seed, options))
        if file is not None and folder is not None:
            write_file(file, json.dumps(results, indent=1) + "\n")
            head = f"<!-- written by benchmarks/{Path(__file__).name} -->"
            text = "\n\n".join([head, *(table.section() for table in tables(results))])
            write_file(folder / f"{name}.md", f"{text}\n")
    for table in tables(results):
        table.print(Console())


if __name__ == "__main__":
    main()
