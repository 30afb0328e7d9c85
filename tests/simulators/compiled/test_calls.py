"""Calls of kernels: an operation as a differentiable torch function, messages, threads."""

from dataclasses import dataclass

import numba
import pytest
import torch
from numba import njit
from torch.autograd import gradcheck, gradgradcheck

from hqdm.simulators.compiled import calls
from hqdm.simulators.compiled.calls import call, compute, n_threads, threads


@dataclass(frozen=True)
class Power:
    """x^n y for a tensor y that is saved as a further tensor; counts its calls."""

    n: int
    needed: list

    def forward(self, x, y):
        return x**self.n * y, y.clone()

    def backward(self, grad, needed, x, y, further):
        self.needed.append(needed)
        assert torch.equal(further, y)
        of_x = self.n * x ** (self.n - 1) * y * grad if needed[0] else None
        return of_x, x**self.n * grad if needed[1] else None

    def reference(self, x, y):
        return x**self.n * y


@pytest.fixture
def operation():
    return Power(3, [])


def numbers(*shape, grad=True):
    return torch.rand(*shape, dtype=torch.float64).requires_grad_(grad)


def test_values_and_derivatives_of_any_order(operation):
    x, y = numbers(4), numbers(4)
    torch.testing.assert_close(compute(operation, x, y), x**3 * y)
    assert gradcheck(lambda *tensors: compute(operation, *tensors), (x, y))
    assert gradgradcheck(lambda *tensors: compute(operation, *tensors), (x, y))
    assert operation.needed


def test_gradients_that_are_not_needed(operation):
    x, y = numbers(4), numbers(4, grad=False)
    compute(operation, x, y).sum().backward()
    assert operation.needed == [(True, False)]
    assert y.grad is None


def test_a_value_without_gradient(operation):
    x, y = numbers(4), numbers(4)
    with torch.no_grad():
        assert compute(operation, x, y).grad_fn is None
    assert compute(operation, x.detach(), y.detach()).grad_fn is None


def test_an_unused_value(operation):
    """Its gradient is None, and no kernel is called."""
    x, y = numbers(4), numbers(4)
    value = compute(operation, x, y)
    torch.stack([x.sum(), (0 * value).detach().sum()]).sum().backward()
    assert operation.needed == []


def test_forward_mode_and_vmap(operation):
    x, y = numbers(3, 4), numbers(4)
    tangent = torch.func.jvp(lambda x: compute(operation, x, y), (x,), (torch.ones_like(x),))[1]
    torch.testing.assert_close(tangent, 3 * x**2 * y)
    mapped = torch.func.vmap(lambda x: compute(operation, x, y))(x)
    torch.testing.assert_close(mapped, x**3 * y)


def test_one_message_for_kernels_of_one_name(caplog):
    kernels = [njit(lambda x: x + 1), njit(lambda x: x + 2), njit(lambda x: x + 3)]
    for kernel, name in zip(kernels, ("first", "first", "second"), strict=True):
        for _ in range(2):
            call(kernel, name, torch.float32, 1.0)
    assert [record.getMessage() for record in caplog.records] == [
        calls.COMPILING % (name, torch.float32) for name in ("first", "second")
    ]


def test_threads_are_those_of_torch():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    assert n_threads() == 1
    with threads(1):
        assert numba.get_num_threads() == 1
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)
