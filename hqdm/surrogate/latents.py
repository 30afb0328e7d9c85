r"""Principal components of images as the coordinates of a diffusion.

In an orthonormal basis u_k of principal components, c_k = u_k . (x - alpha mu), the process
x = alpha x_0 + sigma eps has independent noise on each coordinate of the data. The first d
coordinates divided by a scale s are the latents; normalised to alpha'^2 + sigma'^2 = 1 they are

    z = (alpha' / (alpha s)) c,        lambda' = lambda + log s,

a diffusion of the data c / s at another signal-to-noise ratio. The scale makes the largest variance
v smaller than 1, so that the linear drift sigma'^2 (1 - 1 / (alpha'^2 v + sigma'^2)) of every
latent is negative, that is dissipative.

The other coordinates are assumed to be Gaussian, with the flow

    c_k(b) = c_k(a) sqrt((alpha_b^2 v_k + sigma_b^2) / (alpha_a^2 v_k + sigma_a^2)).

The latents E(x) of an autoencoder can take the place of the pixels. All their d components u_k are
kept, and each is divided by a scale of its own,

    z_k = u_k . (E(x) - mu) sqrt(0.81 / v_k),        x ~ D(mu + sum_k u_k z_k sqrt(v_k / 0.81)),

so that all have the variance 0.81. No coordinate is left to be Gaussian, and the diffusion of z has
noise of its own: it starts from the first d numbers of the noise of an image.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from hqdm.carleman.magnus import Vector
from hqdm.nn.autoencoders import Autoencoder
from hqdm.surrogate.noise_polynomial import levels
from hqdm.utils.errors import HQDMError
from hqdm.utils.memory import check_memory

LARGEST_VARIANCE = 0.81
LARGEST_DIM = 64


@dataclass(frozen=True)
class Latents:
    """Principal components of a data set, and the scale of the first d.

    Args:
        mean: The mean mu, `(D,)`.
        components: The components u_k as rows, in order of decreasing variance, `(D, D)`.
        variances: The variances v_k of the coordinates, `(D,)`.
        dim: The number d of latents.
        scale: The scale s.
    """

    mean: Vector
    components: Vector
    variances: Vector
    dim: int
    scale: float

    @classmethod
    def fit(cls, points: Vector, dim: int, largest: float = LARGEST_VARIANCE) -> "Latents":
        """Compute the principal components of a set of points.

        Args:
            points: Points `(M, D)`.
            dim: The number d of latents, 2 to 64.
            largest: Variance of the first latent.

        Raises:
            HQDMError: If the dimension is out of range, or the points vary in fewer directions.
        """
        size = points.shape[1]
        if not 2 <= dim <= min(LARGEST_DIM, size):
            raise HQDMError(
                f"the latent dimension needs to be 2 to {min(LARGEST_DIM, size)}, got {dim}"
            )
        if largest <= 0:
            raise HQDMError(f"the largest variance needs to be positive, got {largest}")
        check_memory(
            f"principal components of {len(points)} images of {size} values",
            8 * (3 * size**2 + 2 * points.size),
            "use smaller or fewer images",
        )
        mean = points.mean(axis=0, dtype=np.float64)
        centred = points - mean
        variances, vectors = np.linalg.eigh(centred.T @ centred / len(points))
        variances = variances[::-1].clip(min=0)
        if variances[dim - 1] <= 1e-12 * max(variances[0], 1e-300):
            raise HQDMError(
                f"the data vary in fewer than {dim} directions: use a smaller latent dimension"
            )
        scale = float(np.sqrt(variances[0] / largest))
        return cls(mean, vectors[:, ::-1].T.copy(), variances, dim, scale)

    @property
    def explained(self) -> float:
        """Fraction of the variance in the latents."""
        return float(self.variances[: self.dim].sum() / self.variances.sum())

    @property
    def dissipative(self) -> bool:
        """True if the linear drift of every latent is negative."""
        return self.largest < 1

    @property
    def largest(self) -> float:
        """The largest variance of a latent."""
        return float(self.variances[0] / self.scale**2)

    def time(self, lam: float) -> float:
        """The lambda' of the latents at lambda of the images."""
        return lam + float(np.log(self.scale))

    def factor(self, lam: float) -> float:
        """The ratio of latents to coordinates at lambda, alpha' / (alpha s)."""
        return levels(self.time(lam))[0] / (levels(lam)[0] * self.scale)

    def of(self, x: Vector, lam: float) -> Vector:
        """The latents `(B, d)` of noised points `(B, D)` at lambda."""
        centred = x - levels(lam)[0] * self.mean
        return centred @ self.components[: self.dim].T * self.factor(lam)

    def coordinates(self, x: Tensor, lam: float) -> Tensor:
        """The principal coordinates `(B, D)` of noised images `(B, C, H, W)` at lambda."""
        mean, components = self._basis(x)
        return (x.flatten(1) - levels(lam)[0] * mean) @ components.T

    def images(self, coordinates: Tensor, alpha: float, like: Tensor) -> Tensor:
        """The noised images of principal coordinates, in the shape and the dtype of `like`."""
        mean, components = self._basis(like)
        return (alpha * mean + coordinates @ components).reshape(like.shape)

    def _basis(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return torch.as_tensor(self.mean).to(like), torch.as_tensor(self.components).to(like)

    def gaussian_flow(self, a: float, b: float) -> Vector:
        """The factors of the flow of the other coordinates from lambda a to b, `(D - d,)`."""
        deviations = []
        for lam in (a, b):
            alpha, sigma = levels(lam)
            deviations.append(np.sqrt(alpha**2 * self.variances[self.dim :] + sigma**2))
        return deviations[1] / deviations[0]

    def gaussian_mean(self, lam: float) -> Vector:
        """Ratio of expected clean to noised values of the other coordinates, `(D - d,)`."""
        alpha, sigma = levels(lam)
        v = self.variances[self.dim :]
        return alpha * v / (alpha**2 * v + sigma**2)


@dataclass(frozen=True)
class LearnedLatents(Latents):
    """Whitened latents of an autoencoder; mean, components and variances are those of E(x).

    Args:
        autoencoder: The autoencoder; None in a file, before `of_model`.
    """

    autoencoder: Autoencoder | None = None

    @classmethod
    def fit_encoded(cls, encoded: Vector, autoencoder: Autoencoder) -> Self:
        """Whiten latents.

        Args:
            encoded: Latents E(x) of images, `(M, d)`.
            autoencoder: The autoencoder.

        Raises:
            HQDMError: As `Latents.fit`.
        """
        own = Latents.fit(encoded, encoded.shape[1])
        return cls(own.mean, own.components, own.variances, own.dim, 1.0, autoencoder)

    def of_model(self, network: Any) -> Self:
        """The same latents with an autoencoder.

        Raises:
            HQDMError: If the network is no autoencoder of as many latents.
        """
        if not isinstance(network, Autoencoder) or network.dim != self.dim:
            raise HQDMError(
                f"the Carleman fit is one of {self.dim} latents of an autoencoder, and the model "
                f"is {type(network).__name__}: run `hqdm carleman fit` again"
            )
        return replace(self, autoencoder=network)

    @property
    def whitening(self) -> Vector:
        """The factors from principal coordinates of E(x) to latents, `(d,)`."""
        return np.sqrt(LARGEST_VARIANCE / self.variances)

    @property
    def largest(self) -> float:
        """See `Latents`: the variance of every latent."""
        return LARGEST_VARIANCE

    def whitened(self, encoded: Vector) -> Vector:
        """The latents `(B, d)` of E(x) `(B, d)`."""
        return (encoded - self.mean) @ self.components.T * self.whitening

    def of(self, x: Vector, lam: float) -> Vector:
        """The first d of the numbers `(B, D)` of noise."""
        return x[:, : self.dim]

    def coordinates(self, x: Tensor, lam: float) -> Tensor:
        """The latents `(B, d)` at the start of the diffusion, from the noise `(B, C, H, W)`."""
        return x.flatten(1)[:, : self.dim]

    def images(self, coordinates: Tensor, alpha: float, like: Tensor) -> Tensor:
        """The images of latents `(B, d)`; before the end of the diffusion `like` itself.

        Raises:
            HQDMError: Without an autoencoder.
        """
        if alpha < 1:
            return like
        if self.autoencoder is None:
            raise HQDMError("the latents have no autoencoder: load the fit with its model")
        mean, components = self._basis(like)
        encoded = coordinates / torch.as_tensor(self.whitening).to(like) @ components + mean
        dtype = next(self._parameters()).dtype
        return self.autoencoder.decode(encoded.to(dtype)).to(like)

    def _parameters(self) -> Iterator[Tensor]:
        assert isinstance(self.autoencoder, torch.nn.Module)
        return self.autoencoder.parameters()
