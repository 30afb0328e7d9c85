r"""QGDM and RE-QGDM: a unitary, of which the auxiliary qubits are traced out.

    rho_{t-1} = Tr_aux[ U(theta) (|tau_t><tau_t| (x) |0><0| (x) rho_t) U(theta)^dagger ]

U is the same for all steps; the time enters as the state tau_t of n_time auxiliary qubits,

    |tau_t> = V(phi) RY(2 pi t / (T + 1))^(x n_time) |0>,

where V is a circuit of `time_layers` layers, the identity without any. Further `n_fresh` auxiliary
qubits start in |0>. QGDM has as many auxiliary qubits as data qubits, RE-QGDM fewer. Source: Chen
et al., arXiv 2401.07039.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hqdm.states.models.backward import (
    Backward,
    Circuits,
    refuse_kraus,
    register_backward,
)
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError

MAX_VECTORISED = 3
"""Number of qubits up to which channels are matrices on vectors, 64 x 64 numbers."""


@register_backward
class TracedCircuit(Backward):
    """The backward model of QGDM, see the module.

    Args:
        n_qubits: Number n of data qubits.
        n_steps: Number T of steps.
        n_time: Number of auxiliary qubits that carry the time.
        n_fresh: Number of auxiliary qubits in |0>.
        n_layers: Layers of U.
        time_layers: Layers of the circuit of the time register; 0 for none.
        ansatz: Name of the registered ansatz of both circuits.
        ansatz_options: Its further options.
        angle_std: Standard deviation of the initial angles; None is 1 / (2 sqrt(3 L - 1)) for L
            layers, that of QD3PM.

    Raises:
        HQDMError: If a size is out of range, or the Kraus operators do not fit into memory.
    """

    collapses = False

    def __init__(
        self,
        n_qubits: int,
        n_steps: int,
        n_time: int = 1,
        n_fresh: int = 1,
        n_layers: int = 6,
        time_layers: int = 0,
        ansatz: str = "RotationZZ",
        ansatz_options: dict[str, Any] | None = None,
        angle_std: float | None = None,
    ) -> None:
        super().__init__(n_qubits, n_steps)
        whole("n_time", n_time, 1)
        whole("n_fresh", n_fresh)
        whole("n_layers", n_layers, 1)
        whole("time_layers", time_layers)
        self.n_time, self.n_fresh = n_time, n_fresh
        self._config = {
            **{"n_qubits": n_qubits, "n_steps": n_steps, "n_time": n_time, "n_fresh": n_fresh},
            **{"n_layers": n_layers, "time_layers": time_layers, "ansatz": ansatz},
            **{"ansatz_options": ansatz_options, "angle_std": angle_std},
        }
        refuse_kraus(n_steps, n_qubits, self.n_auxiliary, torch.float32)
        options, n_wires = ansatz_options or {}, n_qubits + self.n_auxiliary
        self.circuit = _circuits(ansatz, n_wires, n_layers, angle_std, options)
        self.embedding = (
            _circuits(ansatz, n_time, time_layers, angle_std, options) if time_layers else None
        )

    @property
    def config(self) -> dict[str, Any]:
        """See `Backward`."""
        return dict(self._config)

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """See `Backward`."""
        named = {"circuit": self.circuit, "embedding": self.embedding}
        return {name: part for name, part in named.items() if part is not None}

    @property
    def n_auxiliary(self) -> int:
        """See `Backward`."""
        return self.n_time + self.n_fresh

    def time_states(self, steps: Sequence[int]) -> Tensor:
        """The states tau_t of the time register at some steps, complex `(len(steps), 2^n_time)`."""
        like = self.circuit.theta[0]
        dtype = torch.promote_types(like.dtype, torch.float32)
        t = torch.tensor(list(steps), device=like.device, dtype=dtype)
        half = math.pi * t / (self.n_steps + 1)
        one = torch.stack([half.cos(), half.sin()], -1)
        states = torch.ones_like(one[:, :1])
        for _ in range(self.n_time):
            states = (states[:, :, None] * one[:, None]).flatten(1)
        states = states.to(dtype.to_complex())
        if self.embedding is None:
            return states
        basis = torch.arange(2**self.n_time)
        return states @ self.embedding.columns([0], basis)[0]

    def kraus(self, steps: Sequence[int]) -> Tensor:
        """See `Backward`: complex `(len(steps), 2^m, d, d)`."""
        starts = torch.arange(2**self.n_time) << (self.n_fresh + self.n_qubits)
        basis = (starts[:, None] + torch.arange(self.dim)).flatten()
        columns = self.circuit.columns([0], basis)[0]  # (time state and data, all wires)
        by_time = columns.reshape(2**self.n_time, self.dim, -1, self.dim)  # (a, j, z, i)
        return torch.einsum("ta,ajzi->tzij", self.time_states(steps), by_time)

    def maps(self, steps: Sequence[int]) -> Tensor:
        """See `Backward`: up to `MAX_VECTORISED` qubits the matrices of the channels.

        One product of a matrix and a vector per step takes a fraction of the time of the products
        with each Kraus operator, and the d^4 numbers of a channel do not fit for more qubits.
        """
        kraus = self.kraus(steps)
        return channel_matrices(kraus) if self.n_qubits <= MAX_VECTORISED else kraus

    def after(self, states: Tensor, maps: Tensor, draws: torch.Generator) -> Tensor:
        """See `Backward`; nothing is drawn."""
        if maps.ndim == 2:
            return (states.flatten(1) @ maps.mT).view_as(states)
        return traced(states, maps)

    def check(self, states: Tensor) -> None:
        """See `Backward`; kets are refused, too."""
        super().check(states)
        if states.ndim != 3:
            raise HQDMError("QGDM maps density matrices: expected shape (B, d, d), got kets")


def channel_matrices(kraus: Tensor) -> Tensor:
    """The matrices sum_z K_z (x) K_z^* of channels on density matrices in row-major order.

    Args:
        kraus: Operators `(T, Z, d, d)`.

    Returns:
        `(T, d^2, d^2)`.
    """
    left, right = kraus.flatten(2).mT, kraus.conj().flatten(2)  # (T, ij, Z), (T, Z, kl)
    dim = kraus.shape[-1]
    products = (left @ right).reshape(-1, *(dim,) * 4)  # (T, i, j, k, l)
    return products.transpose(2, 3).reshape(-1, dim**2, dim**2)


def traced(states: Tensor, kraus: Tensor) -> Tensor:
    """The channel sum_z K_z rho K_z^dagger.

    Args:
        states: Density matrices `(B, d, d)`.
        kraus: Operators `(Z, d, d)`.
    """
    dim = states.shape[-1]
    left = (kraus @ states[:, None]).transpose(1, 2).reshape(len(states), dim, -1)
    return left @ kraus.mH.reshape(-1, dim)


def _circuits(
    ansatz: str, n_wires: int, n_layers: int, std: float | None, options: Mapping[str, Any]
) -> Circuits:
    usual = 1 / (2 * math.sqrt(3 * n_layers - 1))
    return Circuits(ansatz, n_wires, n_layers, 1, usual if std is None else std, options)
