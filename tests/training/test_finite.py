"""Losses that are not finite: at once on the CPU, a step later on a GPU."""

import pickle
from copy import deepcopy

import pytest
import torch
from simulated_gpu import SimulatedGPU, on_gpu

from hqdm.training.finite import LossCheck
from hqdm.utils.errors import HQDMError

NAN = torch.tensor(float("nan"))


def rate():
    return 0.5


def test_on_the_cpu_the_loss_of_this_step_is_refused():
    check = LossCheck()
    check.add(torch.tensor(1.0), 3, rate)
    with pytest.raises(HQDMError, match=r"the loss is nan at step 4: .* \(now 0\.5\)"):
        check.add(NAN, 4, rate)
    check.end()  # it was reported


def test_on_a_gpu_the_loss_of_the_step_before_is_refused_without_waiting():
    check = LossCheck()
    with SimulatedGPU() as gpu:
        check.add(on_gpu(torch.tensor(1.0)), 3, rate)
        check.add(on_gpu(NAN), 4, rate)
        assert gpu.waits == []
        with pytest.raises(HQDMError, match="the loss is nan at step 4"):
            check.add(on_gpu(torch.tensor(1.0)), 5, rate)


def test_a_copy_has_no_loss_to_report():
    check = LossCheck()
    with SimulatedGPU():
        check.add(on_gpu(NAN), 4, rate)
        deepcopy(check).end()
        pickle.loads(pickle.dumps(check)).end()


def test_the_last_loss_is_read_at_the_end():
    check = LossCheck()
    with SimulatedGPU():
        check.add(on_gpu(NAN), 4, rate)
        with pytest.raises(HQDMError, match="the loss is nan at step 4"):
            check.end()
