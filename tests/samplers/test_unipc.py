"""UniPC beyond its order; see `test_orders.py` and `test_diffusers.py`."""

import pytest
import torch

from hqdm.diffusion.analytic import GaussianDenoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.samplers import DDIM, UniPC
from hqdm.utils.errors import HQDMError

DENOISER = GaussianDenoiser(
    torch.tensor(0.2).double(), torch.tensor(0.3).double(), CosineSchedule()
)
X1 = torch.linspace(-2, 2, 5).double().view(5, 1, 1, 1)


@pytest.mark.parametrize("predict", ["eps", "x0"])
def test_the_first_order_predictor_is_ddim(predict):
    unip = UniPC(8, "lambda", order=1, predict=predict, corrector=False)
    expected = DDIM(8, grid="lambda")(DENOISER, X1)
    torch.testing.assert_close(unip(DENOISER, X1), expected, rtol=0, atol=1e-13)


def test_the_corrector_costs_no_evaluation():
    for corrector in (False, True):
        assert UniPC(8, corrector=corrector).run(DENOISER, X1).evaluations == 8


def test_ten_evaluations_are_close_to_the_flow():
    start, end = torch.tensor([1.0, 0.05]).double()
    exact = DENOISER.flow(X1, start, end)
    unipc, ddim = (
        (sampler.run(DENOISER, X1, t_end=0.05).x0 - exact).abs().max()
        for sampler in (UniPC(10, "lambda", order=3), DDIM(10, grid="lambda"))
    )
    assert unipc < ddim / 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 4}, "UniPC needs an order of 1, 2, 3, got 4"),
        ({"predict": "v"}, "unknown prediction 'v'"),
        ({"b": "h2"}, r"unknown B\(h\) 'h2'"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(HQDMError, match=message):
        UniPC(**options)
