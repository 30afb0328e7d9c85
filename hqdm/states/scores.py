r"""Scores of generated states against those of an ensemble.

    F(E a, E b)                                    Uhlmann fidelity of the average states
    F_0 = E <c|a|c>                                mean fidelity to the centre c of a cluster
    MMD^2 = mean_{i != j} k(a_i, a_j) + mean_{i != j} k(b_i, b_j) - 2 mean k(a_i, b_j)
    W                                              1-Wasserstein distance for the cost 1 - k

with the kernel k of `hqdm.states.distances`. This MMD^2 is unbiased and may be negative. Its
interval is a bootstrap: with the weights w and v of resampled states,

    w^T K_aa w + v^T K_bb v - 2 w^T K_ab v

has twice the bias of the estimate that includes i = j, which is subtracted.
"""

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hqdm.states.density import is_kets, purity
from hqdm.states.distances import average, average_fidelity, kernel, overlap, wasserstein
from hqdm.states.observables import magnetisation
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import generator

RESAMPLES = 1000
LEVEL = 0.95
LEAST = 2  # states of either ensemble, of which one differs from another
RESAMPLE_STREAM = 10

Observable = Callable[[Tensor], Tensor]


class Interval(NamedTuple):
    """A score with its interval of `LEVEL`."""

    value: float
    low: float
    high: float


def unbiased_mmd(a: Tensor, b: Tensor, seed: int = 0) -> Interval:
    """The unbiased MMD^2 of two ensembles with a bootstrap interval, see the module.

    Args:
        a: Kets `(N, d)` or density matrices `(N, d, d)`.
        b: States of the same kind, `M` of them.
        seed: Random seed of the resamples.

    Raises:
        HQDMError: If the kinds or dimensions differ, or there are fewer than `LEAST` states.
    """
    if min(len(a), len(b)) < LEAST:
        raise HQDMError(f"an MMD needs {LEAST} states or more, got {len(a)} and {len(b)}")
    a, b = a.to(torch.complex128), b.to(torch.complex128)
    aa, bb, ab = kernel(a, a), kernel(b, b), kernel(a, b)
    biased = aa.mean() + bb.mean() - 2 * ab.mean()
    bias = sum((k.diagonal().mean() - k.mean()) / (len(k) - 1) for k in (aa, bb))
    draws = generator(seed, RESAMPLE_STREAM)
    w, v = (_resampled(len(states), draws) for states in (a, b))
    resampled = ((w @ aa) * w).sum(1) + ((v @ bb) * v).sum(1) - 2 * ((w @ ab) * v).sum(1)
    ends = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    low, high = (resampled.quantile(ends) - 2 * bias).tolist()
    return Interval(float(biased - bias), low, high)


def _resampled(n: int, draws: torch.Generator) -> Tensor:
    """Weights `(RESAMPLES, n)` of states that are drawn with replacement."""
    rows = torch.randint(n, (RESAMPLES, n), generator=draws)
    ones = torch.ones(RESAMPLES, n, dtype=torch.float64)
    return torch.zeros(RESAMPLES, n, dtype=torch.float64).scatter_add_(1, rows, ones) / n


def centre_fidelity(states: Tensor, centre: Tensor) -> Tensor:
    """The mean fidelity of states to a ket.

    Args:
        states: Kets `(B, d)` or density matrices `(B, d, d)`.
        centre: The ket `(d,)`.
    """
    centre = centre.to(states)
    if is_kets(states):
        return overlap(states, centre).mean()
    return (centre.conj() @ average(states) @ centre).real


def observables_of(states: Tensor) -> Mapping[str, Observable]:
    """Magnetisations and the purity by name, see `hqdm.states.observables`.

    Those that are 1 for all states are left out: |M| of one qubit, and the purity of kets.

    Args:
        states: Kets `(B, d)` or density matrices `(B, d, d)`.
    """
    absolute = {"magnetisation |z|": partial(magnetisation, absolute=True)}
    return {
        "magnetisation z": magnetisation,
        **(absolute if states.shape[-1] > 2 else {}),
        "magnetisation x": partial(magnetisation, axis="x"),
        **({} if is_kets(states) else {"purity": purity}),
    }


def transport_is_installed() -> bool:
    """True if the Wasserstein distance can be computed, which needs POT."""
    return importlib.util.find_spec("ot") is not None


def state_scores(
    states: Tensor, real: Tensor, centre: Tensor | None = None, seed: int = 0
) -> dict[str, Any]:
    """Scores of states against real ones.

    Args:
        states: Kets `(N, d)` or density matrices `(N, d, d)`.
        real: States of the same kind, `M` of them.
        centre: The centre of the ensemble, a ket `(d,)`, if it has one.
        seed: Random seed of the resamples.

    Returns:
        Plain values: `average_fidelity`, `centre_fidelity` (None without a centre), `mmd`,
        `mmd_interval`, `wasserstein` (None without POT), and under `observables` the mean and the
        standard deviation of each.

    Raises:
        HQDMError: As `unbiased_mmd`.
    """
    distance = unbiased_mmd(states, real, seed)
    return {
        "average_fidelity": float(average_fidelity(states, real)),
        "centre_fidelity": None if centre is None else float(centre_fidelity(states, centre)),
        "mmd": distance.value,
        "mmd_interval": [distance.low, distance.high],
        "wasserstein": float(wasserstein(states, real.to(states)))
        if transport_is_installed()
        else None,
        "observables": spreads(states),
    }


def spreads(states: Tensor) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of `observables_of` states.

    Args:
        states: Kets `(B, d)` or density matrices `(B, d, d)`, two or more.
    """
    found = {}
    for name, observable in observables_of(states).items():
        values = observable(states).double()
        found[name] = {"mean": float(values.mean()), "sd": float(values.std())}
    return found
