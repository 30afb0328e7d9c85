r"""Kets and density matrices of n qubits as torch tensors.

    rho = |psi><psi|,   tr rho = 1,   rho = rho^dagger >= 0.

Kets are complex `(..., d)` and density matrices complex `(..., d, d)`, with d = 2^n and qubit 0 the
most significant bit of an index, as in PennyLane. Functions of both kinds take a batch with one
axis, `(B, d)` or `(B, d, d)`, since the number of axes then tells them apart.
"""

from math import sqrt

import torch
from torch import Tensor

from hqdm.simulators.program.base import refuse_memory
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError
from hqdm.utils.tables import counted

MAX_STATE_BYTES = 2**30
"""Memory limit in bytes of the density matrices that a function here makes."""


def n_qubits_of(dim: int) -> int:
    """The number of qubits n of a dimension d = 2^n, at least one.

    Raises:
        HQDMError: If the dimension is no power of two, or below 2.
    """
    if dim < 2 or dim & (dim - 1):
        raise HQDMError(f"states of qubits need a dimension 2, 4, 8, ..., got {dim}")
    return dim.bit_length() - 1


def refuse_density(n_states: int, n_qubits: int, dtype: torch.dtype) -> None:
    """Refuse density matrices that take more than `MAX_STATE_BYTES`, before they are made.

    Raises:
        HQDMError: If they take more.
    """
    _refuse(f"{n_states} density matrices", n_qubits, density_bytes(n_states, n_qubits, dtype))


def density_bytes(n_states: int, n_qubits: int, dtype: torch.dtype) -> int:
    """Bytes of density matrices."""
    return n_states * 4**n_qubits * dtype.itemsize


def refuse_kets(n_states: int, n_qubits: int, dtype: torch.dtype) -> None:
    """Refuse kets that take more than `MAX_STATE_BYTES`, before they are made.

    Raises:
        HQDMError: If they take more.
    """
    _refuse(f"{n_states} kets", n_qubits, n_states * 2**n_qubits * dtype.itemsize)


def _refuse(what: str, n_qubits: int, n_bytes: int) -> None:
    what = f"{what} of {counted(n_qubits, 'qubit')}"
    refuse_memory(what, n_bytes, MAX_STATE_BYTES, "fewer qubits or states")


def is_kets(states: Tensor) -> bool:
    """True for a batch of kets `(B, d)`, false for density matrices `(B, d, d)`.

    Raises:
        HQDMError: If the tensor is neither.
    """
    if (states.ndim == 3 and states.shape[-1] == states.shape[-2]) or states.ndim == 2:
        n_qubits_of(states.shape[-1])
        return states.ndim == 2
    raise HQDMError(
        f"expected kets (B, d) or density matrices (B, d, d), got shape {tuple(states.shape)}"
    )


def density(kets: Tensor) -> Tensor:
    """The density matrices |psi><psi| of kets.

    Args:
        kets: Complex `(..., d)`.

    Returns:
        Complex `(..., d, d)`.

    Raises:
        HQDMError: If d is no power of two, or they take more than `MAX_STATE_BYTES`.
    """
    n_qubits = n_qubits_of(kets.shape[-1])
    refuse_density(kets[..., 0].numel(), n_qubits, kets.dtype)
    return kets[..., :, None] * kets[..., None, :].conj()


def as_density(states: Tensor) -> Tensor:
    """Density matrices `(B, d, d)` of kets `(B, d)`; density matrices are returned as they are.

    Raises:
        HQDMError: As `is_kets` and `density`.
    """
    return density(states) if is_kets(states) else states


def maximally_mixed(n_qubits: int, dtype: torch.dtype = torch.complex128) -> Tensor:
    """The maximally mixed state I / d, complex `(d, d)`.

    Raises:
        HQDMError: If it takes more than `MAX_STATE_BYTES`.
    """
    refuse_density(1, whole("n_qubits", n_qubits, least=1), dtype)
    return torch.eye(2**n_qubits, dtype=dtype) / 2**n_qubits


