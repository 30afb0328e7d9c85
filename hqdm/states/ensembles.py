r"""Ensembles of quantum states: the data of state diffusion.

    cluster           (1, s z_1, ..., s z_{d-1}) / norm, real and imaginary parts of z from N(0, 1)
    circle            cos(x) |0> + sin(x) |1>,  x uniform on the circle
    correlated_noise  exp(-i a XX) |psi_0> or exp(-i a ZZ) |psi_0>,  a ~ U(-pi/3, pi/3)
    ising             ground states of H(g) = -sum Z_i Z_{i+1} - g sum X_i, open chain, g uniform
    gibbs             exp(-beta H(g)) / tr exp(-beta H(g))
    haar              Haar-random kets
    random_pure       one fixed ket, of layers of random rotations and CZ      (QGDM)
    low_rank_mixed    one fixed mixture of two such kets, weights softmax(u), u ~ U(0, 1]  (QGDM)
    tensor            states of a file

Sources: Zhang et al., PRL 132, 100602 (cluster, circle, correlated_noise, ising); Chen et al.,
arXiv 2401.07039 (gibbs, random_pure, low_rank_mixed).
"""

import pickle
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import pi
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from hqdm.circuits.circuit import Circuit
from hqdm.circuits.lazy import qml
from hqdm.simulators.program.statevector import StatevectorSimulator, z_signs
from hqdm.states.density import (
    check_density,
    check_kets,
    density,
    haar_kets,
    is_kets,
    n_qubits_of,
    normalised,
    refuse_density,
    refuse_kets,
)
from hqdm.utils.checks import check_fields, finite, positive, whole
from hqdm.utils.errors import HQDMError, about, first_line
from hqdm.utils.registry import Registry
from hqdm.utils.seeds import generator

LAYERS = 4
"""Layers of the circuits of random kets."""

MAX_SPINS = 8
"""Number of qubits up to which Hamiltonians are diagonalised, 256 dimensions."""

# Exceptions of the readers for files that are truncated, of another format, or with code.
_UNREADABLE = (
    *(OSError, EOFError, RuntimeError, TypeError, ValueError),
    *(pickle.UnpicklingError, struct.error),
)


@dataclass(frozen=True)
class Ensemble(ABC):
    """An ensemble; a new one is a frozen dataclass with a registered name.

    Attributes:
        n_qubits: Number of qubits n.

    Raises:
        HQDMError: If an option is out of range.
    """

    n_qubits: int = 1

    def __post_init__(self) -> None:
        whole("n_qubits", self.n_qubits, least=1)

    @property
    def pure(self) -> bool:
        """True if its states are kets, false if density matrices."""
        return True

    @property
    def centre(self) -> Tensor | None:
        """The ket `(d,)` around which the states lie; None if there is none."""
        return None

    def sample(self, n: int, draws: torch.Generator) -> Tensor:
        """Draw independent states.

        Args:
            n: Number of states.
            draws: The generator.

        Returns:
            Kets `(n, d)` or density matrices `(n, d, d)`, complex128.

        Raises:
            HQDMError: If they take more than the memory limit of `hqdm.states.density`.
        """
        refuse = refuse_kets if self.pure else refuse_density
        refuse(whole("n", n), self.n_qubits, torch.complex128)
        return self.draw(n, draws)

    @abstractmethod
    def draw(self, n: int, draws: torch.Generator) -> Tensor:
        """The states of `sample`, which has checked that they fit in the memory."""


ENSEMBLES: Registry[type[Ensemble]] = Registry("ensemble")
"""Ensembles by name."""

EnsembleType = TypeVar("EnsembleType", bound=type[Ensemble])


def register_ensemble(name: str) -> Callable[[EnsembleType], EnsembleType]:
    """Class decorator: make an ensemble available by a name."""
    return ENSEMBLES.decorator(name)


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


@register_ensemble("cluster")
@dataclass(frozen=True)
class Cluster(Ensemble):
    """Kets around |0...0>, see the module.

    As in the public code of QuDDPM, E |z|^2 = 2: the mean fidelity to |0...0> is 0.988 for one
    qubit and s = 0.08, and 0.979 for two and s = 0.06.

    Attributes:
        scale: The factor s of the other amplitudes.
    """

    scale: float = 0.08

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("scale", self.scale)

    @property
    def centre(self) -> Tensor:
        """|0...0>."""
        zero = torch.zeros(2**self.n_qubits, dtype=torch.complex128)
        zero[0] = 1
        return zero

    def draw(self, n: int, draws: torch.Generator) -> Tensor:
        """See `Ensemble`."""
        numbers = torch.randn(n, 2**self.n_qubits, 2, generator=draws, dtype=torch.float64)
        kets = self.scale * torch.view_as_complex(numbers)
        kets[:, 0] = 1
        return normalised(kets)


