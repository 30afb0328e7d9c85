"""The average of the weights: by hand, and when it is updated."""

import numpy as np
import pytest
import torch
from simulated_gpu import SimulatedGPU, on_gpu

from hqdm.training.ema import EMA, exponent
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


def test_buffers_are_copied_and_updates_counted():
    """The average is not of buffers; the count is one up to `start`, then that of the updates."""
    model = torch.nn.BatchNorm1d(2)
    ema = EMA(model, decay=0.9, every=2, start=3)
    counts = []
    for step in range(1, 9):
        model.running_mean.fill_(float(step))
        ema.after_step(model, step)
        counts.append(int(ema.n_averaged))
        updated = step if step <= 3 or step % 2 == 0 else step - 1
        assert ema.module.running_mean.tolist() == [updated, updated]
    assert counts == [1, 1, 1, 2, 2, 3, 3, 4]


def profile(steps, **options):
    """The weight of the weights of each step in the average after the last one."""
    model = torch.nn.Linear(steps, 1, bias=False).double()
    ema = EMA(model, **options)
    for step in range(1, steps + 1):
        model.weight.data = torch.eye(steps)[step - 1 : step].double()
        ema.after_step(model, step)
    return ema.module.weight.detach()[0].numpy()


@pytest.mark.parametrize(("every", "start"), [(1, 0), (1, 40), (5, 0), (10, 40), (10, 33)])
def test_the_average_that_follows_the_run_has_the_power_profile(every, start):
    """A step weighs the integral of tau^gamma since the last one; the copy, all up to `start`."""
    steps, sigma_rel = 200, 0.1
    gamma = exponent(sigma_rel)
    used = [step for step in range(1, steps + 1) if step > start and step % every == 0]
    used = [start, *used] if start else used
    edges = np.array([0, *used]) / steps
    expected = np.zeros(steps)
    expected[np.array(used) - 1] = np.diff(edges ** (gamma + 1))
    np.testing.assert_allclose(
        profile(steps, every=every, start=start, sigma_rel=sigma_rel), expected, atol=1e-15
    )


@pytest.mark.parametrize("sigma_rel", [0.02, 0.1, 0.25, 12**-0.5])
@pytest.mark.parametrize("steps", [100, 400])
def test_the_relative_width_is_the_given_one_at_any_length(sigma_rel, steps):
    """Up to the width 1 / T of a step: the profile is a sum in place of an integral."""
    weights = profile(steps, every=1, start=0, sigma_rel=sigma_rel)
    at = np.arange(1, steps + 1) / steps
    mean = (weights * at).sum()
    assert weights.sum() == pytest.approx(1, rel=1e-12)
    assert ((weights * (at - mean) ** 2).sum()) ** 0.5 == pytest.approx(sigma_rel, abs=1 / steps)


def test_exponents_of_relative_widths():
    """The cubic, by the formula of the width; the mean of all steps has gamma = 0."""
    for gamma in (0.5, 1, 6.94, 16.97, 100):
        sigma_rel = ((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3))) ** 0.5
        assert exponent(sigma_rel) == pytest.approx(gamma, rel=1e-9)
    assert exponent(12**-0.5) == pytest.approx(0, abs=1e-12)
    # Karras et al. 2024, section 3.1
    assert [round(exponent(width), 2) for width in (0.05, 0.1)] == [16.97, 6.94]


def test_the_two_kinds_of_average_exclude_each_other():
    model = torch.nn.Linear(1, 1)
    assert EMA(model).decay == 0.995
    assert EMA(model, sigma_rel=0.1).decay is None
    with pytest.raises(HQDMError, match="got 0.9 and 0.1: set one of them to null"):
        EMA(model, decay=0.9, sigma_rel=0.1)


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
        ({"sigma_rel": 0.0}, "ema_sigma_rel needs a number from 1e-06 to 12"),
        ({"sigma_rel": 0.29}, "ema_sigma_rel needs a number from 1e-06 to 12"),
        ({"sigma_rel": 1e-200}, "ema_sigma_rel needs a number from 1e-06 to 12"),
        ({"sigma_rel": float("nan")}, "ema_sigma_rel needs a finite number, got nan"),
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
