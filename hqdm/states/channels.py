r"""Channels that turn states into noise in T steps: the forward processes of state diffusion.

    depolarising:       rho_t = abar_t rho_0 + (1 - abar_t) I / d          (QGDM, Eq. 2),
    amplitude damping:  rho_t = sum_k K_k(abar_t) rho_0 K_k(abar_t)^dagger,
    scrambling:         |psi_t> = U_t ... U_1 |psi_0>, with random U_s     (QuDDPM).

The first two act on density matrices and are deterministic. Their steps compose as numbers do, so
that step t has the parameter a_t = abar_t / abar_{t-1}. Scrambling acts on kets, each of which gets
its own random circuit. Steps are numbered 1 ... T; t = 0 is the data.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, reduce
from itertools import combinations, pairwise
from math import cos, pi, prod, sqrt
from typing import Any, Literal, TypeVar, cast, get_args

import torch
from torch import Tensor

from hqdm.states.density import (
    haar_kets,
    maximally_mixed,
    n_qubits_of,
    refuse_density,
)
from hqdm.utils.checks import check_fields, finite, positive, whole
from hqdm.utils.errors import HQDMError, unknown
from hqdm.utils.registry import Registry

Schedule = Literal["cosine", "cosine2", "linear"]


class Channel(ABC):
    """A channel of T steps; a new one is a frozen dataclass with a registered name.

    Attributes:
        n_steps: The number of steps T.
        pure: True if it takes kets `(B, d)`, false if density matrices `(B, d, d)`.
    """

    n_steps: int
    pure: bool

    @abstractmethod
    def at(self, states: Tensor, t: int, generator: torch.Generator | None = None) -> Tensor:
        """The states after t steps, by the closed form where there is one.

        Args:
            states: Kets `(B, d)` or density matrices `(B, d, d)`, see `pure`.
            t: The number of steps, 0 ... T.
            generator: The random generator of a random channel.

        Returns:
            States of the same shape.

        Raises:
            HQDMError: If `t` is out of range.
        """

    @abstractmethod
    def step(self, states: Tensor, t: int, generator: torch.Generator | None = None) -> Tensor:
        """The states after step t, from those after t - 1 steps.

        Args:
            states: See `at`.
            t: The step, 1 ... T.
            generator: See `at`.

        Raises:
            HQDMError: If `t` is out of range.
        """

    @abstractmethod
    def prior(
        self,
        n: int,
        n_qubits: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.complex128,
    ) -> Tensor:
        """States of the distribution to which many steps lead.

        Args:
            n: Number of states.
            n_qubits: Number of qubits.
            generator: See `at`.
            dtype: Complex dtype.

        Returns:
            `n` kets or density matrices, see `pure`.
        """

    def path(self, rho: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The states rho_0 ... rho_T of one density matrix `(d, d)`, as `(T + 1, d, d)`.

        Args:
            rho: The state rho_0.
            generator: See `at`.

        Raises:
            HQDMError: If they take more than the memory limit of `density`.
        """
        refuse_density(self.n_steps + 1, n_qubits_of(rho.shape[-1]), rho.dtype)
        return torch.cat([self.at(rho[None], t, generator) for t in range(self.n_steps + 1)])

    def _check_step(self, t: int, least: int) -> int:
        return whole("t", t, least, self.n_steps)


CHANNELS: Registry[type[Channel]] = Registry("channel")
"""Channels by name."""

ChannelType = TypeVar("ChannelType", bound=type[Channel])


def register_channel(name: str) -> Callable[[ChannelType], ChannelType]:
    """Class decorator: make a channel available by a name."""
    return CHANNELS.decorator(name)


