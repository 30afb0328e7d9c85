"""Scores of a model against the functions that define them."""

import pytest
import torch

from hqdm.data.images import load_images
from hqdm.diffusion.loading import load_denoiser
from hqdm.evaluation.ablation import mean_loss, quantum_effect
from hqdm.evaluation.importance import importance_map
from hqdm.metrics.pixel_distances import pixel_scores
from hqdm.nn import UNet
from hqdm.samplers import DDIM
from hqdm.study.scores.images import check_samples, image_scores
from hqdm.study.scores.names import IMPORTANCE
from hqdm.study.scores.protocol import Protocol, Samples
from hqdm.utils.errors import HQDMError
from hqdm.utils.pixels import to_float

DATA = {"name": "digits", "val_split": "train", "classes": None}


@pytest.fixture(scope="module")
def model(trained):
    return load_denoiser(trained)


@pytest.mark.slow
def test_losses_are_those_of_test_and_validation_images(model):
    found = image_scores(model, ["loss", "val_loss"], Protocol(DATA, 3, Samples()))
    test = to_float(load_images("digits", "test").images)
    assert found["loss"] == mean_loss(model, test, seed=3)
    train = to_float(load_images("digits", "train", limit=1024).images)
    assert found["val_loss"] == mean_loss(model, train, seed=3)
    assert found["loss"] != mean_loss(model, test, seed=4)
    zeros = {**DATA, "classes": [0]}
    images = to_float(load_images("digits", "test", classes=[0]).images)
    assert image_scores(model, ["loss"], Protocol(zeros, 3, Samples()))["loss"] == mean_loss(
        model, images, seed=3
    )


def test_changes_without_trained_circuits(model):
    found = image_scores(model, ["silenced", "random_angles"], Protocol(DATA, 3, Samples()))
    effect = quantum_effect(model, to_float(load_images("digits", "test").images), seed=3)
    assert found == {
        "silenced": effect.mean_output / effect.loss - 1,
        "random_angles": effect.random_angles / effect.loss - 1,
    }
    classical = type(model)(UNet(1, 8, 8, (1, 2)), model.schedule)
    torch.manual_seed(0)
    assert image_scores(classical, ["silenced"], Protocol(DATA, 3, Samples())) == {"silenced": 0.0}


@pytest.mark.slow
def test_the_importance_of_places_is_relative_to_the_loss(model, monkeypatch):
    monkeypatch.setattr("hqdm.study.scores.images.TESTED", 64)
    found = image_scores(model, [IMPORTANCE], Protocol(DATA, 3, Samples()))
    images = to_float(load_images("digits", "test", limit=64).images)
    loss, places = importance_map(model, images, None, seed=3)
    assert {place: tuple(changes.values()) for place, changes in found[IMPORTANCE].items()} == {
        one.place: tuple(
            None if value is None else value / loss - 1
            for value in (one.silenced, one.circuits_silenced, one.random_angles)
        )
        for one in places
    }
    protocol = Protocol(DATA, 3, Samples(n=16))
    assert protocol.settings(IMPORTANCE) == protocol.settings("loss")


def test_scores_of_samples(model):
    protocol = Protocol(DATA, 3, Samples(n=16, sampler="ddim", steps=2))
    found = image_scores(model, ["fid", "kid", "energy_distance"], protocol)
    assert list(found) == ["fid", "kid", "energy_distance"]
    train = load_images("digits", "train").images
    reference = train[torch.arange(16) * len(train) // 16]
    samples = protocol.of_images().draw(model, DDIM(2)).images
    assert found["energy_distance"] == pixel_scores(reference, samples)["energy_distance"]


def test_a_sampler_that_does_not_fit_the_model_is_refused(model):
    """Of one that fits a single step is taken."""
    steps = []
    hook = model.network.register_forward_hook(lambda *_: steps.append(1))
    check_samples(model, Samples(sampler="ddim", steps=50))
    hook.remove()
    assert len(steps) == 1
    with pytest.raises(HQDMError, match="uss"):
        check_samples(model, Samples(sampler="uss"))
