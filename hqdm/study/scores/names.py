"""Names of scores, and what each is: of which models, and how two models are compared by it.

    loss              mean loss on test images, with times and noise of the cell's random seed; of
                      states the distance of generated ones to test states, by the objective
    val_loss          the same on images of `data.val_split`, or on validation states, by which
                      learning rates are chosen
    fid, kid          distances of the features of samples to those of training images
    energy_distance   distance of samples to training images in pixels
    silenced          change of the loss if circuits give their mean over the batch, relative
    random_angles     change of the loss with random angles, relative
    importance        changes of the loss by place: {place: {change: value}} with the changes of
                      `hqdm.evaluation.importance`, None where a place has no circuits
    infidelity        1 - F of the averages of generated states and test states
    centre_infidelity 1 - mean fidelity of generated states to the centre of the ensemble
    mmd, wasserstein  distances of generated states to test states, see `hqdm.states.scores`

`silenced` and `random_angles` are 0 for a model without circuits, for which a report has none; see
`hqdm.evaluation.ablation`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

IMAGES, STATES = "images", "states"
IMPORTANCE = "importance"
TESTED = 1024
"""Largest number of test images, or number of test states, of a loss."""


@dataclass(frozen=True)
class Score:
    """A score.

    Attributes:
        label: Its name in tables and sentences.
        of: `IMAGES` or `STATES`, the models that have it; None for both.
        relative: Whether it is positive, so that two models are compared by their ratio.
        change: Whether it is a relative change of the loss without trained circuits, which
            describes one model with circuits; two models are not compared by it.
        sampled: Whether it is one of samples.
    """

    label: str
    of: str | None = None
    relative: bool = True
    change: bool = False
    sampled: bool = False


def _of_states(label: str) -> Score:
    """A score of generated states, which may be zero."""
    return Score(label, STATES, relative=False, sampled=True)


SCORES: Mapping[str, Score] = {
    "loss": Score("loss"),
    "val_loss": Score("validation loss"),
    "fid": Score("FID", IMAGES, sampled=True),
    "kid": Score("KID", IMAGES, relative=False, sampled=True),
    "energy_distance": Score("energy distance", IMAGES, sampled=True),
    "silenced": Score("change of the loss in %, silenced", IMAGES, change=True),
    "random_angles": Score("change of the loss in %, random angles", IMAGES, change=True),
    "infidelity": _of_states("infidelity of the averages"),
    "centre_infidelity": _of_states("mean infidelity to the centre"),
    "mmd": _of_states("MMD²"),
    "wasserstein": _of_states("Wasserstein distance"),
}
"""The scores by name; less is better, except for changes, which describe a model."""

SAMPLED = {name for name, score in SCORES.items() if score.sampled}
CHANGED = {name for name, score in SCORES.items() if score.change}