@register_ensemble("circle")
@dataclass(frozen=True)
class Circle(Ensemble):
    """Real kets of one qubit: the great circle of the Bloch sphere with <Y> = 0."""

    def __post_init__(self) -> None:
        _only("circle", self.n_qubits, 1)

    def draw(self, n: int, draws: torch.Generator) -> Tensor:
        """See `Ensemble`."""
        x = 2 * pi * torch.rand(n, generator=draws, dtype=torch.float64)
        return torch.stack([x.cos(), x.sin()], -1).to(torch.complex128)


@register_ensemble("correlated_noise")
@dataclass(frozen=True)
class CorrelatedNoise(Ensemble):
    r"""A ket of two qubits after a random rotation about XX, or about ZZ.

    |psi_0> = sqrt(0.1) e^{0.8 i} |00> + sqrt(0.55) e^{1.7 i} |01> + sqrt(0.35) e^{2.4 i} |11>; the
    rotation is exp(-i a XX) with probability 0.8 and exp(-i a ZZ) otherwise, a ~ U(-pi/3, pi/3)
    (public code of QuDDPM).
    """

    n_qubits: int = 2

    def __post_init__(self) -> None:
        _only("correlated_noise", self.n_qubits, 2)

    def draw(self, n: int, draws: torch.Generator) -> Tensor:
        """See `Ensemble`."""
        size = torch.tensor([0.1, 0.55, 0, 0.35], dtype=torch.float64).sqrt()
        ket = torch.polar(size, torch.tensor([0.8, 1.7, 0, 2.4], dtype=torch.float64))
        a = 2 * pi / 3 * (torch.rand(n, 1, generator=draws, dtype=torch.float64) - 0.5)
        of_xx = torch.rand(n, 1, generator=draws, dtype=torch.float64) < 0.8
        flipped = torch.where(of_xx, ket.flip(0), z_signs(2).prod(0) * ket)
        return a.cos() * ket - 1j * a.sin() * flipped


@dataclass(frozen=True)
class IsingChain(Ensemble):
    """States of the transverse-field Ising chain with a uniform field.

    Attributes:
        low: Least field g.
        high: Largest field g; equal to `low` for one fixed state.
    """

    low: float = 0.2
    high: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("n_qubits", self.n_qubits, most=MAX_SPINS)
        if not 0 < finite("low", self.low) <= finite("high", self.high):
            raise HQDMError(f"the field g needs 0 < low <= high, got {self.low}, {self.high}")

    def hamiltonians(self, n: int, draws: torch.Generator) -> Tensor:
        """Matrices H(g), `(n, d, d)` in float64, for n random fields."""
        refuse_density(n, self.n_qubits, torch.complex128)
        g = torch.rand(n, generator=draws, dtype=torch.float64)
        return ising_hamiltonian(self.n_qubits, self.low + (self.high - self.low) * g)


def ising_hamiltonian(n_qubits: int, g: Tensor) -> Tensor:
    """The transverse-field Ising chain H(g) = -sum Z_i Z_{i+1} - g sum X_i with open ends.

    Args:
        n_qubits: Number of qubits n.
        g: Fields `(B,)` in units of the coupling.

    Returns:
        Real `(B, d, d)`.
    """
    signs = z_signs(n_qubits)
    bonds = torch.diag((signs[:-1] * signs[1:]).sum(0)).to(g)
    basis, identity = torch.arange(2**n_qubits), torch.eye(2**n_qubits).to(g)
    flips = torch.stack([identity[basis ^ 2**qubit] for qubit in range(n_qubits)]).sum(0)
    return -bonds - g[:, None, None] * flips


@register_ensemble("ising")
@dataclass(frozen=True)
class Ising(IsingChain):
    """Ground states of the transverse-field Ising chain, real with positive amplitudes.

    Attributes:
        low: See `IsingChain`.
        high: See `IsingChain`.
    """

    n_qubits: int = 4

    def draw(self, n: int, draws: torch.Generator) -> Tensor:
        """See `Ensemble`."""
        h = self.hamiltonians(n, draws)
        half = 2 ** (self.n_qubits - 1)
        # H commutes with the product of all X. Its ground state is even: below g = 1 the lowest odd
        # state has almost the same energy. The even sector has the basis |i> + |not i>, i < d / 2.
        even = h[:, :half, :half] + h[:, :half, half:].flip(-1)
        lowest = torch.linalg.eigh(even).eigenvectors[:, :, 0].abs()
        return normalised(torch.cat([lowest, lowest.flip(1)], 1)).to(torch.complex128)


