r"""The Petz chain: the exact reverse of a channel on the states of its own path.

    R_t(w) = rho_{t-1}^{1/2} N_t^dagger(rho_t^{-1/2} w rho_t^{-1/2}) rho_{t-1}^{1/2}

is completely positive, preserves the trace, and maps rho_t to rho_{t-1} (Petz 1988), where N_t is
step t of the channel. Chained from the prior rho_T, it returns rho_0: what a backward model of QGDM
learns has a closed form if the target is known.
"""

import torch
from torch import Tensor

from hqdm.states.channels import DampingChannel
from hqdm.states.density import n_qubits_of
from hqdm.states.distances import matrix_power


def petz_step(
    channel: DampingChannel, states: Tensor, before: Tensor, after: Tensor, t: int
) -> Tensor:
    """The Petz map R_t.

    Args:
        channel: The channel.
        states: Density matrices w, `(B, d, d)`, in the support of `after`.
        before: The state rho_{t-1}, `(d, d)`.
        after: The state rho_t, `(d, d)`.
        t: The step, 1 ... T.

    Returns:
        `(B, d, d)` in complex128.

    Raises:
        HQDMError: If `t` is out of range.
    """
    root, inverse = matrix_power(before, 0.5), matrix_power(after, -0.5)
    inner = channel.adjoint_step(inverse @ states.to(inverse) @ inverse, t)
    return root @ inner @ root


def petz_chain(channel: DampingChannel, rho: Tensor) -> Tensor:
    """The states of the Petz chain from the prior of the channel.

    Args:
        channel: The channel.
        rho: The state rho_0, `(d, d)`.

    Returns:
        The states at t = 0, ..., T, `(T + 1, d, d)` in complex128; the first is the generated one.

    Raises:
        HQDMError: If they take more than the memory limit of `hqdm.states.density`.
    """
    path = channel.path(rho.to(torch.complex128))
    states = channel.prior(1, n_qubits_of(len(rho)))
    chain = [states]
    for t in range(channel.n_steps, 0, -1):
        states = petz_step(channel, states, path[t - 1], path[t], t)
        chain.append(states)
    return torch.cat(chain[::-1])
