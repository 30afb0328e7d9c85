"""Scores of a model of quantum states, see `hqdm.study.scores.names`.

Test states are drawn from the ensemble anew: neither training nor validation saw them.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hqdm.states.distances import average_fidelity, wasserstein
from hqdm.states.models.denoiser import StateDenoiser
from hqdm.states.runs.data import StateDataModule
from hqdm.states.runs.evaluation import fresh_states
from hqdm.states.runs.sampling import sample_states
from hqdm.states.scores import centre_fidelity, transport_is_installed, unbiased_mmd
from hqdm.study.scores.names import SAMPLED, TESTED
from hqdm.study.scores.protocol import Protocol
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import generator

LOSS_STREAM = 13


def check_states(model: StateDenoiser, names: Sequence[str], test: Protocol) -> None:
    """Refuse scores that the ensemble, the memory or the installation does not permit.

    Args:
        model: The model.
        names: The scores.
        test: What the model is tested with.

    Raises:
        HQDMError: For the first of them.
    """
    for wanted, n in ({"loss"}, TESTED), (SAMPLED, test.samples.n):
        if wanted & set(names):
            model.refuse_states(n)
    if "centre_infidelity" in names and data_of(test).ensemble.centre is None:
        raise HQDMError(
            f"the ensemble {test.data['ensemble']} has no centre: leave the score "
            "centre_infidelity out"
        )
    if "wasserstein" in names and not transport_is_installed():
        raise HQDMError("the score wasserstein needs POT: pip install 'hqdm[states]'")


def data_of(test: Protocol) -> StateDataModule:
    """The data of a cell."""
    return StateDataModule(**test.data, seed=test.seed)


def state_scores(model: StateDenoiser, names: Sequence[str], test: Protocol) -> dict[str, float]:
    """Scores of a model.

    Args:
        model: The model.
        names: The scores, keys of `SCORES` that are those of states.
        test: What it is tested with.

    Raises:
        HQDMError: If states take more than the memory limit of `hqdm.states.density`.
    """
    data = data_of(test)
    found: dict[str, float] = {}
    if "val_loss" in names:
        data.setup()
        found["val_loss"] = _loss(model, data.val_set, test.seed)
    if "loss" in names:
        found["loss"] = _loss(model, fresh_states(model, data, TESTED, test.seed, 0), test.seed)
    if SAMPLED & set(names):
        n, seed = test.samples.n, test.seed
        states = sample_states(model, n, seed).states
        real = fresh_states(model, data, n, seed, 1).to(states)
        measures = _measures(states, real, seed)
        if (centre := data.ensemble.centre) is not None:
            measures["centre_infidelity"] = lambda: 1 - centre_fidelity(states, centre)
        found |= {name: float(measures[name]()) for name in names if name in SAMPLED}
    return found


@torch.no_grad()
def _loss(model: StateDenoiser, states: Tensor, seed: int) -> float:
    """The distance of generated states to others."""
    states = states.to(next(model.parameters()).device)
    return float(model.distance(states, generator(seed, LOSS_STREAM)))


def _measures(states: Tensor, real: Tensor, seed: int) -> dict[str, Callable[[], Tensor | float]]:
    """The scores of generated states by name; those that are asked for are computed."""
    return {
        "infidelity": lambda: 1 - average_fidelity(states, real),
        "mmd": lambda: unbiased_mmd(states, real, seed).value,
        "wasserstein": lambda: wasserstein(states, real),
    }
