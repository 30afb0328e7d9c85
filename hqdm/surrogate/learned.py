r"""The fit in the latents of an autoencoder, of each class if its model has classes.

Images are encoded and whitened, z_0 (`hqdm.surrogate.latents`), and noised there, z = alpha z_0 +
sigma n; the noise n is fitted by a polynomial in z. No network is evaluated in the fit but the
encoder, and none in sampling but the decoder. The latents of one class are closer to a Gaussian
than those of all, so that a lower degree suffices; each class has a whitening of its own.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hqdm.carleman.magnus import Vector
from hqdm.diffusion.denoiser import Denoiser
from hqdm.nn.autoencoders import Autoencoder
from hqdm.samplers.grids import T_CUT
from hqdm.surrogate.fit import (
    KEPT_POINTS,
    MAX_NODES,
    NODES,
    SAMPLES,
    TENSORS,
    CarlemanFit,
    check_fitted,
    plot_fits,
    record_of,
)
from hqdm.surrogate.fit_files import fit_path, not_a_fit, read_fit, write_fit
from hqdm.surrogate.latents import LearnedLatents
from hqdm.surrogate.noise_polynomial import fit_noise, levels
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError, about
from hqdm.utils.pixels import to_float
from hqdm.utils.progress import Progress, silent, stepwise

DEGREE = 2
BATCH = 512
FITS = "fits"  # key of the header of a file of several


@dataclass(frozen=True)
class ClassFits:
    """One fit for each class.

    Attributes:
        fits: The fits, of class 0, 1, ...
    """

    fits: tuple[CarlemanFit, ...]

    def gaussian(self) -> "ClassFits":
        """The fits for Gaussian data of the same variances."""
        return ClassFits(tuple(fit.gaussian() for fit in self.fits))

    def save(self, path: Path) -> None:
        """Write a file for `load_fit`."""
        plain = [fit.plain() for fit in self.fits]
        tensors = {
            f"{k}.{name}": tensor
            for k, (_, own) in enumerate(plain)
            for name, tensor in own.items()
        }
        write_fit(path, {FITS: [header for header, _ in plain]}, tensors)

    def save_plot(self, path: Path) -> None:
        """Plot R^2 against lambda of the images, a line for each class."""
        plot_fits({f"class {k}": fit for k, fit in enumerate(self.fits)}, path)


def load_fit(
    checkpoint: Path, denoiser: Denoiser, file: str | None = None
) -> CarlemanFit | ClassFits:
    """Load the fit next to a checkpoint, or in another file.

    Args:
        checkpoint: The checkpoint.
        denoiser: Its model.
        file: Another file.

    Returns:
        A `CarlemanFit`, or `ClassFits`.

    Raises:
        HQDMError: If it is missing or damaged, or belongs to another model.
    """
    path = Path(file) if file else fit_path(checkpoint)
    header, tensors = read_fit(path)
    if FITS not in header:
        return CarlemanFit.checked(header, tensors, path).of_model(denoiser)
    headers = header[FITS]
    if not isinstance(headers, list) or not headers or denoiser.n_classes != len(headers):
        raise not_a_fit(path, f"its fits are not those of {denoiser.n_classes} classes")
    found = []
    for k, own in enumerate(headers):
        with about(f"class {k}"):
            parts = {name: tensors[f"{k}.{name}"] for name in TENSORS if f"{k}.{name}" in tensors}
            plain = own if isinstance(own, dict) else {}
            found.append(CarlemanFit.checked(plain, parts, path).of_model(denoiser))
    return ClassFits(tuple(found))


def fit_learned(
    denoiser: Denoiser,
    images: Tensor,
    degree: int = DEGREE,
    *,
    labels: Tensor | None = None,
    samples: int | None = None,
    nodes: int = NODES,
    ridge: float = 1e-4,
    seed: int = 0,
    progress: Progress = silent,
) -> CarlemanFit | ClassFits:
    """Fit a noise polynomial in the latents of an autoencoder.

    Args:
        denoiser: The model, whose network is an autoencoder.
        images: Training images `(N, C, H, W)`, uint8.
        degree: Degree of the polynomial, 1, 2 or 3.
        labels: Class labels `(N,)` for a fit of each class of a model with classes; None for one
            fit of all images.
        samples: Noised latents per node, 20,000 by default.
        nodes: Number of nodes in lambda.
        ridge: See `hqdm.surrogate.noise_polynomial.fit_noise`.
        seed: Random seed of the choice of images and of the noise.
        progress: Reports the images that are encoded, and the nodes.

    Returns:
        One fit, or one for each class of the model.

    Raises:
        HQDMError: If the network is no autoencoder, an option is out of range, or a class has no
            more images than there are latents.
    """
    if not isinstance(denoiser.network, Autoencoder):
        raise HQDMError(
            f"learned latents are those of an autoencoder, got {type(denoiser.network).__name__}: "
            "train one, such as configs/mnist_autoencoder.yaml, or use the latents pca"
        )
    check_fitted(denoiser, images)
    whole("nodes", nodes, 2, MAX_NODES)
    whole("seed", seed)
    count = whole("samples", SAMPLES["noise"] if samples is None else samples, 1)
    encoded = encode(denoiser, images, progress)
    record = record_of(denoiser, "noise", count, ridge, seed)
    parts = [encoded]
    if denoiser.n_classes is not None and labels is not None:
        parts = [encoded[(labels == k).numpy()] for k in range(denoiser.n_classes)]
    done = stepwise(progress, "fitting nodes", nodes * len(parts))
    first, last = denoiser.schedule.lam(torch.tensor([1.0, T_CUT], dtype=torch.float64)).tolist()
    found = []
    for k, part in enumerate(parts):
        if len(part) <= encoded.shape[1]:
            raise HQDMError(
                f"class {k} has {len(part)} images for {encoded.shape[1]} latents: use more images"
            )
        latents = LearnedLatents.fit_encoded(part, denoiser.network)
        clean = latents.whitened(part)
        rng = np.random.default_rng(seed)
        chosen = clean[rng.choice(len(clean), size=count, replace=count > len(clean))]
        noised = _Noised(chosen, rng.normal(size=chosen.shape))
        fit = fit_noise(np.linspace(first, last, nodes), noised, degree, ridge, done)
        points = clean[rng.permutation(len(clean))[:KEPT_POINTS]]
        found.append(CarlemanFit(latents, fit.polynomial, fit.r2, points, record))
    return ClassFits(tuple(found)) if len(parts) > 1 else found[0]


@torch.no_grad()
def encode(denoiser: Denoiser, images: Tensor, progress: Progress = silent) -> Vector:
    """The latents E(x) `(N, d)` of images `(N, C, H, W)` in uint8."""
    device, network = next(denoiser.parameters()).device, denoiser.network
    assert isinstance(network, Autoencoder)
    batches = images.split(BATCH)
    done, found = stepwise(progress, "encoding", len(batches)), []
    for batch in batches:
        found.append(network.encode(to_float(batch).to(device, denoiser.dtype)).double().cpu())
        done()
    return torch.cat(found).numpy()


@dataclass(frozen=True)
class _Noised:
    """Latents, noised at a given lambda, and their noise."""

    clean: Vector
    noise: Vector

    def __call__(self, lam: float) -> tuple[Vector, Vector]:
        alpha, sigma = levels(lam)
        return alpha * self.clean + sigma * self.noise, self.noise
