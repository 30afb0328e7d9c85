"""Flows of diffusion models of known data, as velocities in lambda and densities of points."""

import numpy as np
from scipy.special import expit

LAM = -4.0, 2.0


class MixtureFlow:
    """The flow of a mixture of isotropic normal distributions in d dimensions.

    Its density at lambda is that of alpha x_0 + sigma eps; with one component the flow is linear.
    """

    def __init__(self, weights, means, variances):
        self.weights, self.means = np.asarray(weights), np.asarray(means)
        self.variances = np.asarray(variances)

    def components(self, x, lam):
        alpha2, sigma2 = expit(2 * lam), expit(-2 * lam)
        spread = alpha2 * self.variances + sigma2
        away = x[:, None, :] - np.sqrt(alpha2) * self.means
        normal = (2 * np.pi * spread) ** (-x.shape[1] / 2)
        return self.weights * normal * np.exp(-(away**2).sum(-1) / (2 * spread)), away, spread

    def density(self, x, lam):
        return self.components(x, lam)[0].sum(1)

    def velocity(self, x, lam):
        """sigma^2 x - sigma eps, with eps = -sigma grad log p."""
        parts, away, spread = self.components(x, lam)
        shares = (parts + 1e-300) / (parts + 1e-300).sum(1, keepdims=True)
        score = -(shares[..., None] * away / spread[:, None]).sum(1)
        return expit(-2 * lam) * (x + score)


def mixture(dim):
    means = np.array([[-0.9], [0.8]]) * np.ones(dim) * np.array([[1.0], [-1.0]]) ** np.arange(dim)
    return MixtureFlow([0.4, 0.6], means, [0.12, 0.2])


def gaussian(dim):
    return MixtureFlow([1.0], 0.5 * np.ones((1, dim)), [0.3])
