"""Checks of an operation of the compiled kernels against its reference in torch operations."""

import torch

from hqdm.simulators.compiled.calls import compute
from hqdm.simulators.compiled.lanes import n_lanes

DTYPE = torch.float64
LANES = n_lanes(8)
# A sum of n products has a relative error of at most n eps; here n is below 10^4, and errors of
# different signs cancel.
TOLERANCE = {"rtol": 1e-11, "atol": 1e-11}


def random(*shape, seed=0):
    """Normal numbers that need gradients."""
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=DTYPE).requires_grad_()


def assert_is_its_reference(operation, *tensors):
    """Compare values, gradients and gradients of gradients with those of the reference."""
    ours, theirs = compute(operation, *tensors), operation.reference(*tensors)
    torch.testing.assert_close(ours, theirs, **TOLERANCE)
    grad = torch.randn_like(theirs).requires_grad_()
    of_ours, of_theirs = (torch.autograd.grad(out, tensors, grad) for out in (ours, theirs))
    for a, b in zip(of_ours, of_theirs, strict=True):
        torch.testing.assert_close(a, b, **TOLERANCE)
    second = []
    for out in (compute(operation, *tensors), operation.reference(*tensors)):
        first = torch.autograd.grad(out, tensors, grad, create_graph=True)
        total = sum(g.square().sum() for g in first)
        second.append(torch.autograd.grad(total, [*tensors, grad], materialize_grads=True))
    for a, b in zip(*second, strict=True):
        torch.testing.assert_close(a, b, **TOLERANCE)


def assert_gradient_of(operation, which, *tensors):
    """Compare the gradient with respect to one tensor only."""
    tensors = [t.detach().requires_grad_(i == which) for i, t in enumerate(tensors)]
    ours, theirs = compute(operation, *tensors), operation.reference(*tensors)
    grad = torch.randn_like(theirs)
    of_ours, of_theirs = (
        torch.autograd.grad(out, tensors[which], grad)[0] for out in (ours, theirs)
    )
    torch.testing.assert_close(of_ours, of_theirs, **TOLERANCE)


def assert_independent_of_threads(operation, *tensors):
    """Compare values and gradients of one and of two threads, bit by bit."""
    before, results = torch.get_num_threads(), []
    tensors = [tensor.detach() for tensor in tensors]
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            value, *further = operation.forward(*tensors)
            needed = tuple(tensor.ndim > 1 for tensor in tensors)  # torch sums the others
            grads = operation.backward(value, needed, *tensors, *further)
            results.append(
                [value, *(g for g, is_ours in zip(grads, needed, strict=True) if is_ours)]
            )
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)
