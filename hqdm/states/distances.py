r"""Distances of states, and of ensembles of states.

    F(r, s) = (tr sqrt(sqrt(r) s sqrt(r)))^2                               (Uhlmann fidelity),
    G(r, s) = tr(r s) + sqrt(1 - tr r^2) sqrt(1 - tr s^2) >= F             (superfidelity),
    MMD^2(a, b) = E k(a, a') + E k(b, b') - 2 E k(a, b),                   k = F or G,
    W(a, b) = min_P sum_ij P_ij (1 - k(a_i, b_j))                          (1-Wasserstein).

The kernel k is |<a|b>|^2 for kets and the superfidelity (Miszczak et al. 2009) for density
matrices. All but `fidelity` and `trace_distance` have finite gradients everywhere, also at I / d
and at pure states, since no eigenvalue is differentiated.
"""

import importlib
from typing import Any, Literal

import torch
from torch import Tensor

from hqdm.states.density import is_kets, n_qubits_of, purity, refuse_density
from hqdm.utils.checks import positive
from hqdm.utils.errors import HQDMError, unknown

MIN_IMPURITY = 1e-9
"""Least value of 1 - tr r^2 under a root, whose derivative is then at most 1.6e4."""


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """The fidelity |<a|b>|^2 of kets `(..., d)`, elementwise, in [0, 1]."""
    return torch.view_as_real((a.conj() * b).sum(-1)).square().sum(-1)


def fidelity(rho: Tensor, sigma: Tensor) -> Tensor:
    """The Uhlmann fidelity, (tr |sqrt(rho) sqrt(sigma)|)^2, in [0, 1].

    It is a score, computed in double precision: its gradient is not defined where an eigenvalue is
    zero or degenerate. Rounded zeros among the eigenvalues leave an error of up to d 1e-8.

    Args:
        rho: Density matrices `(..., d, d)`.
        sigma: Density matrices of the same shape.
    """
    product = matrix_power(rho, 0.5) @ matrix_power(sigma, 0.5)
    return torch.linalg.svdvals(product).sum(-1).square()


def matrix_power(rho: Tensor, exponent: float) -> Tensor:
    """The power of positive matrices on their support, in complex128.

    Eigenvalues that are zero, see `without_rounding`, stay zero, so that a negative power is the
    one of the pseudo-inverse.

    Args:
        rho: Hermitian positive matrices `(..., d, d)`.
        exponent: The power, of either sign.
    """
    values, vectors = torch.linalg.eigh(rho.to(torch.complex128))
    values = without_rounding(values)
    powers = torch.where(values > 0, values**exponent, 0.0)
    return (vectors * powers[..., None, :]) @ vectors.mH


def without_rounding(values: Tensor) -> Tensor:
    """Eigenvalues of positive matrices with zeros for those below d eps times the largest.

    Args:
        values: `(..., d)` in float64, ascending.
    """
    floor = values.shape[-1] * torch.finfo(torch.float64).eps * values[..., -1:]
    return torch.where(values > floor, values, 0.0)


def superfidelity(rho: Tensor, sigma: Tensor) -> Tensor:
    """The superfidelity G >= F; equal to F for one qubit or if a state is pure.

    Args:
        rho: Density matrices `(..., d, d)`.
        sigma: Density matrices of the same shape.
    """
    return _inner(rho, sigma) + _root_impurity(rho) * _root_impurity(sigma)


def hilbert_schmidt(rho: Tensor, sigma: Tensor) -> Tensor:
    """The Hilbert-Schmidt distance tr (rho - sigma)^2 of density matrices, in [0, 2]."""
    return purity(rho - sigma)


def trace_distance(rho: Tensor, sigma: Tensor) -> Tensor:
    """The trace distance tr |rho - sigma| / 2 of density matrices, in [0, 1]."""
    return torch.linalg.eigvalsh(rho - sigma).abs().sum(-1) / 2


def overlap_kernel(a: Tensor, b: Tensor) -> Tensor:
    """The matrix |<a_i|b_j>|^2, `(N, M)`, of kets `(N, d)` and `(M, d)`."""
    return torch.view_as_real(a.conj() @ b.mT).square().sum(-1)


def superfidelity_kernel(a: Tensor, b: Tensor) -> Tensor:
    """The matrix G(a_i, b_j), `(N, M)`, of density matrices `(N, d, d)` and `(M, d, d)`."""
    products = (a.flatten(1) @ b.flatten(1).mH).real
    return products + _root_impurity(a)[:, None] * _root_impurity(b)


def kernel(a: Tensor, b: Tensor) -> Tensor:
    """`overlap_kernel` of kets, `superfidelity_kernel` of density matrices.

    Args:
        a: Kets `(N, d)` or density matrices `(N, d, d)`.
        b: States of the same kind, `M` of them.

    Returns:
        `(N, M)`.

    Raises:
        HQDMError: If the kinds or dimensions differ.
    """
    _check_alike(a, b)
    return overlap_kernel(a, b) if is_kets(a) else superfidelity_kernel(a, b)


def mmd(a: Tensor, b: Tensor) -> Tensor:
    r"""The squared maximum mean discrepancy of two ensembles, with `kernel`.

        MMD^2 = 2 E(1 - k(a, b)) - E(1 - k(a, a')) - E(1 - k(b, b'))

    (QuDDPM; means over all pairs, those of a state with itself included). As both kernels are inner
    products of features, k(r, s) = tr(r s) + m(r) m(s) with m(r) = sqrt(1 - tr r^2), it equals

        tr (E a - E b)^2 + (E m(a) - E m(b))^2,

    which takes N + M steps in place of N M. It follows that it tells ensembles of kets apart by
    their average density matrix only; `wasserstein` tells all of them apart.

    Args:
        a: Kets `(N, d)` or density matrices `(N, d, d)`.
        b: States of the same kind, `M` of them.

    Returns:
        A real number of at least 0.

    Raises:
        HQDMError: If the kinds or dimensions differ.
    """
    _check_alike(a, b)
    distance = hilbert_schmidt(average(a), average(b))
    if is_kets(a):
        return distance
    return distance + (_root_impurity(a).mean() - _root_impurity(b).mean()).square()


