"""The denoiser of states: generation, files, and parts that do not fit together."""

import pytest
import torch

from hqdm import HQDMError
from hqdm.diffusion.loading import load_denoiser, load_model
from hqdm.diffusion.model import Model
from hqdm.states.channels import Depolarising, Scrambling
from hqdm.states.density import check_density, check_kets, haar_kets
from hqdm.states.models.denoiser import StateDenoiser
from hqdm.states.models.measured import MeasuredCircuit
from hqdm.states.models.objectives import Final, Layerwise
from hqdm.states.models.traced import TracedCircuit
from hqdm.utils.seeds import generator

H = [[1.0, 2.0, 3]]


def qgdm():
    return StateDenoiser(TracedCircuit(1, 3), Depolarising(n_steps=3), Final())


def quddpm():
    return StateDenoiser(MeasuredCircuit(2, 3), Scrambling(n_steps=3, h=H), Layerwise())


def msquddpm():
    network = MeasuredCircuit(1, 3, n_ancillas=2, haar=True)
    return StateDenoiser(network, Depolarising(n_steps=3), Layerwise())


@pytest.mark.parametrize("make", [qgdm, quddpm, msquddpm])
def test_files_hold_the_whole_model(make, tmp_path):
    torch.manual_seed(0)
    model = make().double()
    model.save_pretrained(tmp_path)
    loaded = load_model(tmp_path, Model)
    assert isinstance(loaded, StateDenoiser)
    assert loaded.config == model.config
    found, expected = (m.generate(6, generator(1)) for m in (loaded, model))
    assert torch.equal(found, expected)
    (check_kets if model.pure else check_density)(found)
    with pytest.raises(HQDMError, match="is a model of quantum states: expected a model of images"):
        load_denoiser(tmp_path)


def test_generation_is_the_chain_from_the_prior():
    torch.manual_seed(0)
    model = quddpm().double()
    states = model.denoising(5, generator(3))
    assert len(states) == 4
    torch.testing.assert_close(states[0], haar_kets(5, 2, generator(3)))
    assert torch.equal(states[-1], model.generate(5, generator(3)))


def test_the_distance_is_that_of_generated_states():
    torch.manual_seed(0)
    model = quddpm().double()
    data = haar_kets(30, 2, generator(8))
    generated = model.generate(30, generator(2))
    means = [(k[:, :, None] * k[:, None].conj()).mean(0) for k in (generated, data)]
    expected = (means[0] - means[1]).abs().square().sum()  # the MMD of kets
    torch.testing.assert_close(model.distance(data, generator(2)), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("network", "channel", "objective", "message"),
    [
        (TracedCircuit(1, 4), Depolarising(n_steps=3), Final(), "has 4 steps and the channel 3"),
        (MeasuredCircuit(1, 3), Depolarising(n_steps=3), Final(), "of one density matrix"),
        (TracedCircuit(1, 3), Scrambling(n_steps=3, h=H), Final(), "of one density matrix"),
        (TracedCircuit(1, 3), Scrambling(n_steps=3, h=H), Layerwise(), "leaves no kets"),
    ],
)
def test_parts_that_do_not_fit_are_refused(network, channel, objective, message):
    with pytest.raises(HQDMError, match=message):
        StateDenoiser(network, channel, objective)


def test_configurations_that_lack_a_part_are_refused():
    with pytest.raises(HQDMError, match="channel: expected keys with a name"):
        StateDenoiser.from_config({**qgdm().config, "channel": None})
