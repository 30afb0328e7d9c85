"""Scores of generated states and what they are compared with."""

import json
from dataclasses import asdict

import pytest
import torch

from hqdm import HQDMError
from hqdm.states.channels import Depolarising, Scrambling
from hqdm.states.density import density, haar_kets
from hqdm.states.distances import average, fidelity
from hqdm.states.models.denoiser import StateDenoiser
from hqdm.states.models.measured import MeasuredCircuit
from hqdm.states.models.objectives import Final, Layerwise
from hqdm.states.models.traced import TracedCircuit
from hqdm.states.runs import evaluation
from hqdm.states.runs.controls import Controls
from hqdm.states.runs.data import StateDataModule
from hqdm.states.runs.evaluation import evaluate, fresh_states, score_page, write_report
from hqdm.states.scores import unbiased_mmd


@pytest.fixture
def quddpm():
    torch.manual_seed(0)
    channel = Scrambling(n_steps=3, h=[[1.0, 2.0, 3]])
    return StateDenoiser(MeasuredCircuit(1, 3), channel, Layerwise())


@pytest.fixture
def qgdm():
    torch.manual_seed(0)
    return StateDenoiser(TracedCircuit(1, 4, n_layers=2), Depolarising(n_steps=4), Final())


class Exact(StateDenoiser):
    """A model that generates states of the cluster, in place of a trained one."""

    def steps(self, n, draws):
        yield 0, StateDataModule().ensemble.sample(n, draws).to(self.dtype)


def test_the_model_the_prior_and_the_floor_are_told_apart(quddpm):
    perfect = Exact(quddpm.network, quddpm.channel, quddpm.objective)
    report = evaluate(perfect, StateDataModule(), 300)
    for name in ("scores", "floor"):
        assert report[name]["average_fidelity"] > 0.999
        assert report[name]["centre_fidelity"] == pytest.approx(0.988, abs=4e-3)
        assert report[name]["mmd_interval"][0] <= 0 <= report[name]["mmd_interval"][1]
    # Haar-random kets have a mean fidelity of 1 / 2 to any ket, with a deviation of 0.29.
    assert report["identity"]["centre_fidelity"] == pytest.approx(0.5, abs=4 * 0.29 / 300**0.5)
    assert report["identity"]["mmd_interval"][0] > 0.1
    assert report["controls"]["identity"] < 0.7


def test_the_floor_is_of_other_states_than_the_real_ones(quddpm):
    report = evaluate(quddpm, StateDataModule(), 20)
    # Twenty kets of a cluster have an average of their own; the MMD of equal sets is negative.
    assert 0 < 1 - report["floor"]["average_fidelity"] < 0.01
    data = StateDataModule()
    one, other = (fresh_states(quddpm, data, 20, 0, part) for part in (0, 1))
    expected = float(fidelity(average(one), average(other)))
    assert report["floor"]["average_fidelity"] == pytest.approx(expected, abs=1e-12)


def test_controls_are_of_the_real_states(qgdm):
    data = StateDataModule(n_states=20)
    real = fresh_states(qgdm, data, 20, 5, 0)
    found = evaluate(qgdm, data, 20, seed=5)["controls"]
    assert found == asdict(Controls.of(qgdm, real))


def test_the_identity_map_of_a_density_channel_is_its_prior(qgdm):
    data = StateDataModule("low_rank_mixed")
    report = evaluate(qgdm, data, 4)
    controls = report["controls"]
    assert report["identity"]["average_fidelity"] == pytest.approx(controls["identity"], abs=1e-6)
    assert report["floor"]["average_fidelity"] == pytest.approx(1, abs=1e-7)
    assert report["floor"]["mmd"] == pytest.approx(0, abs=1e-12)


def test_scores_are_of_states_that_the_data_module_draws_anew(qgdm):
    data = StateDataModule(n_states=20, batch_size=1)
    data.setup()
    real = fresh_states(qgdm, data, 20, seed=3, part=0)
    assert torch.equal(real, density(data.fresh(20, 3, 0)))
    assert not torch.equal(real, density(data.train_set))


def test_reports_are_written_and_shown(quddpm, tmp_path):
    report = evaluate(quddpm, StateDataModule(), 10, seed=2)
    written = write_report(report, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text()) == json.loads(json.dumps(report))
    assert written == str(tmp_path / "metrics.json")
    text = score_page(report).markdown()
    for line in ("| fidelity of the averages |", "| MMD² |", "|   95 % from |", "Petz chain"):
        assert line in text
    assert f"{report['scores']['average_fidelity']:.4f}" in text
    assert "cluster, 10 states" in text


def test_a_missing_library_is_named(quddpm, monkeypatch):
    for module in ("hqdm.states.scores", evaluation.__name__):
        monkeypatch.setattr(f"{module}.transport_is_installed", lambda: False)
    text = score_page(evaluate(quddpm, StateDataModule(), 3)).markdown()
    assert "Wasserstein: pip install 'hqdm[states]'" in text
    assert "| Wasserstein |" not in text


def test_data_of_other_states_are_refused(quddpm):
    for data in (StateDataModule(n_qubits=2), StateDataModule("low_rank_mixed")):
        with pytest.raises(HQDMError, match="name the data of its run"):
            evaluate(quddpm, data, 3)
    with pytest.raises(HQDMError, match="n needs a whole number from 2"):
        evaluate(quddpm, StateDataModule(), 1)


def test_the_seed_chooses_generated_and_real_states(quddpm):
    first, again, other = (evaluate(quddpm, StateDataModule(), 8, s)["scores"] for s in (0, 0, 1))
    assert first == again
    assert first["average_fidelity"] != other["average_fidelity"]
    kets = haar_kets(4, 1)
    assert unbiased_mmd(kets, kets, 0) != unbiased_mmd(kets, kets, 1)
