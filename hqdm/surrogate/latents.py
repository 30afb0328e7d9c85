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
"""

from dataclasses import dataclass

import numpy as np

from hqdm.carleman.magnus import Vector
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
