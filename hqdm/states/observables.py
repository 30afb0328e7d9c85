r"""Observables of quantum states: Bloch vectors, populations, magnetisation.

    r = (<X>, <Y>, <Z>),    p_i = <i|rho|i>,    M = (1/n) sum_i Z_i  or  (1/n) sum_i X_i.

All take kets `(B, d)` or density matrices `(B, d, d)`.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from hqdm.simulators.program.statevector import z_signs
from hqdm.states.channels import products
from hqdm.states.density import is_kets, n_qubits_of, refuse_density
from hqdm.utils.errors import HQDMError, unknown

Axis = Literal["x", "z"]


def bloch(states: Tensor) -> Tensor:
    """Bloch vectors (<X>, <Y>, <Z>) of states of one qubit.

    Args:
        states: Kets `(B, 2)` or density matrices `(B, 2, 2)`.

    Returns:
        Real `(B, 3)`, of length 1 for kets and at most 1 for density matrices.

    Raises:
        HQDMError: If they are not states of one qubit.
    """
    kets = is_kets(states)
    if states.shape[-1] != 2:
        raise HQDMError(
            "Bloch vectors are of one qubit: expected kets (B, 2) or density matrices (B, 2, 2), "
            f"got shape {tuple(states.shape)}"
        )
    lower = states[:, 1] * states[:, 0].conj() if kets else states[:, 1, 0]
    up, down = populations(states).unbind(-1)
    return torch.stack([2 * lower.real, 2 * lower.imag, up - down], -1)


def populations(states: Tensor) -> Tensor:
    """Probabilities of the computational basis states.

    Args:
        states: Kets `(B, d)` or density matrices `(B, d, d)`.

    Returns:
        Real `(B, d)`, in [0, 1].

    Raises:
        HQDMError: As `is_kets`.
    """
    if is_kets(states):
        return torch.view_as_real(states).square().sum(-1)
    return states.diagonal(dim1=-2, dim2=-1).real


def magnetisation(states: Tensor, absolute: bool = False, axis: Axis = "z") -> Tensor:
    """The magnetisation <M>, or <|M|>, of M = (1/n) sum_i Z_i, or of the sum of X_i.

    Ground states of the Ising chain have <M> = 0 along z by symmetry. QuDDPM (Zhang et al., PRL
    132, 100602) therefore shows <|M|>, the mean of |M| over the outcomes of Z on all qubits;
    MSQuDDPM (Kwun et al., PRA 111, 032610) shows <M> along x, the axis of the field.

    Args:
        states: Kets `(B, d)` or density matrices `(B, d, d)`.
        absolute: Take |M|, whose mean is in [0, 1], for M, whose mean is in [-1, 1].
        axis: "z" or "x".

    Returns:
        Real `(B,)`.

    Raises:
        HQDMError: If the axis is unknown, or as `is_kets`; along x also if a matrix `(d, d)` takes
            more than the memory limit of `hqdm.states.density`.
    """
    if axis not in get_args(Axis):
        raise unknown("axis of the magnetisation", axis, get_args(Axis))
    probabilities = populations(states if axis == "z" else _x_basis(states))
    mean = z_signs(n_qubits_of(states.shape[-1])).mean(0)
    return probabilities @ (mean.abs() if absolute else mean).to(probabilities)


def _x_basis(states: Tensor) -> Tensor:
    """The states after a Hadamard gate on every qubit, which exchanges X and Z."""
    kets, n = is_kets(states), n_qubits_of(states.shape[-1])
    refuse_density(1, n, states.dtype)
    gate = torch.tensor([[[1, 1], [1, -1]]]).to(states) / 2**0.5
    hadamards = products(gate, n)[0]
    return states @ hadamards if kets else hadamards @ states @ hadamards
