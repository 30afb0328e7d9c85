"""A fit of a noise polynomial without a model."""

import numpy as np

from hqdm.surrogate.fit import CarlemanFit
from hqdm.surrogate.latents import Latents
from hqdm.surrogate.noise_polynomial import fit_noise, levels


def fitted(dim):
    """A quadratic fit to points on an arc, whose distribution is not Gaussian."""
    rng = np.random.default_rng(0)
    one = rng.normal(size=(2000, dim))
    clean = 0.6 * one + 0.2 * (one[:, ::-1] ** 2 - 1)
    noise = rng.normal(size=clean.shape)

    def noised(lam):
        alpha, sigma = levels(lam)
        return alpha * clean + sigma * noise, noise

    found = fit_noise(np.linspace(-4, 2, 12), noised, 2)
    latents = Latents(np.zeros(dim), np.eye(dim), np.ones(dim), dim, 1.0)
    record = {
        "model": "",
        "schedule": {},
        "target": "noise",
        "samples": 2000,
        "ridge": 0,
        "seed": 0,
    }
    return CarlemanFit(latents, found.polynomial, found.r2, clean, record)
