"""Scores of models of quantum states against the functions that define them."""

import pytest
import torch

from hqdm.states.channels import Depolarising, Scrambling
from hqdm.states.distances import average, fidelity, mmd, overlap, superfidelity, wasserstein
from hqdm.states.models.denoiser import StateDenoiser
from hqdm.states.models.measured import MeasuredCircuit
from hqdm.states.models.objectives import Final, Layerwise
from hqdm.states.models.traced import TracedCircuit
from hqdm.states.runs.data import StateDataModule
from hqdm.states.runs.sampling import sample_states
from hqdm.states.scores import unbiased_mmd
from hqdm.study.scores import states
from hqdm.study.scores.protocol import Protocol, Samples
from hqdm.study.scores.states import check_states, state_scores
from hqdm.utils.errors import HQDMError

CLUSTER = {"ensemble": "cluster", "n_states": 20, "n_val": 7, "batch_size": 10}
MIXED = {"ensemble": "gibbs", "n_qubits": 2, "n_states": 5, "n_val": 1, "batch_size": 1}
SAMPLED = ("infidelity", "centre_infidelity", "mmd", "wasserstein")


def quddpm():
    torch.manual_seed(0)
    channel = Scrambling(n_steps=3, h=[[1.0, 3.0, 3]])
    return StateDenoiser(MeasuredCircuit(1, 3, n_layers=2), channel, Layerwise()).double()


def test_scores_of_samples():
    pytest.importorskip("ot")
    model, test = quddpm(), Protocol(CLUSTER, 5, Samples(n=30))
    found = state_scores(model, SAMPLED, test)
    data = StateDataModule(**CLUSTER, seed=5)
    drawn, real = sample_states(model, 30, 5).states, data.fresh(30, 5, 1)
    assert found["infidelity"] == 1 - float(fidelity(average(drawn), average(real)))
    zero = torch.tensor([1, 0], dtype=torch.complex128)
    expected = 1 - float(overlap(drawn, zero).mean())
    assert found["centre_infidelity"] == pytest.approx(expected, abs=1e-12)
    assert found["mmd"] == unbiased_mmd(drawn, real, 5).value
    assert found["wasserstein"] == float(wasserstein(drawn, real))
    assert list(state_scores(model, ["mmd"], test)) == ["mmd"]


def test_losses_are_distances_of_generated_states(monkeypatch):
    """Of an ensemble by the MMD, of one state by its superfidelity, to states of their own."""
    monkeypatch.setattr(states, "TESTED", 40)
    model, generated = quddpm(), []
    generate = model.generate
    monkeypatch.setattr(
        model, "generate", lambda *args: generated.append(generate(*args)) or generated[-1]
    )
    found = state_scores(model, ["loss", "val_loss"], Protocol(CLUSTER, 5, Samples()))
    data = StateDataModule(**CLUSTER, seed=5)
    data.setup()
    assert [len(one) for one in generated] == [7, 40]
    assert found["val_loss"] == float(mmd(generated[0], data.val_set))
    assert found["loss"] == float(mmd(generated[1], data.fresh(40, 5, 0)))


def test_the_loss_of_one_state_is_that_of_the_average():
    torch.manual_seed(0)
    channel = Depolarising(n_steps=4)
    model = StateDenoiser(TracedCircuit(2, 4, n_layers=2), channel, Final()).double()
    found = state_scores(model, ["loss", "infidelity"], Protocol(MIXED, 0, Samples(n=2)))
    (rho,), (made,) = (StateDataModule(**MIXED).fresh(1, 0), sample_states(model, 1).states)
    assert found["loss"] == pytest.approx(1 - float(superfidelity(made, rho)), abs=1e-12)
    assert found["infidelity"] == pytest.approx(1 - float(fidelity(made, rho)), abs=1e-8)


def test_scores_that_cannot_be_computed_are_refused(monkeypatch):
    model = quddpm()
    check_states(model, SAMPLED[:3], Protocol(CLUSTER, 0, Samples()))
    with pytest.raises(HQDMError, match="1000000000 kets of 1 qubit would take"):
        check_states(model, ["mmd"], Protocol(CLUSTER, 0, Samples(n=10**9)))
    check_states(model, ["loss"], Protocol(CLUSTER, 0, Samples(n=10**9)))
    monkeypatch.setattr(states, "TESTED", 10**9)
    with pytest.raises(HQDMError, match="1000000000 kets of 1 qubit would take"):
        check_states(model, ["loss"], Protocol(CLUSTER, 0, Samples()))
    with pytest.raises(HQDMError, match="ensemble gibbs has no centre"):
        check_states(model, ["centre_infidelity"], Protocol(MIXED, 0, Samples()))
    monkeypatch.setattr(states, "transport_is_installed", lambda: False)
    with pytest.raises(HQDMError, match=r"needs POT: pip install 'hqdm\[states\]'"):
        check_states(model, ["wasserstein"], Protocol(CLUSTER, 0, Samples()))