@dataclass(frozen=True)
class DampingChannel(Channel):
    r"""A deterministic channel whose parameters multiply when it is applied twice.

    With g(t) = cos^2(pi/2 (t/T + s) / (1 + s)), the signal abar_t left after t steps is

        cosine:   abar_t = g(t) / g(0)                        (Nichol and Dhariwal 2021, Eq. 17),
        cosine2:  abar_t = prod_{u <= t} (1 - b_u^2), b_u = 1 - g(u) / g(u - 1)        (MSQuDDPM),
        linear:   abar_t = 1 - t / T.

    Args:
        n_steps: The number of steps T.
        schedule: `cosine`, `cosine2` or `linear`.
        s: The offset of the two cosine schedules, in [0, 1); QGDM has 0.008, MSQuDDPM 0.001.
    """

    n_steps: int = 30
    schedule: Schedule = "cosine"
    s: float = 0.008

    pure = False

    def __post_init__(self) -> None:
        """Refuse no steps, an unknown schedule and an offset outside [0, 1)."""
        whole("n_steps", self.n_steps, least=1)
        if self.schedule not in get_args(Schedule):
            raise unknown("channel schedule", self.schedule, get_args(Schedule))
        if not 0 <= finite("s", self.s) < 1:
            raise HQDMError(f"a channel needs an offset s in [0, 1), got {self.s}")

    @cached_property
    def signal(self) -> tuple[float, ...]:
        """The T + 1 numbers abar_0 = 1 ... abar_T."""
        steps = range(self.n_steps + 1)
        if self.schedule == "linear":
            return tuple(1 - t / self.n_steps for t in steps)
        g = [cos(pi / 2 * (t / self.n_steps + self.s) / (1 + self.s)) ** 2 for t in steps]
        if self.schedule == "cosine":
            return tuple(value / g[0] for value in g)
        kept = [1 - (1 - after / before) ** 2 for before, after in pairwise(g)]
        return tuple(prod(kept[:t]) for t in steps)

    def kept(self, t: int) -> float:
        """The signal a_t = abar_t / abar_{t-1} that step t keeps, in [0, 1].

        Raises:
            HQDMError: If `t` is out of range.
        """
        self._check_step(t, least=1)
        return self.signal[t] / self.signal[t - 1]

    def at(self, states: Tensor, t: int, generator: torch.Generator | None = None) -> Tensor:
        """See `Channel`."""
        return self._apply(states, self.signal[self._check_step(t, least=0)])

    def step(self, states: Tensor, t: int, generator: torch.Generator | None = None) -> Tensor:
        """See `Channel`."""
        return self._apply(states, self.kept(t))

    def adjoint_step(self, operators: Tensor, t: int) -> Tensor:
        """The adjoint of step t: tr(A step(rho)) = tr(adjoint_step(A) rho).

        Args:
            operators: Matrices A, `(B, d, d)`.
            t: The step, 1 ... T.

        Raises:
            HQDMError: If `t` is out of range.
        """
        return on_every_qubit(operators, self._kraus(self.kept(t)).mH)

    def kraus(self, t: int, n_qubits: int) -> Tensor:
        """Kraus operators of step t, sum_k K_k^dagger K_k = I.

        Args:
            t: The step, 1 ... T.
            n_qubits: Number of qubits n.

        Returns:
            Complex128 `(K, 2^n, 2^n)`.

        Raises:
            HQDMError: If `t` is out of range, or they take more than the memory limit of `density`.
        """
        one = self._kraus(self.kept(t))
        refuse_density(len(one) ** n_qubits, n_qubits, one.dtype)
        return products(one, n_qubits)

    def _apply(self, states: Tensor, kept: float) -> Tensor:
        """The channel with a parameter on every qubit."""
        return on_every_qubit(states, self._kraus(kept))

    @abstractmethod
    def _kraus(self, kept: float) -> Tensor:
        """Kraus operators `(K, 2, 2)` on one qubit."""


