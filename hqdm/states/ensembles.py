r"""Ensembles of quantum states: the data of state diffusion.

    cluster         (1, s z_1, ..., s z_{d-1}) / norm, real and imaginary parts of z from N(0, 1)
    circle          cos(x) |0> + sin(x) |1>,  x uniform on the circle
    haar            Haar-random kets
    random_pure     one fixed ket, of layers of random rotations and CZ      (QGDM)
    low_rank_mixed  one fixed mixture of two such kets, with weights softmax(u), u ~ U(0, 1]  (QGDM)
    ising           ground states of -sum Z_i Z_{i+1} - g sum X_i, open chain, g uniform

Sources: Zhang et al., PRL 132, 100602 (cluster, circle, ising); Chen et al., arXiv 2401.07039.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from hqdm.states.density import density, haar_kets, refuse_density, z_signs
from hqdm.utils.checks import check_fields, finite, positive, whole
from hqdm.utils.errors import HQDMError
from hqdm.utils.registry import Registry
from hqdm.utils.seeds import generator

LAYERS = 4  # of the circuits of random kets


@dataclass(frozen=True)
class Ensemble(ABC):
    """An ensemble; a new one is a frozen dataclass with a registered name.

    Attributes:
        n_qubits: Number of qubits.
        pure: True if its states are kets, false if density matrices.

    Raises:
        HQDMError: If an option is out of range.
    """

    pure: ClassVar[bool] = True

    n_qubits: int = 1

    def __post_init__(self) -> None:
        whole("n_qubits", self.n_qubits, 1)

    @abstractmethod
    def sample(self, n: int, draws: torch.Generator) -> Tensor:
        """Draw states.

        Args:
            n: Number of states.
            draws: The generator.

        Returns:
            Kets `(n, d)` or density matrices `(n, d, d)`, complex128.
        """


ENSEMBLES: Registry[type[Ensemble]] = Registry("ensemble")
"""Ensembles by name."""

EnsembleType = TypeVar("EnsembleType", bound=type[Ensemble])


def register_ensemble(name: str) -> Callable[[EnsembleType], EnsembleType]:
    """Class decorator: make an ensemble available by a name."""

    def register(cls: EnsembleType) -> EnsembleType:
        ENSEMBLES.register(name, cls)
        return cls

    return register


def build_ensemble(name: str, **options: Any) -> Ensemble:
    """Build an ensemble by name.

    Args:
        name: A key of `ENSEMBLES`.
        **options: The fields of the ensemble.

    Raises:
        HQDMError: If the name or an option is unknown, or an option is not of its type.
    """
    cls = ENSEMBLES[name]
    check_fields(f"option of the ensemble {name!r}", options, cls, "data.options.")
    return cls(**options)


def _normalised(kets: Tensor) -> Tensor:
    return kets / torch.linalg.vector_norm(kets, dim=-1, keepdim=True)


@register_ensemble("cluster")
@dataclass(frozen=True)
class Cluster(Ensemble):
    """Kets around |0...0>, see the module.

    Attributes:
        scale: The factor s of the other amplitudes.
    """

    scale: float = 0.08

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("scale", self.scale)

    def sample(self, n: int, draws: torch.Generator) -> Tensor:
        """See `Ensemble`."""
        refuse_density(n, (self.n_qubits + 1) // 2, torch.complex128)
        numbers = torch.randn(n, 2**self.n_qubits, 2, generator=draws, dtype=torch.float64)
        kets = self.scale * torch.view_as_complex(numbers)
        kets[:, 0] = 1
        return _normalised(kets)


@register_ensemble("circle")
@dataclass(frozen=True)
class Circle(Ensemble):
    """Real kets of one qubit: the great circle of the Bloch sphere with <Y> = 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_qubits != 1:
            raise HQDMError(f"the ensemble circle is of one qubit, got n_qubits={self.n_qubits}")

    def sample(self, n: int, draws: torch.Generator) -> Tensor:
        """See `Ensemble`."""
        x = 2 * pi * torch.rand(n, generator=draws, dtype=torch.float64)
        return torch.stack([x.cos(), x.sin()], -1).to(torch.complex128)


@register_ensemble("haar")
@dataclass(frozen=True)
class Haar(Ensemble):
    """Haar-random kets."""

    def sample(self, n: int, draws: torch.Generator) -> Tensor:
        """See `Ensemble`."""
        return haar_kets(n, self.n_qubits, draws)


