r"""The fit of the Carleman sampler to a trained model: latents, and a polynomial for the noise.

At nodes in lambda training images are noised, x_t = alpha x_0 + sigma eps, the model predicts the
noise, and its first d principal coordinates are fitted by a polynomial in the latents of x_t
(`hqdm.carleman.drift`). All nodes share images and noise, so that the coefficients vary smoothly
between nodes. The fit is saved in one file next to the checkpoint (`hqdm.surrogate.fit_files`).
That of an autoencoder is in `hqdm.surrogate.learned`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, get_type_hints

import numpy as np
import torch
from torch import Tensor

from hqdm.carleman.magnus import Vector
from hqdm.carleman.monomials import n_monomials
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import schedule_config
from hqdm.samplers.grids import T_CUT
from hqdm.surrogate.fit_files import not_a_fit, read_fit, write_fit
from hqdm.surrogate.latents import LARGEST_DIM, Latents, LearnedLatents
from hqdm.surrogate.noise_polynomial import (
    DEGREES,
    NoisePolynomial,
    fit_noise,
    gaussian_noise,
    levels,
)
from hqdm.utils.checks import check_types, finite, whole
from hqdm.utils.errors import HQDMError, about, check_names, unknown
from hqdm.utils.memory import check_memory
from hqdm.utils.pictures import save_figure
from hqdm.utils.pixels import to_float
from hqdm.utils.progress import Progress, silent, stepwise

PRINCIPAL, LEARNED = "pca", "learned"  # latents
TARGETS = ("denoiser", "noise")
SAMPLES = {"denoiser": 2048, "noise": 20_000}
NODES = 48
MAX_NODES = 10_000
KEPT_POINTS = 4096
BATCH = 256
BYTES_PER_PIXEL = 36  # of a sample: image, noise, noised image and prediction, in float32 and 64
TENSORS = ("mean", "components", "variances", "nodes", "values", "r2", "points")


class Record(TypedDict):
    """The settings of a fit, with the schedule and a fingerprint of the model."""

    model: str
    schedule: dict[str, Any]
    target: str
    samples: int
    ridge: float
    seed: int


class Header(TypedDict):
    """The plain part of the file of a fit, beside its version and its digest."""

    dim: int
    scale: float
    degree: int
    record: dict[str, Any]
    latents: str


@dataclass(frozen=True)
class CarlemanFit:
    """Latents, a noise polynomial in them, and the settings of the fit.

    Attributes:
        latents: Principal components and their scale.
        noise: The noise polynomial; its time is the lambda of the latents.
        r2: R^2 of the polynomial on held-out samples, per node.
        points: Clean latents of training images, `(M, d)`, to which closures are fitted.
        record: The settings, with the schedule and a fingerprint of the model.
    """

    latents: Latents
    noise: NoisePolynomial
    r2: Vector
    points: Vector
    record: Record

    def samples(self, lam: float) -> Vector:
        """The points, noised to a lambda of the latents with noise that is fixed by the seed."""
        alpha, sigma = levels(lam)
        noise = np.random.default_rng(self.record["seed"]).normal(size=self.points.shape)
        return alpha * self.points + sigma * noise

    def latents_of(self, x: Tensor, lam: float) -> Vector:
        """The latents `(B, d)` of noised images `(B, C, H, W)` at a lambda of the images."""
        return self.latents.of(x.flatten(1).double().cpu().numpy(), lam)

    def gaussian(self) -> "CarlemanFit":
        """The fit for Gaussian data of the same variances, whose noise prediction is linear."""
        variances = self.latents.variances[: self.latents.dim] / self.latents.scale**2
        return replace(self, noise=gaussian_noise(self.noise.nodes, variances))

    def check(self, denoiser: Denoiser) -> None:
        """Refuse a model other than the fitted one.

        Raises:
            HQDMError: If the weights differ.
        """
        if fingerprint(denoiser) != self.record["model"]:
            raise HQDMError(
                "the Carleman fit belongs to another model than the checkpoint: run `hqdm carleman "
                "fit` again"
            )

    def of_model(self, denoiser: Denoiser) -> Self:
        """The fit with what it needs of its model.

        Raises:
            HQDMError: If the weights are not those of the fitted model.
        """
        self.check(denoiser)
        if not isinstance(self.latents, LearnedLatents):
            return self
        return replace(self, latents=self.latents.of_model(denoiser.network))

    def plain(self) -> tuple[Header, dict[str, Vector]]:
        """The contents of a file: the plain part, and the tensors."""
        latents, noise = self.latents, self.noise
        tensors = {
            **{key: getattr(latents, key) for key in ("mean", "components", "variances")},
            **{key: getattr(noise, key) for key in ("nodes", "values")},
            **{"r2": self.r2, "points": self.points},
        }
        kind = LEARNED if isinstance(latents, LearnedLatents) else PRINCIPAL
        header: Header = {
            "dim": latents.dim,
            "scale": latents.scale,
            "degree": noise.degree,
            "record": dict(self.record),
            "latents": kind,
        }
        return header, tensors

    def save(self, path: Path) -> None:
        """Write a file for `load`."""
        write_fit(path, *self.plain())

    def save_plot(self, path: Path) -> None:
        """Plot R^2 against lambda of the images."""
        plot_fits({"": self}, path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a fit.

        Raises:
            HQDMError: If the file is missing, damaged or from a newer version.
        """
        return cls.checked(*read_fit(path), path)

    @classmethod
    def checked(cls, header: Mapping[str, Any], tensors: Mapping[str, Vector], path: Path) -> Self:
        """The fit in the contents of a file.

        Args:
            header: The plain part.
            tensors: The tensors `TENSORS`.
            path: The file, for messages.

        Raises:
            HQDMError: If a part is missing, or of another type or shape.
        """
        header = {"latents": PRINCIPAL, **header}  # version 1 has no others
        parts: tuple[tuple[Any, Any, str], ...] = (
            (Header, header, ""),
            (Record, header.get("record"), "record."),
        )
        for name in TENSORS:
            if name not in tensors:
                raise not_a_fit(path, f"it holds no {name}")
        for keys, part, prefix in parts:
            for key in keys.__annotations__:
                if key not in part:
                    raise not_a_fit(path, f"it holds no {prefix}{key}")
            check_types(part, get_type_hints(keys), f"{path}: {prefix}")
        with about(path):
            _check_numbers(header, tensors)
        kind = LearnedLatents if header["latents"] == LEARNED else Latents
        latents = kind(
            mean=tensors["mean"],
            components=tensors["components"],
            variances=tensors["variances"],
            dim=header["dim"],
            scale=header["scale"],
        )
        noise = NoisePolynomial(tensors["nodes"], tensors["values"], header["degree"])
        return cls(latents, noise, tensors["r2"], tensors["points"], header["record"])