@register_ensemble("gibbs")
@dataclass(frozen=True)
class Gibbs(IsingChain):
    """Gibbs states of the transverse-field Ising chain; one fixed state unless `low` < `high`.

    Attributes:
        low: See `IsingChain`.
        high: See `IsingChain`.
        beta: Inverse temperature in units of the inverse coupling.
    """

    low: float = 1.0
    high: float = 1.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("beta", self.beta)

    @property
    def pure(self) -> bool:
        """False."""
        return False

    def draw(self, n: int, draws: torch.Generator) -> Tensor:
        """See `Ensemble`."""
        energies, vectors = torch.linalg.eigh(self.hamiltonians(n, draws))
        weights = (-self.beta * energies).softmax(-1)
        return ((vectors * weights[:, None]) @ vectors.mT).to(torch.complex128)


@register_ensemble("haar")
@dataclass(frozen=True)
class Haar(Ensemble):
    """Haar-random kets."""

    def draw(self, n: int, draws: torch.Generator) -> Tensor:
        """See `Ensemble`."""
        return haar_kets(n, self.n_qubits, draws)


@register_ensemble("random_pure")
@dataclass(frozen=True)
class RandomPure(Ensemble):
    """One fixed ket, of `random_circuits`.

    Attributes:
        seed: Random seed of the ket.
    """

    seed: int = 0

    def draw(self, n: int, draws: torch.Generator) -> Tensor:
        """See `Ensemble`; nothing is drawn."""
        return random_circuits(self.n_qubits).sample(1, generator(self.seed)).repeat(n, 1)


@register_ensemble("low_rank_mixed")
@dataclass(frozen=True)
class LowRankMixed(Ensemble):
    """One fixed density matrix of rank two, a mixture of two kets of `random_circuits`.

    Attributes:
        seed: Random seed of the matrix.
    """

    seed: int = 0

    @property
    def pure(self) -> bool:
        """False."""
        return False

    def draw(self, n: int, draws: torch.Generator) -> Tensor:
        """See `Ensemble`; nothing is drawn."""
        own = generator(self.seed)
        states = density(random_circuits(self.n_qubits).sample(2, own))
        weights = (1 - torch.rand(2, generator=own, dtype=torch.float64)).softmax(0)
        return (weights[:, None, None] * states).sum(0).repeat(n, 1, 1)


@dataclass(frozen=True)
class CircuitStates(Ensemble):
    """Final states of a circuit with independent uniform features, see `from_qfunc`.

    Attributes:
        circuit: The circuit, with the measurement "state" and no weights.
        low: Least value of a feature.
        high: Largest value of a feature.
    """

    circuit: Circuit = field(kw_only=True)
    low: float = field(kw_only=True)
    high: float = field(kw_only=True)

    def draw(self, n: int, draws: torch.Generator) -> Tensor:
        """See `Ensemble`."""
        x = torch.rand(1, n, self.circuit.n_inputs, generator=draws, dtype=torch.float64)
        x = self.low + (self.high - self.low) * x
        parts = StatevectorSimulator()(self.circuit, x, x.new_zeros(1, 0))
        return torch.view_as_complex(parts[0].unflatten(-1, (-1, 2)))


@dataclass(frozen=True)
class OfFeatures:
    """A quantum function of features as one of features and weights, which are none.

    Attributes:
        fn: The quantum function.
    """

    fn: Callable[[Tensor], Any]

    def __call__(self, x: Tensor, weights: Tensor) -> None:
        """Queue the gates for features `(n_inputs,)`."""
        self.fn(x)


def from_qfunc(
    fn: Callable[[Tensor], Any],
    n_qubits: int,
    n_inputs: int = 1,
    low: float = 0.0,
    high: float = 2 * pi,
) -> CircuitStates:
    """The ensemble of states that a PennyLane quantum function prepares from random features.

    Args:
        fn: `fn(x)` queues gates on wires 0 ... n - 1 for features `(n_inputs,)`, as in
            `qml.RX(x[0], wires=0)`; see `hqdm.circuits.Circuit.from_qfunc`.
        n_qubits: Number of qubits n.
        n_inputs: Number of features, which are independent and uniform.
        low: Least value of a feature.
        high: Largest value of a feature.

    Raises:
        HQDMError: If a number is not positive, or the interval is empty.
    """
    if not finite("low", low) <= finite("high", high):
        raise HQDMError(f"features need low <= high, got {low}, {high}")
    circuit = Circuit.from_qfunc(
        OfFeatures(fn), n_wires=n_qubits, n_inputs=n_inputs, weights_shape=(0,), measure="state"
    )
    return CircuitStates(n_qubits, circuit=circuit, low=low, high=high)


