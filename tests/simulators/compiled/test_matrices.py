"""Matrices of instructions: the kernels against torch operations and automatic differentiation."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from hqdm.simulators.compiled.lowering import Factor
from hqdm.simulators.compiled.matrices import Entries, InstructionMatrices

N_GATES = 5
CPU = torch.device("cpu")


def random_factors(sizes, lengths, seed=0):
    """Instructions with random terms A, B, C (not unitary) and random gates."""
    draws = torch.Generator().manual_seed(seed)

    def factor(size):
        terms = torch.randn(3, size, size, dtype=torch.complex128, generator=draws)
        return Factor(int(torch.randint(N_GATES, (), generator=draws)), terms)

    return [
        [factor(size) for _ in range(length)] for size, length in zip(sizes, lengths, strict=True)
    ]


def phases_of(n_circuits, seed=1):
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(n_circuits, N_GATES, generator=draws).double().requires_grad_()


def product_of(factors, phases):
    """The products of one circuit, by their definition."""
    found = []
    for row in factors:
        product = torch.eye(len(row[0].matrices[0])).to(torch.complex128)
        for factor in row:
            a, b, c = factor.matrices
            phase = phases[factor.gate]
            product = (a + phase.cos() * b + phase.sin() * c) @ product
        found.append(product)
    return torch.stack(found)


@settings(deadline=None, max_examples=30)
@given(
    size=st.sampled_from([1, 2, 4]),
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    n_circuits=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_products_and_their_gradients(size, lengths, n_circuits, seed):
    """Of up to four matrices; numbers are of the order 100, hence the tolerance."""
    factors = random_factors([size] * len(lengths), lengths, seed)
    matrices = InstructionMatrices(factors, torch.complex128, CPU)
    phases = phases_of(n_circuits, seed)
    found = matrices(phases)
    expected = torch.stack([product_of(factors, one) for one in phases])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(matrices.reference(phases), expected, rtol=1e-12, atol=1e-12)
    grad = torch.randn_like(expected)
    (own,) = torch.autograd.grad(found, phases, grad)
    (automatic,) = torch.autograd.grad(expected, phases, grad)
    torch.testing.assert_close(own, automatic, rtol=1e-11, atol=1e-11)


@pytest.mark.slow
def test_entries_of_several_sizes_and_of_the_inverse():
    """One after the other, those of the inverse conjugated and transposed, with second
    derivatives."""
    factors = random_factors([1, 1, 2, 4], [2, 1, 3, 1])
    entries, phases = Entries(factors, torch.complex128, CPU), phases_of(2)
    expected = [
        torch.cat([product_of([row], one)[0].flatten() for row in factors]) for one in phases
    ]
    torch.testing.assert_close(entries(phases), torch.stack(expected))
    inverse = [
        torch.cat([product_of([row], one)[0].conj().T.flatten() for row in factors])
        for one in phases
    ]
    inverted = Entries(factors, torch.complex128, CPU, inverse=True)
    torch.testing.assert_close(inverted(phases), torch.stack(inverse))
    for function in (entries, inverted):
        assert gradcheck(function, phases)
        assert gradgradcheck(function, phases)


def test_forward_mode_and_vmap():
    """Those of automatic differentiation."""
    factors = random_factors([2, 2], [3, 1])
    matrices, phases = InstructionMatrices(factors, torch.complex128, CPU), phases_of(3).detach()
    tangent = torch.ones_like(phases)
    found = torch.func.jvp(matrices, (phases,), (tangent,))
    expected = torch.func.jvp(matrices.reference, (phases,), (tangent,))
    torch.testing.assert_close(found, expected)
    stacked = torch.stack([phases, 2 * phases])
    torch.testing.assert_close(
        torch.func.vmap(matrices)(stacked), torch.stack([matrices(one) for one in stacked])
    )


@pytest.mark.parametrize("grad", [False, True])
def test_the_phases_and_the_gradient_stay_as_they_are(grad):
    matrices = InstructionMatrices(random_factors([2], [3]), torch.complex64, CPU)
    phases = phases_of(2).detach().float()[:, [1, 0, 2, 3, 4]].requires_grad_(grad)
    before = phases.detach().clone()
    found = matrices(phases)
    assert found.dtype == torch.complex64
    if grad:
        given_grad = torch.randn_like(found)
        kept = given_grad.clone()
        found.backward(given_grad)
        assert torch.equal(given_grad, kept)
        assert phases.grad.dtype == torch.float32
    assert torch.equal(phases.detach(), before)
