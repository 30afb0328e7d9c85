"""Parts of linear multistep methods: quadrature, weights, and the history of the steps."""

import math

import pytest
import torch
from gaussian_images import gaussian, noisy

from hqdm.samplers.base import Evaluator
from hqdm.samplers.multistep import DEIS, SASolver
from hqdm.samplers.multistep.linear import integral, interpolation_weights, levels_of
from hqdm.utils.seeds import ImageNoise

TIMES = torch.linspace(1, 0, 8, dtype=torch.float64)


def test_the_quadrature_of_several_functions():
    def functions(x):
        return torch.stack([x.exp(), 1 / (1 + x**2), x**9])

    start, end = torch.tensor([-1.0, 2.0], dtype=torch.float64)
    exact = [
        math.exp(2) - math.exp(-1),
        math.atan(2) - math.atan(-1),
        (2**10 - 1) / 10,
    ]
    for sign, ends in ((1, (start, end)), (-1, (end, start))):
        found = (sign * integral(functions, *ends)).tolist()
        assert found == pytest.approx(exact, rel=1e-14)


def test_the_weights_of_simpson_s_rule():
    nodes = torch.tensor([0, 1 / 2, 1], dtype=torch.float64)
    moments = torch.tensor([1, 1 / 2, 1 / 3], dtype=torch.float64)
    found = interpolation_weights(nodes, moments).tolist()
    assert found == pytest.approx([1 / 6, 4 / 6, 1 / 6], abs=1e-15)


@pytest.mark.parametrize(
    ("sampler", "kept"), [(DEIS(order=3), 3), (SASolver(order=2, corrector=4), 4)]
)
def test_the_state_has_the_newest_nodes(sampler, kept):
    denoise, x, state, noise = Evaluator(gaussian()), noisy(), None, ImageNoise(0, 3)
    for i in range(6):
        x, state = sampler.step(denoise, x, TIMES[i], TIMES[i + 1], state, noise)
        times = [level.t for level in levels_of(state.nodes)]
        assert times == [TIMES[j] for j in range(i, max(-1, i - kept), -1)]


def test_the_step_to_the_data_is_the_prediction():
    sampler, denoise, x = SASolver(), Evaluator(gaussian()), noisy()
    found, _ = sampler.step(denoise, x, TIMES[6], TIMES[7], None, ImageNoise(0, 3))
    assert torch.equal(found, gaussian()(x, TIMES[6]).x0)
    assert denoise.count == 1
