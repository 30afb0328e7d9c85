"""Scores by the kind of a model."""

import pytest

from hqdm.diffusion.loading import load_denoiser
from hqdm.states.channels import Depolarising
from hqdm.states.models.denoiser import StateDenoiser
from hqdm.states.models.objectives import Final
from hqdm.states.models.traced import TracedCircuit
from hqdm.study.scores.images import image_scores
from hqdm.study.scores.models import check_scores, scores_of
from hqdm.study.scores.names import IMPORTANCE
from hqdm.study.scores.protocol import Protocol, Samples
from hqdm.study.scores.states import state_scores
from hqdm.utils.errors import HQDMError

DIGITS = Protocol({"name": "digits", "val_split": "train"}, 3, Samples(n=4, sampler="uss"))
MIXED = Protocol({"ensemble": "low_rank_mixed", "n_states": 1, "batch_size": 1}, 3, Samples(n=4))


@pytest.fixture
def qgdm():
    return StateDenoiser(TracedCircuit(1, 3), Depolarising(n_steps=3), Final())


def test_scores_are_those_of_the_kind(qgdm, trained):
    denoiser = load_denoiser(trained)
    assert scores_of(denoiser, ["loss"], DIGITS) == image_scores(denoiser, ["loss"], DIGITS)
    names = ["infidelity", "loss"]
    assert scores_of(qgdm, names, MIXED) == state_scores(qgdm, names, MIXED)


def test_a_score_of_another_kind_is_refused(qgdm, trained):
    check_scores(qgdm, ["loss", "mmd"], MIXED)
    for name in ("fid", IMPORTANCE):
        message = rf"{name} is a score of images, and the model generates states: .*, infidelity,"
        with pytest.raises(HQDMError, match=message):
            check_scores(qgdm, ["loss", name], MIXED)
    denoiser = load_denoiser(trained)
    with pytest.raises(HQDMError, match="mmd is a score of states, .*: expected one of loss, "):
        check_scores(denoiser, ["mmd"], DIGITS)


def test_each_kind_is_checked_by_itself(qgdm, trained):
    with pytest.raises(HQDMError, match="no centre"):
        check_scores(qgdm, ["centre_infidelity"], MIXED)
    denoiser = load_denoiser(trained)
    check_scores(denoiser, ["loss"], DIGITS)  # draws no samples
    with pytest.raises(HQDMError, match="uss"):
        check_scores(denoiser, ["fid"], DIGITS)