@register_channel("depolarising")
@dataclass(frozen=True)
class Depolarising(DampingChannel):
    """The depolarising channel rho -> a rho + (1 - a) tr(rho) I / d, of all qubits or of each.

    Its steps shorten the Bloch vector, and of n qubits the vector of Pauli expectations, by a. If
    `local`, it acts on every qubit alone, and shortens expectations of k qubits by a^k.

    Args:
        n_steps: See `DampingChannel`.
        schedule: See `DampingChannel`.
        s: See `DampingChannel`.
        local: Depolarise every qubit alone.
    """

    local: bool = False

    def prior(
        self,
        n: int,
        n_qubits: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.complex128,
    ) -> Tensor:
        """Maximally mixed states, see `Channel`."""
        return maximally_mixed(n_qubits, dtype).repeat(whole("n", n), 1, 1)

    def path(self, rho: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See `Channel`; of all qubits together, in one operation."""
        if self.local:
            return super().path(rho, generator)
        refuse_density(self.n_steps + 1, n_qubits_of(rho.shape[-1]), rho.dtype)
        kept = torch.tensor(self.signal, dtype=rho.real.dtype, device=rho.device)
        return self._apply(rho[None], kept[:, None, None])

    def adjoint_step(self, operators: Tensor, t: int) -> Tensor:
        """The step itself, since Pauli matrices are Hermitian, see `DampingChannel`."""
        return self.step(operators, t)

    def kraus(self, t: int, n_qubits: int) -> Tensor:
        """See `DampingChannel`; of all qubits together, the 4^n Pauli products with weights."""
        if self.local:
            return super().kraus(t, n_qubits)
        refuse_density(4**n_qubits, n_qubits, torch.complex128)
        return _pauli_kraus(self.kept(t), n_qubits)

    def _apply(self, states: Tensor, kept: float | Tensor) -> Tensor:
        if self.local:
            return super()._apply(states, cast(float, kept))
        trace = states.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
        mixed = maximally_mixed(n_qubits_of(states.shape[-1]), states.dtype).to(states.device)
        return kept * states + (1 - kept) * trace * mixed

    def _kraus(self, kept: float) -> Tensor:
        return _pauli_kraus(kept, 1)


@register_channel("amplitude_damping")
@dataclass(frozen=True)
class AmplitudeDamping(DampingChannel):
    """Amplitude damping of every qubit: |1> decays to |0> with probability 1 - a.

    K_0 = diag(1, sqrt a), K_1 = sqrt(1 - a) |0><1| (Nielsen and Chuang, Section 8.3.5).

    Args:
        n_steps: See `DampingChannel`.
        schedule: See `DampingChannel`.
        s: See `DampingChannel`.
    """

    def prior(
        self,
        n: int,
        n_qubits: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.complex128,
    ) -> Tensor:
        """The state |0...0><0...0|, see `Channel`."""
        ground = torch.zeros_like(maximally_mixed(n_qubits, dtype))
        ground[0, 0] = 1
        return ground.repeat(whole("n", n), 1, 1)

    def _kraus(self, kept: float) -> Tensor:
        operators = [[[1, 0], [0, sqrt(kept)]], [[0, sqrt(1 - kept)], [0, 0]]]
        return torch.tensor(operators, dtype=torch.complex128)


@register_channel("scrambling")
@dataclass(frozen=True)
class Scrambling(Channel):
    r"""Random circuits of t layers, drawn anew for every ket (Zhang et al., PRL 132, 100602).

    Layer s applies RZ(p_1), RY(p_2), RZ(p_3) to every qubit, with independent angles
    p ~ U(-pi/8, pi/8) h_s, and for n > 1 qubits RZZ(g / (2 sqrt n)) to every pair, with one
    g ~ U(0.4, 0.6) h_s for all pairs. QuDDPM's strengths h_s are either joined linear grids or a
    power of s.

    Args:
        n_steps: The number of steps T.
        h: Either grids `[start, stop, number of steps]`, ends included, with T steps in all; or
            `{"factor": c, "exponent": k}` for h_s = c s^k.
    """

    n_steps: int = 20
    h: Sequence[Sequence[float]] | Mapping[str, float] = ((1.0, 4.0, 20),)

    pure = True

    def __post_init__(self) -> None:
        """Refuse strengths that are not T finite numbers."""
        whole("n_steps", self.n_steps, least=1)
        if isinstance(self.h, Mapping):
            if set(self.h) != {"factor", "exponent"}:
                raise HQDMError(f"scrambling.h needs the keys factor, exponent, got {[*self.h]}")
            for key in ("factor", "exponent"):
                positive(f"scrambling.h.{key}", self.h[key])
            return
        grids = tuple(tuple(grid) for grid in self.h)
        object.__setattr__(self, "h", grids)
        for grid in grids:
            if len(grid) != 3:
                raise HQDMError(f"scrambling.h needs grids [start, stop, steps], got {[*grid]}")
            finite("scrambling.h", grid[0])
            finite("scrambling.h", grid[1])
            whole("steps in scrambling.h", grid[2], least=1)
        if (total := sum(grid[2] for grid in grids)) != self.n_steps:
            raise HQDMError(f"scrambling.h has {total} steps: n_steps={self.n_steps} needs as many")

    @cached_property
    def strengths(self) -> Tensor:
        """The strengths h_1 ... h_T, `(T,)` in float64."""
        if isinstance(self.h, Mapping):
            steps = torch.arange(1, self.n_steps + 1, dtype=torch.float64)
            return self.h["factor"] * steps ** self.h["exponent"]
        grids = [
            torch.linspace(start, stop, int(size), dtype=torch.float64)
            for start, stop, size in self.h
        ]
        return torch.cat(grids)

    def at(self, states: Tensor, t: int, generator: torch.Generator | None = None) -> Tensor:
        """See `Channel`."""
        n_qubits, last = n_qubits_of(states.shape[-1]), self._check_step(t, least=0)
        layers = [self.angles(s, len(states), n_qubits, generator) for s in range(1, last + 1)]
        return scramble(states, *map(torch.stack, zip(*layers, strict=True))) if layers else states

    def step(self, states: Tensor, t: int, generator: torch.Generator | None = None) -> Tensor:
        """See `Channel`."""
        n_qubits = n_qubits_of(states.shape[-1])
        single, pair = self.angles(t, len(states), n_qubits, generator)
        return scramble(states, single[None], pair[None])

    def angles(
        self, t: int, n: int, n_qubits: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Random angles of layer t in radians.

        Args:
            t: The layer, 1 ... T.
            n: Number of kets.
            n_qubits: Number of qubits.
            generator: The random generator.

        Returns:
            Angles of RZ, RY, RZ, `(n, n_qubits, 3)`, and of RZZ, `(n,)`, in float64.

        Raises:
            HQDMError: If `t` is out of range.
        """
        h = self.strengths[self._check_step(t, least=1) - 1]
        single = torch.rand(n, n_qubits, 3, generator=generator, dtype=torch.float64) - 0.5
        g = 0.4 + 0.2 * torch.rand(n, generator=generator, dtype=torch.float64)
        return single * (pi / 4 * h), g * (h / (2 * sqrt(n_qubits)))

    def prior(
        self,
        n: int,
        n_qubits: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.complex128,
    ) -> Tensor:
        """Haar-random kets, see `Channel`."""
        return haar_kets(n, n_qubits, generator, dtype)


def scramble(kets: Tensor, single: Tensor, pair: Tensor) -> Tensor:
    """Layers of `Scrambling` with given angles.

    Args:
        kets: `(B, d)`.
        single: Angles of RZ, RY, RZ of every qubit, `(S, B, n, 3)` for S layers.
        pair: Angle of RZZ of every pair, `(S, B)`.

    Returns:
        `(B, d)`.
    """
    n = single.shape[2]
    gates = _rz_ry_rz(single).to(kets)  # of all layers at once: a batch needs T layers
    pairs = _sum_of_zz(n) if n > 1 else None
    for layer, angle in zip(gates, pair, strict=True):
        for qubit in range(n):
            split = kets.reshape(-1, 2**qubit, 2, 2 ** (n - 1 - qubit))
            kets = torch.einsum("bij,bljr->blir", layer[:, qubit], split).reshape(kets.shape)
        if pairs is not None:
            kets = kets * torch.exp(-0.5j * angle[:, None] * pairs).to(kets)
    return kets


def _sum_of_zz(n: int) -> Tensor:
    """The diagonal of the sum of ZZ over all pairs of n qubits, `(2^n,)` in float64."""
    from hqdm.simulators.program.statevector import z_signs  # imports PennyLane

    z = z_signs(n)
    return sum((z[i] * z[j] for i, j in combinations(range(n), 2)), torch.zeros(2**n))


def _rz_ry_rz(angles: Tensor) -> Tensor:
    """The gates RZ(c) RY(b) RZ(a), `(..., 2, 2)`, of angles (a, b, c) in radians, `(..., 3)`."""
    first, turn, last = (angles / 2).unbind(-1)
    outer, inner = torch.exp(1j * (first + last)), torch.exp(1j * (last - first))
    c, s = turn.cos(), turn.sin()
    rows = [outer.conj() * c, -inner.conj() * s, inner * s, outer * c]
    return torch.stack(rows, -1).unflatten(-1, (2, 2))


def on_every_qubit(states: Tensor, kraus: Tensor) -> Tensor:
    """A channel of one qubit applied to every qubit.

    Args:
        states: Density matrices `(B, d, d)`.
        kraus: Kraus operators `(K, 2, 2)`.

    Returns:
        `(B, d, d)`.
    """
    n = n_qubits_of(states.shape[-1])
    channel = torch.einsum("kia,kjb->ijab", kraus, kraus.conj()).to(states)
    for qubit in range(n):
        sides = (2**qubit, 2, 2 ** (n - 1 - qubit))
        split = states.reshape(-1, *sides, *sides)
        states = torch.einsum("ijab,xlarmbs->xlirmjs", channel, split).reshape(states.shape)
    return states


def products(operators: Tensor, n_qubits: int) -> Tensor:
    """All products of n of K operators on one qubit, `(K^n, 2^n, 2^n)`."""

    def product(a: Tensor, b: Tensor) -> Tensor:
        pairs = torch.einsum("kab,lcd->klacbd", a, b)
        return pairs.reshape(len(a) * len(b), a.shape[1] * b.shape[1], -1)

    return reduce(product, [operators] * n_qubits)


def _pauli_kraus(kept: float, n_qubits: int) -> Tensor:
    """Kraus operators of the depolarising channel: all Pauli products, the identity first."""
    paulis = [[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]]
    operators = products(torch.tensor(paulis, dtype=torch.complex128), n_qubits)
    weights = torch.full((4**n_qubits,), (1 - kept) / 4**n_qubits, dtype=torch.float64)
    weights[0] += kept
    return weights.sqrt()[:, None, None] * operators


def build_channel(name: str, **options: Any) -> Channel:
    """Build a channel by name.

    Args:
        name: A key of `CHANNELS`.
        **options: The fields of the channel.

    Raises:
        HQDMError: If the name or an option is unknown, or an option is not of its type.
    """
    cls = CHANNELS[name]
    check_fields(f"option of the channel {name!r}", options, cls, "channel.")
    return cls(**options)


def channel_config(channel: Channel) -> dict[str, Any]:
    """The plain configuration from which `build_channel` rebuilds the channel.

    Raises:
        HQDMError: If the channel is not registered.
    """
    return {"name": CHANNELS.saved_name(channel), **asdict(channel)}  # type: ignore[call-overload]
