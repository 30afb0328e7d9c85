"""iPNDM: its order on equal steps in sigma / alpha and on others, its first steps, DDIM."""

import pytest
import torch
from exact_flows import errors_of, problems, slope_of
from gaussian_images import gaussian, noisy
from marks import thinned

from hqdm.diffusion.schedule import CosineSchedule, LinearSchedule
from hqdm.samplers import DDIM, build_sampler
from hqdm.samplers.exponential import level_at
from hqdm.samplers.multistep import IPNDM
from hqdm.samplers.multistep.linear import History
from hqdm.utils.errors import HQDMError

RATIOS = 1.5, 0.2
"""First and last sigma / alpha of the grids."""


def times_of(schedule, ratios):
    return schedule.inverse(-ratios.log())


class Started(IPNDM):
    """iPNDM with evaluations on the exact flow before the first step, at ratios of its grid."""

    def __init__(self, denoiser, ratio, order):
        super().__init__(order=order)
        self.denoiser, self.ratio = denoiser, ratio

    def init(self, x):
        schedule = self.denoiser.schedule
        first, second = -schedule.lam(torch.tensor(self.times[:2]).double())
        gap = first.exp() - second.exp()
        ratios = first.exp() + gap * torch.arange(1, self.order).double()
        start = torch.tensor(self.times[0]).double()
        nodes = tuple(
            (level_at(schedule, t), self.denoiser(self.denoiser.flow(x, start, t), t).eps)
            for t in times_of(schedule, ratios)
        )
        return History(nodes, x, None)


@pytest.mark.parametrize("schedule", [CosineSchedule(), LinearSchedule()], ids=["cosine", "linear"])
@pytest.mark.parametrize("order", thinned([1, 2, 3, 4], every=2))
def test_the_order_on_equal_steps_in_sigma_over_alpha(order, schedule):
    denoiser = problems(schedule)["mixture"]
    steps = [48, 72, 108, 162]
    grids = [
        times_of(schedule, torch.linspace(*RATIOS, n + 1, dtype=torch.float64)).tolist()
        for n in steps
    ]
    errors = errors_of(lambda _: Started(denoiser, RATIOS[0], order), denoiser, grids)
    slope = slope_of(errors, steps)
    assert abs(slope - order) < 0.2, (slope, errors)


@pytest.mark.parametrize("order", [3, 4])
def test_the_order_on_other_grids_is_two(order):
    schedule = CosineSchedule()
    denoiser = problems(schedule)["mixture"]
    steps = [48, 72, 108, 162]
    grids = [torch.linspace(0.7, 0.15, n + 1).double().tolist() for n in steps]
    errors = errors_of(lambda _: IPNDM(order=order), denoiser, grids)
    slope = slope_of(errors, steps)
    assert abs(slope - 2) < 0.2, (slope, errors)


@pytest.mark.parametrize("grid", ["time", "lambda"])
def test_the_first_order_is_ddim(grid):
    x1 = noisy()
    expected = DDIM(8, grid=grid)(gaussian(), x1)
    found = IPNDM(8, grid, order=1)(gaussian(), x1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


def test_the_first_steps_have_lower_orders():
    """The published steps written out, on steps of unequal widths."""
    denoiser, times = gaussian(), torch.tensor([1.0, 0.8, 0.65, 0.4, 0.3, 0.2], dtype=torch.float64)
    alpha, sigma = denoiser.schedule(times)
    x, eps = noisy(), []
    for i in range(5):
        eps.insert(0, denoiser(x, times[i]).eps)
        mixed = {
            1: lambda a: a,
            2: lambda a, b: (3 * a - b) / 2,
            3: lambda a, b, c: (23 * a - 16 * b + 5 * c) / 12,
            4: lambda a, b, c, d: (55 * a - 59 * b + 37 * c - 9 * d) / 24,
        }[min(i + 1, 4)](*eps[:4])
        clean = (x - sigma[i] * mixed) / alpha[i]
        x = alpha[i + 1] * clean + sigma[i + 1] * mixed
    found = IPNDM(grid=times.tolist()).run(denoiser, noisy(), t_end=0.2).x0
    torch.testing.assert_close(found, x, rtol=0, atol=1e-12)


def test_names_and_orders():
    assert build_sampler("ipndm").order == 4
    assert [build_sampler(f"ipndm{k}").order for k in (1, 2, 3, 4)] == [1, 2, 3, 4]
    with pytest.raises(HQDMError, match="^iPNDM needs an order of 1, 2, 3, 4, got 5$"):
        IPNDM(order=5)
