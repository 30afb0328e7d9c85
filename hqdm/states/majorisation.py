r"""Upper bound of the fidelity of RE-QGDM: what m fresh auxiliary qubits a step permit.

A step of the backward model is rho -> tr_aux[U (|0><0| (x) rho) U^dagger] with m auxiliary qubits.
With the eigenvalues l_1 >= l_2 >= ... of rho, those s_1 >= s_2 >= ... of the result obey

    sum_{i <= k} s_i <= sum_{i <= k} b_i = sum_{j <= k 2^m} l_j,

by Ky Fan's principle: they are majorised by the sums b_i of 2^m consecutive eigenvalues. It is
necessary, but not sufficient: the rank grows by a factor of 2^m at most. For eigenvalues r of a
target, F = (sum_i sqrt(s_i r_i))^2 is largest under these constraints at s_i = c_i r_i, where c is
the isotonic regression of b / r with weights r. A pure target has F <= b_1 = l_1 + ... + l_{2^m}.

The path of QGDM (Chen et al., arXiv 2401.07039) begins at I / d, where no sum is above 2^m / d:
with few auxiliary qubits the eigenvalues cannot follow it. A qubit that holds the time and is
traced out is one of the m.
"""

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from hqdm.states.channels import DampingChannel
from hqdm.states.density import n_qubits_of
from hqdm.states.distances import without_rounding
from hqdm.utils.checks import whole


def consecutive_sums(spectrum: Tensor, n_auxiliary: int) -> Tensor:
    """The sums b_i of 2^m consecutive eigenvalues, the largest first.

    Args:
        spectrum: Eigenvalues `(d,)`, in any order.
        n_auxiliary: Number m of pure auxiliary qubits.

    Returns:
        `(d,)`; entries beyond the last eigenvalue are zero.

    Raises:
        HQDMError: If d is no power of two, or the number is negative.
    """
    size = 2 ** min(whole("n_auxiliary", n_auxiliary), n_qubits_of(len(spectrum)))
    sums = spectrum.sort(descending=True).values.reshape(-1, size).sum(1)
    return torch.cat([sums, sums.new_zeros(len(spectrum) - len(sums))])


def nearest_spectrum(target: Tensor, sums: Tensor) -> Tensor:
    """The spectrum majorised by `sums` with the largest fidelity to a target.

    Args:
        target: Eigenvalues r of the target, `(d,)`, descending.
        sums: Sums b, `(d,)`, descending, see `consecutive_sums`.

    Returns:
        Eigenvalues s, `(d,)`, descending, in float64.
    """
    r, b = target.double().numpy(), sums.double().numpy()
    support = np.count_nonzero(r)
    weights = r[:support]
    factors = isotonic_regression(b[:support] / weights, weights=weights).x
    return torch.from_numpy(np.concatenate([factors * weights, b[support:]]))


def path_bound(channel: DampingChannel, rho: Tensor, n_auxiliary: int) -> Tensor:
    """The largest fidelities of a backward model that follows the path of a channel.

    From the prior on, every step makes the state nearest to the exact rho_{t-1} that the
    eigenvalues of its own last state permit. A model that leaves the path may have a larger
    fidelity at the end: with m = 1, n steps make a pure state of I / d.

    Args:
        channel: The forward process.
        rho: The target `(d, d)`.
        n_auxiliary: Number m of pure auxiliary qubits that every step adds and traces out.

    Returns:
        Fidelities to rho_0, ..., rho_T, `(T + 1,)` in float64; the first is that of the generated
        state.

    Raises:
        HQDMError: If the number is negative, or the path takes more than the memory limit of
            `hqdm.states.density`.
    """
    ascending = torch.linalg.eigvalsh(channel.path(rho.to(torch.complex128)))
    targets = without_rounding(ascending).flip(-1)
    own = channel.prior(1, n_qubits_of(len(rho)))[0].diagonal().real
    fidelities = [_fidelity(own, targets[-1])]
    for target in reversed(targets[:-1]):
        own = nearest_spectrum(target, consecutive_sums(own, n_auxiliary))
        fidelities.append(_fidelity(own, target))
    return torch.stack(fidelities[::-1])


def _fidelity(s: Tensor, r: Tensor) -> Tensor:
    """The fidelity of states with a common basis of eigenvectors."""
    return (s * r).sqrt().sum().square()