def _check_numbers(header: Mapping[str, Any], tensors: Mapping[str, Vector]) -> None:
    """Refuse numbers of the file of a fit that are out of range, and tensors of other shapes.

    Raises:
        HQDMError: The message has the name of the first one.
    """
    dim, degree, record = header["dim"], header["degree"], header["record"]
    whole("dim", dim, 2, LARGEST_DIM)
    whole("degree", degree, min(DEGREES), max(DEGREES))
    check_names("latents", [header["latents"]], (PRINCIPAL, LEARNED))
    for key in ("samples", "seed"):
        whole(f"record.{key}", record[key])
    for key, number in (("scale", header["scale"]), ("record.ridge", record["ridge"])):
        if finite(key, number) < 0 or (key == "scale" and not number):
            raise HQDMError(f"{key} needs a positive number, got {number}")
    size, n_nodes, n_points = (tensors[key].shape[:1] for key in ("mean", "nodes", "points"))
    shapes = {
        **{"mean": size, "components": size * 2, "variances": size},
        **{"nodes": n_nodes, "values": (*n_nodes, dim, n_monomials(dim, degree)), "r2": n_nodes},
        "points": (*n_points, dim),
    }
    for key, shape in shapes.items():
        tensor = tensors[key]
        if tensor.shape != shape or len(shape) < 1 or not tensor.size:
            raise HQDMError(f"{key} has the shape {tensor.shape}, expected {shape}")
        if tensor.dtype.kind != "f" or not (key == "r2" or np.isfinite(tensor).all()):
            raise HQDMError(f"{key} needs finite numbers, got {tensor.dtype}")
    if len(tensors["nodes"]) < 2 or (np.diff(tensors["nodes"]) <= 0).any():
        raise HQDMError("nodes needs 2 increasing numbers or more")
    if len(tensors["mean"]) < dim or (tensors["variances"] < 0).any():
        raise HQDMError(f"variances needs {dim} numbers or more, none below 0")


def plot_fits(fits: Mapping[str, CarlemanFit], path: Path) -> None:
    """Plot R^2 of fits against lambda of the images.

    Args:
        fits: Fits of one dimension and degree by their labels, empty for no label.
        path: The file.
    """
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    for label, fit in fits.items():
        lam = fit.noise.nodes - fit.latents.time(0.0)
        axes.plot(lam, fit.r2, "o-", markersize=3, label=label)
    axes.set(xlabel="lambda = log(alpha / sigma)", ylabel="R² on held-out samples")
    axes.set_title(f"noise of degree {fit.noise.degree} in {fit.latents.dim} latents")
    axes.grid(alpha=0.3)
    if label:
        axes.legend(fontsize=7)
    save_figure(figure, path)


