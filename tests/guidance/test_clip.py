"""Clipped predictions keep the range, and x_t = alpha x0 + sigma eps."""

import torch

from hqdm.guidance.clip import Clip


def test_clip_keeps_the_range_and_the_sum(denoiser):
    x, t = 3 * torch.randn(4, 1, 8, 8).double(), torch.tensor([0.2, 0.5, 0.9, 1.0]).double()
    plain, clipped = denoiser(x, t), Clip(denoiser)(x, t)
    assert plain.x0.abs().max() > 1
    torch.testing.assert_close(clipped.x0, plain.x0.clamp(-1, 1), rtol=0, atol=0)
    alpha, sigma = (level.view(-1, 1, 1, 1) for level in denoiser.schedule(t))
    torch.testing.assert_close(alpha * clipped.x0 + sigma * clipped.eps, x)
    inside = plain.x0.abs().flatten(1).amax(1) < 1
    for i in inside.nonzero().flatten():
        torch.testing.assert_close(clipped.eps[i], plain.eps[i])