def haar_kets(
    n_states: int,
    n_qubits: int,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.complex128,
) -> Tensor:
    """Haar-random kets, complex normal vectors divided by their norms.

    Args:
        n_states: Number of kets.
        n_qubits: Number of qubits n.
        generator: The random generator; None is the default one of torch.
        dtype: Complex dtype of the result.

    Returns:
        `(n_states, 2^n)`.
    """
    shape = (whole("n_states", n_states), 2 ** whole("n_qubits", n_qubits, least=1))
    return normalised(torch.randn(shape, generator=generator, dtype=dtype))


def normalised(kets: Tensor) -> Tensor:
    """Kets `(..., d)` divided by their norms."""
    return kets / torch.linalg.vector_norm(kets, dim=-1, keepdim=True)


def purity(rho: Tensor) -> Tensor:
    """The purity tr rho^2 of density matrices `(..., d, d)`: 1 if pure, 1/d if maximally mixed."""
    return torch.view_as_real(rho).square().sum((-3, -2, -1))


def check_kets(states: Tensor, what: str = "kets") -> Tensor:
    """Refuse tensors that are not kets of norm one.

    The tolerance of the squared norm is the root of the precision of the dtype (1.5e-8 for
    complex128, 3.5e-4 for complex64): above the rounding of some thousand gates, below the error
    of a ket that was not normalised.

    Args:
        states: The tensor.
        what: What it holds, for messages.

    Returns:
        The tensor.

    Raises:
        HQDMError: If it is not complex `(..., d)` with d = 2^n, or a norm is not 1.
    """
    _check_shape(states, what, 1)
    error = float((torch.view_as_real(states).square().sum((-2, -1)) - 1).abs().max())
    if error > _tolerance(states):
        raise HQDMError(
            f"{what} need norm 1, got a squared norm off by {error:.1e}: normalise them"
        )
    return states


def check_density(rho: Tensor, what: str = "density matrices") -> Tensor:
    """Refuse tensors that are not density matrices.

    Trace, Hermitian symmetry and the least eigenvalue are checked to the tolerance of `check_kets`.

    Args:
        rho: The tensor.
        what: What it holds, for messages.

    Returns:
        The tensor.

    Raises:
        HQDMError: If it is not complex `(..., d, d)` with d = 2^n, or a matrix has a trace other
            than 1, is not Hermitian or not positive.
    """
    _check_shape(rho, what, 2)
    tolerance = _tolerance(rho)
    trace = rho.diagonal(dim1=-2, dim2=-1).sum(-1)
    if (error := float((trace - 1).abs().max())) > tolerance:
        raise HQDMError(f"{what} need trace 1, got one off by {error:.1e}: divide by the trace")
    if (error := float((rho - rho.mH).abs().max())) > tolerance:
        raise HQDMError(
            f"{what} need to be Hermitian, got an entry that differs by {error:.1e} from the "
            "conjugate of that across the diagonal"
        )
    if (least := float(torch.linalg.eigvalsh(rho).min())) < -tolerance:
        raise HQDMError(f"{what} need eigenvalues of at least 0, got {least:.1e}")
    return rho


def _check_shape(states: Tensor, what: str, axes: int) -> None:
    form = "(..., d)" if axes == 1 else "(..., d, d)"
    sides = states.shape[-axes:]
    if not states.is_complex() or states.ndim < axes or len(set(sides)) != 1 or not states.numel():
        raise HQDMError(
            f"{what} need a complex tensor {form} that is not empty, got {states.dtype} of shape "
            f"{tuple(states.shape)}"
        )
    n_qubits_of(sides[0])
    if not torch.view_as_real(states).isfinite().all():
        raise HQDMError(f"{what} need finite numbers, got NaN or infinity")


def _tolerance(states: Tensor) -> float:
    return sqrt(torch.finfo(states.dtype).eps)