def fingerprint(denoiser: Denoiser) -> str:
    """A hash of the weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(denoiser.state_dict().items()):
        digest.update(name.encode())
        stored = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)  # also bfloat16
        digest.update(stored.numpy().tobytes())
    return digest.hexdigest()[:16]


def record_of(denoiser: Denoiser, target: str, samples: int, ridge: float, seed: int) -> Record:
    """The settings of a fit to a model."""
    return {
        "model": fingerprint(denoiser),
        "schedule": dict(schedule_config(denoiser.schedule)),
        "target": target,
        "samples": samples,
        "ridge": ridge,
        "seed": seed,
    }


def check_fitted(denoiser: Denoiser, images: Tensor) -> None:
    """Refuse a model that cannot be fitted, and images of another shape.

    Raises:
        HQDMError: If the process is not variance-preserving, or the shapes differ.
    """
    if not denoiser.schedule.variance_preserving:
        raise HQDMError(
            f"a Carleman fit needs a variance-preserving process, got {denoiser.schedule}: train "
            "with another schedule"
        )
    if tuple(images.shape[1:]) != denoiser.image_shape:
        raise HQDMError(
            f"the model needs images of shape {denoiser.image_shape}, got {tuple(images.shape[1:])}"
        )


def fit_carleman(
    denoiser: Denoiser,
    images: Tensor,
    dim: int,
    degree: int = 3,
    *,
    labels: Tensor | None = None,
    target: Literal["denoiser", "noise"] = "denoiser",
    samples: int | None = None,
    nodes: int = NODES,
    ridge: float = 1e-4,
    seed: int = 0,
    progress: Progress = silent,
) -> CarlemanFit:
    """Fit latents and a noise polynomial to a trained model.

    Args:
        denoiser: The model; its device is used.
        images: Training images `(N, C, H, W)`, uint8.
        dim: Latent dimension d.
        degree: Degree of the polynomial, 1, 2 or 3.
        labels: Class labels of the images `(N,)` for a model with classes.
        target: Fit to the noise that the "denoiser" predicts, or to the "noise" that was added.
        samples: Noised images per node; by default 2,048 for a denoiser and 20,000 for noise.
        nodes: Number of nodes in lambda.
        ridge: See `hqdm.surrogate.noise_polynomial.fit_noise`.
        seed: Random seed of the choice of images and of the noise.
        progress: Reports the nodes.

    Raises:
        HQDMError: If an option is out of range, the images have another shape, or the process is
            not variance-preserving.
    """
    if target not in TARGETS:
        raise unknown("target", target, TARGETS)
    whole("nodes", nodes, 2, MAX_NODES)
    whole("seed", seed)
    count = whole("samples", SAMPLES[target] if samples is None else samples, 1)
    check_fitted(denoiser, images)
    flat = to_float(images).flatten(1)
    check_memory(
        f"{count} noised images of shape {denoiser.image_shape}",
        count * BYTES_PER_PIXEL * flat.shape[1],
        "use fewer samples",
    )
    latents = Latents.fit(flat.numpy().astype(np.float64), dim)
    rng = np.random.default_rng(seed)
    chosen = torch.as_tensor(rng.choice(len(flat), size=count, replace=count > len(flat)))
    noised = _NoisedLatents(
        denoiser,
        latents,
        flat[chosen].to(denoiser.working_dtype),
        torch.as_tensor(rng.normal(size=(count, flat.shape[1])), dtype=denoiser.working_dtype),
        None if denoiser.n_classes is None or labels is None else labels[chosen],
        predict=target == "denoiser",
    )
    first, last = denoiser.schedule.lam(torch.tensor([1.0, T_CUT], dtype=torch.float64)).tolist()
    times = np.linspace(latents.time(first), latents.time(last), nodes)
    fit = fit_noise(times, noised, degree, ridge, stepwise(progress, "fitting nodes", nodes))
    kept = flat[chosen[:KEPT_POINTS]].numpy() - latents.mean
    record = record_of(denoiser, target, count, ridge, seed)
    points = kept @ latents.components[:dim].T / latents.scale
    return CarlemanFit(latents, fit.polynomial, fit.r2, points, record)


@dataclass(frozen=True)
class _NoisedLatents:
    """Noised latents and their noise, predicted or added, at a given lambda of the latents."""

    denoiser: Denoiser
    latents: Latents
    images: Tensor
    noise: Tensor
    labels: Tensor | None
    predict: bool

    def __call__(self, time: float) -> tuple[Vector, Vector]:
        lam = time - self.latents.time(0.0)
        alpha, sigma = levels(lam)
        x = alpha * self.images + sigma * self.noise
        eps = self._predict(x, lam) if self.predict else self.noise
        basis = self.latents.components[: self.latents.dim].T
        return self.latents.of(x.numpy(), lam), eps.numpy().astype(np.float64) @ basis

    @torch.no_grad()
    def _predict(self, x: Tensor, lam: float) -> Tensor:
        device = next(self.denoiser.parameters()).device
        t = self.denoiser.schedule.inverse(torch.tensor(lam, dtype=torch.float64))
        predicted = []
        for i in range(0, len(x), BATCH):
            batch = x[i : i + BATCH].reshape(-1, *self.denoiser.image_shape).to(device)
            y = None if self.labels is None else self.labels[i : i + BATCH].to(device)
            predicted.append(self.denoiser(batch, t, y).eps.flatten(1).cpu())
        return torch.cat(predicted)
