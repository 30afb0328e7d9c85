"""Scores of a trained cell, of images or of states."""

from collections.abc import Sequence
from typing import Any

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.model import Model
from hqdm.states.models.denoiser import StateDenoiser
from hqdm.study.scores.images import check_samples, image_scores
from hqdm.study.scores.names import IMAGES, IMPORTANCE, SAMPLED, SCORES
from hqdm.study.scores.protocol import Protocol
from hqdm.study.scores.states import check_states, state_scores
from hqdm.utils.errors import HQDMError


def check_scores(model: Model, names: Sequence[str], test: Protocol) -> None:
    """Refuse scores that a model does not have, before it is trained.

    Args:
        model: The model, not trained yet.
        names: The scores, keys of `SCORES`, or `IMPORTANCE`.
        test: What it is tested with.

    Raises:
        HQDMError: If a score is of models of another kind, or cannot be computed.
    """
    for name in names:
        of = IMAGES if name == IMPORTANCE else SCORES[name].of
        if of not in (None, test.kind):
            others = [key for key, score in SCORES.items() if score.of in (None, test.kind)]
            raise HQDMError(
                f"{name} is a score of {of}, and the model generates {test.kind}: expected one of "
                f"{', '.join(others)}"
            )
    if isinstance(model, StateDenoiser):
        check_states(model, names, test)
    elif isinstance(model, Denoiser) and SAMPLED & set(names):
        check_samples(model, test.samples)


def scores_of(model: Model, names: Sequence[str], test: Protocol) -> dict[str, Any]:
    """Scores of a model.

    Args:
        model: The model.
        names: The scores, keys of `SCORES`, or `IMPORTANCE`.
        test: What it is tested with.

    Raises:
        HQDMError: If the data or an extractor cannot be used.
    """
    if isinstance(model, StateDenoiser):
        return state_scores(model, names, test)
    assert isinstance(model, Denoiser)
    return image_scores(model, names, test)
