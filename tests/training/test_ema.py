"""The average of the weights: by hand, and when it is updated."""

import pytest
import torch
from simulated_gpu import SimulatedGPU, on_gpu

from hqdm.training.ema import EMA
from hqdm.utils.errors import HQDMError


def test_the_average_is_that_of_the_formula():
    """Weight k after step k; a copy up to step 3, then decay 0.9 at steps 4, 6, 8."""
    model = torch.nn.Linear(1, 1, bias=False).double()
    ema = EMA(model, decay=0.9, every=2, start=3)
    expected = 0.0
    for step in range(1, 10):
        model.weight.data.fill_(float(step))
        ema.after_step(model, step)
        if step <= 3:
            expected = float(step)
        elif step % 2 == 0:
            expected = 0.9 * expected + 0.1 * step
        assert float(ema.module.weight) == pytest.approx(expected, rel=1e-12)


def test_a_gpu_is_not_waited_for():
    model = torch.nn.Linear(2, 1)
    ema = on_gpu(EMA(model, decay=0.9, every=1, start=0))
    with torch.no_grad(), SimulatedGPU() as gpu:
        for step in (1, 2):
            ema.after_step(on_gpu(torch.nn.Linear(2, 1)), step)
    assert gpu.waits == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"decay": 1.0}, "ema_decay needs a number in"),
        ({"every": 0}, "ema_every needs a whole number from 1, got 0"),
        ({"every": 2.5}, "ema_every needs a whole number from 1, got 2.5"),
        ({"start": -1}, "ema_start needs a whole number from 0, got -1"),
        ({"decay": "x"}, "ema_decay needs a finite number, got 'x'"),
    ],
)
def test_bad_numbers_are_refused(options, said):
    with pytest.raises(HQDMError, match=said):
        EMA(torch.nn.Linear(1, 1), **options)


def test_the_average_of_weights_in_half_precision_is_in_float32():
    """A change of 0.001 of a weight of 1 is below the spacing of bfloat16, 2^-8."""
    model = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False))
    ema = EMA(model, decay=0.999, every=1, start=1)
    holder = torch.nn.ModuleList([model, ema]).bfloat16()
    assert model[0].weight.dtype == torch.bfloat16
    model[0].weight.data.fill_(1.0)
    ema.after_step(model, 1)
    model[0].weight.data.fill_(2.0)
    expected = 1.0
    for step in range(2, 12):
        ema.after_step(model, step)
        expected = 0.999 * expected + 0.001 * 2
    average = ema.module[0].weight
    assert average.dtype == torch.float32
    assert float(average) == pytest.approx(expected, abs=1e-6)
    before = average.detach().clone()
    holder.bfloat16()  # again, as after a checkpoint is loaded
    assert torch.equal(ema.module[0].weight, before)
    assert holder.double()[1].module[0].weight.dtype == torch.float64