def average(states: Tensor) -> Tensor:
    """The average density matrix `(d, d)` of kets `(B, d)` or density matrices `(B, d, d)`.

    Raises:
        HQDMError: As `is_kets`, or if it takes more than the memory limit of `density`.
    """
    if is_kets(states):
        refuse_density(1, n_qubits_of(states.shape[-1]), states.dtype)
        return states.mT @ states.conj() / len(states)
    return states.mean(0)


def average_fidelity(a: Tensor, b: Tensor) -> Tensor:
    r"""The fidelity F(E a, E b) of the average states of two ensembles, in [0, 1].

    The averages of N and M kets, the columns of A and B, are A A^dagger / N and B B^dagger / M,
    and F = (sum_i s_i)^2 / (N M) with the singular values s_i of A^dagger B, so that few kets of
    many qubits need no density matrices.

    Args:
        a: Kets `(N, d)` or density matrices `(N, d, d)`.
        b: The same, `M` of them.

    Raises:
        HQDMError: As `average`, or if the dimensions differ, or there are no states.
    """
    if a.shape[-1] != b.shape[-1] or not (len(a) and len(b)):
        raise HQDMError(
            f"a fidelity of averages needs states of one dimension, got shapes {tuple(a.shape)} "
            f"and {tuple(b.shape)}"
        )
    if is_kets(a) and is_kets(b) and min(len(a), len(b)) < a.shape[-1]:
        overlaps = a.conj().to(torch.complex128) @ b.to(torch.complex128).mT
        return torch.linalg.svdvals(overlaps).sum().square() / (len(a) * len(b))
    return fidelity(average(a), average(b))


def mixed_fidelity(states: Tensor) -> Tensor:
    """The fidelity (tr sqrt(rho))^2 / d of the average rho of an ensemble to I / d, in [0, 1].

    Args:
        states: Kets `(N, d)` or density matrices `(N, d, d)`.

    Raises:
        HQDMError: As `average`.
    """
    dim = states.shape[-1]
    if is_kets(states):
        values = torch.linalg.svdvals(states.to(torch.complex128)) / len(states) ** 0.5
    else:
        mean = average(states).to(torch.complex128)
        values = without_rounding(torch.linalg.eigvalsh(mean)).sqrt()
    return values.sum().square() / dim


def wasserstein(
    a: Tensor,
    b: Tensor,
    method: Literal["exact", "sinkhorn"] = "exact",
    reg: float = 0.01,
) -> Tensor:
    r"""The 1-Wasserstein distance of two ensembles for the cost C = 1 - `kernel`.

    `exact` solves the linear program; `sinkhorn` minimises sum_ij P_ij C_ij + reg KL(P | u u'),
    with u and u' the uniform weights (Cuturi 2013). The gradient is the sum of the gradients of
    C_ij with the optimal P_ij as weights, by the envelope theorem.

    Args:
        a: Kets `(N, d)` or density matrices `(N, d, d)`.
        b: States of the same kind, `M` of them.
        method: `exact` or `sinkhorn`.
        reg: The weight of the entropy of `sinkhorn`, above 0.

    Returns:
        A real number; `sinkhorn` is between `exact` and `exact` + reg log max(N, M).

    Raises:
        HQDMError: If the kinds or dimensions differ, the method is unknown, `reg` is not positive
            or POT is not installed.
    """
    if method not in ("exact", "sinkhorn"):
        raise unknown("Wasserstein method", method, ("exact", "sinkhorn"))
    cost = 1 - kernel(a, b)
    fixed = cost.detach().double().cpu()
    if method == "exact":
        plan = _transport().emd([], [], fixed)
        return (plan.to(cost) * cost).sum()
    u, v = (torch.full((size,), 1 / size, dtype=torch.float64) for size in fixed.shape)
    plan = _transport().sinkhorn(
        u, v, fixed, positive("reg", reg), method="sinkhorn_log", numItermax=10_000
    )
    entropy = torch.special.xlogy(plan, plan / (u[:, None] * v)).sum()
    return (plan.to(cost) * cost).sum() + reg * entropy.to(cost)


def _check_alike(a: Tensor, b: Tensor) -> None:
    if is_kets(a) != is_kets(b) or a.shape[1:] != b.shape[1:]:
        raise HQDMError(
            "ensembles to compare need states of one kind and dimension, got shapes "
            f"{tuple(a.shape)} and {tuple(b.shape)}"
        )


def _transport() -> Any:
    """The library of optimal transport, an optional dependency."""
    try:
        return importlib.import_module("ot")
    except ImportError as error:
        raise HQDMError("Wasserstein distances need POT: pip install 'hqdm[states]'") from error


def _inner(rho: Tensor, sigma: Tensor) -> Tensor:
    """The real inner product tr(rho sigma) of Hermitian matrices."""
    return (torch.view_as_real(rho) * torch.view_as_real(sigma)).sum((-3, -2, -1))


def _root_impurity(rho: Tensor) -> Tensor:
    return (1 - purity(rho)).clamp(min=MIN_IMPURITY).sqrt()