def random_circuits(n_qubits: int) -> CircuitStates:
    """States of `LAYERS` layers of RX, RY with angles U(0, pi) and CZ on neighbours.

    QGDM has such targets; its circuits are in a supplement that is not public.

    Args:
        n_qubits: Number of qubits.
    """

    def layers(x: Tensor) -> None:
        for layer in x.reshape(LAYERS, n_qubits, 2):
            for wire, (first, second) in enumerate(layer):
                qml.RX(first, wires=wire)
                qml.RY(second, wires=wire)
            for wire in range(n_qubits - 1):
                qml.CZ(wires=(wire, wire + 1))

    return from_qfunc(layers, n_qubits, LAYERS * n_qubits * 2, high=pi)


@dataclass(frozen=True, eq=False)
class GivenStates(Ensemble):
    """States drawn from a tensor with replacement, see `from_tensor`.

    Attributes:
        states: Kets `(N, d)` or density matrices `(N, d, d)`, complex128.
    """

    states: Tensor = field(kw_only=True)

    @property
    def pure(self) -> bool:
        """True if the tensor has kets."""
        return is_kets(self.states)

    def draw(self, n: int, draws: torch.Generator) -> Tensor:
        """See `Ensemble`."""
        return self.states[torch.randint(len(self.states), (n,), generator=draws)]


def from_tensor(states: Tensor) -> GivenStates:
    """The ensemble of the states of a tensor, each as probable as the others.

    Args:
        states: Kets `(N, d)` or density matrices `(N, d, d)`, real or complex; of norm and trace
            one to the tolerance of `check_kets`, which is then rounding of complex128.

    Raises:
        HQDMError: If the tensor is neither, d is no power of two, a norm or trace is not 1, or a
            matrix is not Hermitian or not positive.
    """
    states = states.to(torch.promote_types(states.dtype, torch.complex64))
    if is_kets(states):
        found = normalised(check_kets(states, "kets (N, d)").to(torch.complex128))
    else:
        rho = check_density(states, "density matrices (N, d, d)").to(torch.complex128)
        rho = (rho + rho.mH) / 2
        found = rho / rho.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    return GivenStates(n_qubits_of(found.shape[-1]), states=found)


@register_ensemble("tensor")
@dataclass(frozen=True)
class TensorFile(Ensemble):
    """States of a file, drawn with replacement.

    Attributes:
        file: A `.npy` file of numpy, or a `.pt` file of torch with one tensor, see `from_tensor`.
    """

    file: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.file:
            raise HQDMError(
                "the ensemble tensor needs data.options.file: a file .npy or .pt with kets (N, d) "
                "or density matrices (N, d, d)"
            )
        if self.n_qubits != self.given.n_qubits:
            raise HQDMError(
                f"{self.file} has states of n_qubits={self.given.n_qubits}, got {self.n_qubits}"
            )

    @cached_property
    def given(self) -> GivenStates:
        """The states of the file."""
        states = read_tensor(Path(self.file))
        with about(self.file):
            return from_tensor(states)

    @property
    def pure(self) -> bool:
        """True if the file has kets."""
        return self.given.pure

    def draw(self, n: int, draws: torch.Generator) -> Tensor:
        """See `Ensemble`."""
        return self.given.draw(n, draws)


def read_tensor(path: Path) -> Tensor:
    """The array of a `.npy` file or the tensor of a `.pt` file; no code in the file is run.

    Raises:
        HQDMError: If there is no such file, or it holds something else.
    """
    if path.suffix not in (".npy", ".pt"):
        raise HQDMError(f"the ensemble tensor needs a file .npy or .pt, got {str(path)!r}")
    if not path.is_file():
        raise HQDMError(f"there is no file {path}: data.options.file names the states")
    try:
        if path.suffix == ".npy":
            return torch.from_numpy(np.load(path, allow_pickle=False))
        tensor = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise HQDMError(f"{path} holds no tensor that can be read ({first_line(error)})") from None
    if not isinstance(tensor, Tensor):
        raise HQDMError(f"{path} needs one tensor, got {type(tensor).__name__}")
    return tensor


def _only(name: str, n_qubits: int, expected: int) -> None:
    if n_qubits != expected:
        raise HQDMError(f"the ensemble {name} needs n_qubits={expected}, got {n_qubits!r}")
