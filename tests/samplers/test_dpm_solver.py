"""DPM-Solver beyond its order (see `test_orders.py`): derivatives, noise, and a network."""

import pytest
import torch

from hqdm.diffusion.analytic import GaussianDenoiser, MixtureDenoiser
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.nn.quantum_conv import Hybrid
from hqdm.nn.unet import QVUNet
from hqdm.samplers import DPMSolver, DPMSolverExact, DPMSolverPP
from hqdm.samplers.base import Evaluator
from hqdm.samplers.dpm_solver import total_derivatives
from hqdm.samplers.exponential import level_of
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise


def mixture():
    w, m, v = torch.tensor([[0.4, 0.6], [-0.7, 0.5], [0.09, 0.16]]).double()
    return MixtureDenoiser(w, m, v, CosineSchedule())


def test_total_derivatives_are_those_along_the_exact_flow():
    denoiser = mixture()
    lam = torch.tensor(0.4).double()
    x = torch.linspace(-1.5, 1.5, 7).double().view(7, 1, 1, 1)
    level = level_of(denoiser.schedule, lam)

    def eps_at(shift):
        there = level_of(denoiser.schedule, lam + shift)
        return denoiser(denoiser.flow(x, level.t, there.t), there.t).eps

    eps, first, second = total_derivatives(Evaluator(denoiser), x, level, 3)
    h = 1e-3  # fourth-order differences: their error is of order h^4, rounding 1e-15 / h^2
    minus2, minus1, zero, plus1, plus2 = (eps_at(k * h) for k in range(-2, 3))
    torch.testing.assert_close(eps, zero, rtol=0, atol=1e-13)
    difference = (minus2 - 8 * minus1 + 8 * plus1 - plus2) / (12 * h)
    torch.testing.assert_close(first, difference, rtol=0, atol=1e-9)
    difference = (-minus2 + 16 * minus1 - 30 * zero + 16 * plus1 - plus2) / (12 * h**2)
    torch.testing.assert_close(second, difference, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_hybrid_network_is_differentiated_forward():
    torch.manual_seed(0)
    network = QVUNet(Hybrid(1, 1, "HQConv", 1), size=8, dim=8, mults=(1, 2))
    denoise = Evaluator(Denoiser(network, CosineSchedule()).double().eval())
    lam = torch.tensor(-0.5, dtype=torch.float64)
    x = ImageNoise(0, 1).draw((1, 8, 8)).double()
    with torch.enable_grad():
        derivatives = total_derivatives(denoise, x, level_of(denoise.schedule, lam), 3)
    level = level_of(denoise.schedule, lam)
    velocity = level.sigma**2 * x - level.sigma * derivatives[0]
    h = 1e-5  # central differences: truncation of order h^2, rounding of order 1e-16 / h
    ends = [
        total_derivatives(denoise, x + s * velocity, level_of(denoise.schedule, lam + s), 2)
        for s in (-h, h)
    ]
    for n in (0, 1):
        difference = (ends[1][n] - ends[0][n]) / (2 * h)
        scale = float(difference.detach().abs().max())
        torch.testing.assert_close(derivatives[n + 1], difference, rtol=0, atol=1e-5 * scale)


def test_the_sde_solver_has_the_moments_of_the_data():
    mean, variance, n = 0.3, 0.25, 20_000
    denoiser = GaussianDenoiser(
        torch.tensor(mean).double(), torch.tensor(variance).double(), CosineSchedule()
    )
    noise = ImageNoise(0, 1)
    x1 = noise.draw((n, 1, 1)).double()
    x0 = DPMSolverPP(100, sde=True).run(denoiser, x1, noise=noise).x0
    assert abs(x0.mean() - mean) < 3 * (variance / n) ** 0.5
    # The variance of a variance of normal numbers is 2 variance^2 / n; the end is cut at T_CUT.
    assert abs(x0.var() - variance) < 3 * variance * (2 / n) ** 0.5 + 1e-3


def test_the_two_step_solver_is_the_published_algorithm():
    """Lu et al. 2022b, algorithm 2, on steps of unequal widths in lambda.

    Its order does not show a ratio of widths in place of its inverse: the errors of consecutive
    steps then cancel in leading order.
    """
    denoiser, times = mixture(), [1.0, 0.8, 0.75, 0.5, 0.4, 0.1]
    x1 = torch.linspace(-2, 2, 5).double().view(5, 1, 1, 1)
    grid = torch.tensor(times, dtype=torch.float64)
    (alpha, sigma), lam = denoiser.schedule(grid), denoiser.schedule.lam(grid)
    x, data = x1, []
    for i in range(1, len(grid)):
        h = lam[i] - lam[i - 1]
        data.append(denoiser(x, grid[i - 1]).x0)
        mixed = data[-1]
        if i > 1:
            r = (lam[i - 1] - lam[i - 2]) / h
            mixed = (1 + 1 / (2 * r)) * data[-1] - 1 / (2 * r) * data[-2]
        x = sigma[i] / sigma[i - 1] * x - alpha[i] * ((-h).exp() - 1) * mixed
    found = DPMSolverPP(grid=times).run(denoiser, x1, t_end=0.1).x0
    torch.testing.assert_close(found, x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("solver", [DPMSolver, DPMSolverExact])
def test_orders(solver):
    with pytest.raises(HQDMError, match="DPM-Solver needs an order of 1, 2, 3, got 4"):
        solver(order=4)


def test_one_order_is_one_solver():
    x1 = torch.linspace(-2, 2, 5).double().view(5, 1, 1, 1)
    first = DPMSolver(9, order=1)(mixture(), x1)
    torch.testing.assert_close(DPMSolverExact(9, order=1)(mixture(), x1), first, rtol=0, atol=1e-14)