@register_ensemble("random_pure")
@dataclass(frozen=True)
class RandomPure(Ensemble):
    """One fixed ket.

    Attributes:
        seed: Random seed of the ket.
    """

    seed: int = 0

    def sample(self, n: int, draws: torch.Generator) -> Tensor:
        """See `Ensemble`; nothing is drawn."""
        return circuit_ket(self.n_qubits, generator(self.seed)).expand(n, -1).clone()


@register_ensemble("low_rank_mixed")
@dataclass(frozen=True)
class LowRankMixed(Ensemble):
    """One fixed density matrix of rank two.

    Attributes:
        seed: Random seed of the matrix.
    """

    pure = False

    seed: int = 0

    def sample(self, n: int, draws: torch.Generator) -> Tensor:
        """See `Ensemble`; nothing is drawn."""
        own = generator(self.seed)
        kets = torch.stack([circuit_ket(self.n_qubits, own) for _ in range(2)])
        weights = (1 - torch.rand(2, generator=own, dtype=torch.float64)).softmax(0)
        refuse_density(n + 2, self.n_qubits, torch.complex128)
        rho = torch.einsum("k,kij->ij", weights.to(torch.complex128), density(kets))
        return rho.expand(n, -1, -1).clone()


def circuit_ket(n_qubits: int, draws: torch.Generator) -> Tensor:
    """The ket of a circuit of `LAYERS` layers of RX, RY with angles U(0, pi) and CZ on neighbours.

    Args:
        n_qubits: Number of qubits n.
        draws: Generator of the angles.

    Returns:
        Complex128 `(2^n,)`.
    """
    ket = torch.zeros(2**n_qubits, dtype=torch.complex128)
    ket[0] = 1
    signs = z_signs(n_qubits)
    minus = ((1 - signs[:-1]) * (1 - signs[1:]) / 4).sum(0) if n_qubits > 1 else 0 * signs[0]
    for _ in range(LAYERS):
        angles = pi * torch.rand(n_qubits, 2, generator=draws, dtype=torch.float64) / 2
        for wire, (x, y) in enumerate(angles):
            one = torch.eye(2, dtype=torch.float64)
            rx = torch.complex(x.cos() * one, -x.sin() * (1 - one))
            ry = torch.stack([torch.stack([y.cos(), -y.sin()]), torch.stack([y.sin(), y.cos()])])
            gate = ry.to(ket) @ rx.to(ket)
            ket = torch.einsum("ij,ajb->aib", gate, ket.reshape(2**wire, 2, -1)).reshape(-1)
        ket = ket * (-1.0) ** minus
    return ket


@register_ensemble("ising")
@dataclass(frozen=True)
class Ising(Ensemble):
    """Ground states of the transverse-field Ising model, see the module.

    They are those of even parity of the product of all X, real and with a positive sum: below g = 1
    the lowest state of odd parity has almost the same energy.

    Attributes:
        low: Least field g.
        high: Largest field g.
    """

    low: float = 0.2
    high: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("n_qubits", self.n_qubits, 2, 8)
        if not 0 < finite("low", self.low) < finite("high", self.high):
            raise HQDMError(f"ising needs 0 < low < high, got {self.low}, {self.high}")

    def sample(self, n: int, draws: torch.Generator) -> Tensor:
        """See `Ensemble`."""
        span = self.high - self.low
        g = self.low + span * torch.rand(n, generator=draws, dtype=torch.float64)
        refuse_density(n, self.n_qubits, torch.complex128)
        vectors = torch.linalg.eigh(self._even(g)).eigenvectors
        # |i> + |not i> for i < d / 2 is the basis of even parity.
        half = vectors[:, :, 0]
        whole_vectors = torch.cat([half, half.flip(1)], 1)
        signs = whole_vectors.sum(1, keepdim=True).sign()
        return _normalised(signs * whole_vectors).to(torch.complex128)

    def _even(self, g: Tensor) -> Tensor:
        """The Hamiltonians in the sector of even parity, `(n, d / 2, d / 2)`."""
        dim, half = 2**self.n_qubits, 2 ** (self.n_qubits - 1)
        signs = z_signs(self.n_qubits)
        bonds = torch.diag(-(signs[:-1] * signs[1:]).sum(0)).double()[:half, :half]
        flips = torch.zeros(half, half, dtype=torch.float64)
        for i in range(half):
            for wire in range(self.n_qubits):
                j = i ^ (1 << wire)
                flips[i, min(j, dim - 1 - j)] -= 1
        return bonds + g[:, None, None] * flips
