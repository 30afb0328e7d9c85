"""DEIS: its order on equal and unequal steps, its weights, DDIM."""

import numpy as np
import pytest
import torch
from exact_flows import errors_of, problems, slope_of, warm_grid
from gaussian_images import gaussian, noisy
from marks import thinned

from hqdm.diffusion.schedule import CosineSchedule, LinearSchedule, VarianceExplodingSchedule
from hqdm.samplers import DDIM, build_sampler
from hqdm.samplers.exponential import level_at
from hqdm.samplers.multistep import DEIS
from hqdm.utils.errors import HQDMError

SCHEDULES = [CosineSchedule(), LinearSchedule(), VarianceExplodingSchedule(20.0)]


@pytest.mark.parametrize("widths", [(1,), (1, 2)], ids=["equal", "unequal"])
@pytest.mark.parametrize("schedule", thinned(SCHEDULES[:2], every=2), ids=["cosine", "linear"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_error_falls_with_the_order(order, schedule, widths):
    denoiser = problems(schedule)["mixture"]
    steps = [48, 72, 108, 162]
    grids = [warm_grid(schedule, n, widths) for n in steps]
    errors = errors_of(lambda _: DEIS(order=order), denoiser, grids)
    slope = slope_of(errors, steps)
    assert abs(slope - order) < 0.2, (slope, errors)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=["cosine", "linear", "exploding"])
@pytest.mark.parametrize("times", [(1.0, 0.85, 0.6, 0.5, 0.02), (1.0, 0.99, 0.98, 0.97, 0.05)])
def test_weights_are_integrals_of_lagrange_s_polynomials(schedule, times):
    """Of L_j d(sigma / alpha) / dt, integrated by parts and in t, on 400 panels."""
    nodes = [level_at(schedule, torch.tensor(t).double()) for t in reversed(times[:4])]
    a, b = nodes[0], level_at(schedule, torch.tensor(times[4]).double())
    found = DEIS(order=4).coefficients(schedule, a, b, nodes).weights / b.alpha

    points, rule = np.polynomial.legendre.leggauss(10)
    at, edges = [float(node.t) for node in nodes], np.linspace(float(a.t), float(b.t), 401)
    half = (edges[1:] - edges[:-1])[:, None] / 2
    t = edges[:-1, None] + half * (1 + points)
    ratio, ends = (np.exp(-schedule.lam(torch.as_tensor(at)).numpy()) for at in (t, edges[[0, -1]]))
    for j, weight in enumerate(found):
        others = [t for k, t in enumerate(at) if k != j]
        polynomial = np.poly1d(others, r=True) / np.prod([at[j] - t for t in others])
        (first, last), inner = polynomial(edges[[0, -1]]) * ends, polynomial.deriv()(t) * ratio
        expected = last - first - (half * rule * inner).sum()
        scale = max(abs(first), abs(last))
        assert float(weight) == pytest.approx(expected, abs=1e-11 * scale)


@pytest.mark.parametrize("grid", ["time", "lambda"])
def test_the_first_order_is_ddim(grid):
    x1 = noisy()
    expected = DDIM(8, grid=grid)(gaussian(), x1)
    found = DEIS(8, grid, order=1)(gaussian(), x1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_names_and_orders():
    assert build_sampler("deis").order == 3
    assert [build_sampler(f"deis{k}").order for k in (1, 2, 3, 4)] == [1, 2, 3, 4]
    with pytest.raises(HQDMError, match="^DEIS needs an order of 1, 2, 3, 4, got 0$"):
        DEIS(order=0)
