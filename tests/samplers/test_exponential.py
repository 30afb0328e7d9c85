import math

import mpmath
import pytest
import torch

from hqdm.diffusion.schedule import CosineSchedule
from hqdm.samplers.exponential import level_at, level_of, phi, transfer


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_phi_is_its_integral(n):
    points = [-20.0, -3, -0.51, -0.49, -1e-3, 0, 1e-9, 0.3, 0.499, 0.501, 2, 9]
    h = torch.tensor(points, dtype=torch.float64)
    # phi_n(h) = int_0^1 exp((1 - u) h) u^(n-1) / (n-1)! du
    exact = [
        float(mpmath.quad(lambda u, x=x: mpmath.exp((1 - u) * x) * u ** (n - 1), [0, 1]))
        / math.factorial(n - 1)
        for x in h.tolist()
    ]
    # The recurrence loses a digit a step where h is near a half.
    exact = torch.tensor(exact, dtype=torch.float64)
    torch.testing.assert_close(phi(n, h), exact, rtol=1e-12, atol=0)


def test_transfer_is_exact_for_constant_noise():
    schedule = CosineSchedule()
    x0, eps = torch.tensor(0.7).double(), torch.tensor(-1.1).double()
    times = torch.tensor([0.9, 0.3, 0.0]).double()
    levels = [level_at(schedule, t) for t in times]
    for a in levels[:2]:
        for b in levels:
            x_a, x_b = (level.alpha * x0 + level.sigma * eps for level in (a, b))
            torch.testing.assert_close(transfer(x_a, eps, a, b), x_b, rtol=0, atol=1e-14)
    assert levels[-1].is_data
    again = level_of(schedule, levels[0].lam)
    torch.testing.assert_close(again.t, levels[0].t, rtol=0, atol=1e-14)
