"""The exact moments of what a sampler makes of Gaussian data, for which its steps are linear."""

import torch
from gaussian_images import MEAN, VARIANCE, gaussian


class Units:
    """Noise of the steps in turn: that of step i is one for image i + 2, zero for all others."""

    def __init__(self):
        self.drawn = 0

    def draw_like(self, x):
        noise = torch.zeros_like(x)
        noise[self.drawn + 2] = 1
        self.drawn += 1
        return noise


def sampled_moments(sampler, schedule=None):
    """Mean and variance of the images, from the noise of x_t at the grid's first time.

    Image 0 has no noise at all, image 1 that of x_t, and the others that of one step each.
    """
    denoiser, times = gaussian(schedule=schedule), sampler.times
    alpha, sigma = denoiser.schedule(torch.tensor(times[0], dtype=torch.float64))
    x = torch.full((len(times) + 1, 1, 1, 1), float(alpha) * MEAN, dtype=torch.float64)
    x[1] += (alpha**2 * VARIANCE + sigma**2).sqrt()
    images = sampler.run(denoiser, x, t_start=times[0], t_end=times[-1], noise=Units()).x0
    mean = images[0]
    return torch.stack([mean, (images[1:] - mean).square().sum(0)]).flatten()


def exact_moments(t, schedule=None):
    """Mean and variance of x_t."""
    alpha, sigma = gaussian(schedule=schedule).schedule(torch.tensor(t, dtype=torch.float64))
    return torch.stack([alpha * MEAN, alpha**2 * VARIANCE + sigma**2])
