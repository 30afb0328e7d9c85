"""The closed-form denoiser against the definition of a conditional mean."""

import torch

from hqdm.diffusion.analytic import GaussianDenoiser
from hqdm.diffusion.schedule import CosineSchedule


def test_conditional_mean_by_quadrature():
    """E[x0 | x_t] by numerical integration over x0 of prior times likelihood."""
    mean, variance, t = torch.tensor([0.3, 0.2, 0.4], dtype=torch.float64)
    schedule = CosineSchedule()
    denoiser = GaussianDenoiser(mean, variance, schedule)
    alpha, sigma = schedule(t)
    x0 = torch.linspace(-6, 6, 20001, dtype=torch.float64)
    x_t = torch.linspace(-2, 2, 7, dtype=torch.float64)
    log_weight = -((x0 - mean) ** 2) / (2 * variance)
    log_weight = log_weight - (x_t[:, None] - alpha * x0) ** 2 / (2 * sigma**2)
    weight = log_weight.softmax(dim=1)
    prediction = denoiser(x_t, t)
    # The trapezoidal rule on a smooth, decaying integrand is exact to rounding.
    torch.testing.assert_close(prediction.x0, weight @ x0, rtol=0, atol=1e-8)
    torch.testing.assert_close(alpha * prediction.x0 + sigma * prediction.eps, x_t)


def test_flow_solves_the_probability_flow_equation():
    """dx/dlambda = sigma^2 x - sigma eps, by a central difference of the flow."""
    schedule = CosineSchedule()
    denoiser = GaussianDenoiser(torch.tensor(0.1), torch.tensor(0.3), schedule)
    t = torch.tensor(0.5, dtype=torch.float64)
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)
    h = 1e-5
    before, after = (schedule.inverse(schedule.lam(t) + d) for d in (-h, h))
    slope = (denoiser.flow(x, t, after) - denoiser.flow(x, t, before)) / (2 * h)
    _, sigma = schedule(t)
    exact = sigma**2 * x - sigma * denoiser(x, t).eps
    # Central differences: truncation h^2 = 1e-10, rounding 1e-16 / h = 1e-11, a little room.
    torch.testing.assert_close(slope, exact, rtol=0, atol=1e-8)
