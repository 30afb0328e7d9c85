r"""Powers of one step of a `StateNetwork`, computed once for all images.

Without an ancilla a step is a unitary matrix, and n steps are U^n, by repeated squaring. With a
fresh ancilla in every step they are the n-th power of a channel. The probability of pixel i is

    p_i = <x| M_i |x>,     M_i = E*^n(|i><i|),     E*(M) = sum_k K_k^H M K_k,

with the adjoint E* of the channel in place of E itself, so that one d x d matrix per pixel serves
all images; sum_i M_i = 1, since the channel preserves traces. Images of many qubits, whose d^3
numbers are too many, are computed by trajectories: outcome k of each ancilla is drawn with the
probability |K_k psi|^2, and |psi|^2 is averaged.
"""

import hashlib

import torch
from torch import Tensor

from hqdm.nn.amplitude.states import StateNetwork
from hqdm.utils.memory import check_memory

MAX_CHANNEL_QUBITS = 8
"""Qubits of an image up to which channels are computed exactly by default (400 MB at 8)."""

BUFFERS = 3  # of the matrices of all pixels, while a step is applied to them


def unitary_power(kraus: Tensor, n: int) -> Tensor:
    """U^n of `(1, d, d)`, `(d, d)`."""
    return torch.linalg.matrix_power(kraus[0], n)


def observables(kraus: Tensor, n: int) -> Tensor:
    """The matrices M_i of all pixels after n steps, `(K, d, d)` to `(d, d, d)`.

    Raises:
        HQDMError: If they do not fit into memory.
    """
    d = kraus.shape[-1]
    n_bytes = BUFFERS * d**3 * kraus.element_size()
    check_memory(f"the channel of {d} amplitudes", n_bytes, "use method='trajectories'")
    found = torch.diag_embed(torch.eye(d, dtype=kraus.dtype, device=kraus.device))
    for _ in range(n):
        found = sum((k.mH @ found @ k for k in kraus[1:]), kraus[0].mH @ found @ kraus[0])
    return found


def channel_probabilities(matrices: Tensor, states: Tensor) -> Tensor:
    """The probabilities of the pixels, of `observables` and states `(B, d)`, `(B, d)`."""
    outer = states.conj()[:, :, None] * states[:, None, :]
    return (outer.flatten(1) @ matrices.flatten(1).mT).real.clamp_min(0)


def trajectory_probabilities(kraus: Tensor, states: Tensor, uniform: Tensor) -> Tensor:
    """The probabilities of the pixels, averaged over random outcomes of the ancillas.

    Args:
        kraus: `(K, d, d)`.
        states: States of norm one, `(B, d)`.
        uniform: Numbers in [0, 1) for n steps and R trajectories per image, `(B, n, R)`; the error
            of the mean decreases as 1 / sqrt(R).

    Raises:
        HQDMError: If the states do not fit into memory.
    """
    _, n, n_trajectories = uniform.shape
    n_bytes = (len(kraus) + 1) * states.numel() * n_trajectories * states.element_size()
    what = f"{n_trajectories} trajectories of {len(states)} images"
    check_memory(what, n_bytes, "use fewer trajectories, or generate fewer images at a time")
    psi = states[:, None].expand(-1, n_trajectories, -1)
    for step in range(n):
        psi = _after_outcome(torch.einsum("kij,brj->kbri", kraus, psi), uniform[:, step])
    return psi.abs().square().mean(1)


def _after_outcome(branches: Tensor, uniform: Tensor) -> Tensor:
    """One of the states `(K, B, R, d)`, drawn by its squared norm and normalised."""
    weights = branches.abs().square().sum(-1)
    below = weights.cumsum(0) <= uniform  # the weights sum up to 1, but for rounding
    chosen = below.sum(0).clamp_max(len(branches) - 1)
    psi = branches.gather(0, chosen[None, ..., None].expand(-1, -1, -1, branches.shape[-1]))[0]
    return psi / torch.linalg.vector_norm(psi, dim=-1, keepdim=True)


class Powers:
    """Matrices that depend on the weights of a network, kept until these change."""

    def __init__(self) -> None:
        self._weights = ""
        self._kept: dict[tuple[object, ...], Tensor] = {}

    def get(
        self, network: StateNetwork, y: int | None, n: int, dtype: torch.dtype
    ) -> tuple[Tensor, bool]:
        """The map that n steps of a network are.

        Args:
            network: The network.
            y: The class label, or None.
            n: Number of steps.
            dtype: Complex dtype of the result.

        Returns:
            `U^n` `(d, d)` and True, or the observables `(d, d, d)` of a channel and False.
        """
        weights = fingerprint(network)
        if weights != self._weights:
            self._weights, self._kept = weights, {}
        key = y, n, dtype
        if key not in self._kept:
            kraus = network.kraus(y).detach().to(dtype)
            self._kept[key] = (observables if network.has_ancilla else unitary_power)(kraus, n)
        return self._kept[key], not network.has_ancilla


def fingerprint(network: StateNetwork) -> str:
    """A digest of the configuration, the weights and the device of a network."""
    found = hashlib.sha256(f"{type(network).__qualname__} {network.config}".encode())
    for name, tensor in network.state_dict().items():
        found.update(f"{name} {tensor.device} {tensor.dtype}".encode())
        found.update(tensor.detach().cpu().double().numpy().tobytes())
    return found.hexdigest()
