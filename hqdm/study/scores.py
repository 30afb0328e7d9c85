"""Scores of a trained cell of a study.

    loss              mean loss on test images, with times and noise of the cell's random seed
    val_loss          the same on images of `data.val_split`, by which learning rates are chosen
    fid, kid          distances of the features of samples to those of training images
    energy_distance   distance of samples to training images in pixels
    silenced          change of the loss if circuits give their mean over the batch, relative
    random_angles     change of the loss with random angles, relative
    importance        changes of the loss by place: {place: {change: value}} with the changes of
                      `hqdm.evaluation.importance`, None where a place has no circuits

`silenced` and `random_angles` are 0 for a model without circuits, for which a report has none; see
`hqdm.evaluation.ablation`.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from hqdm.diffusion.denoiser import Denoiser
from hqdm.evaluation.ablation import mean_loss, quantum_effect
from hqdm.evaluation.importance import importance_map
from hqdm.evaluation.protocol import RealImages, Scorer, ScoringProtocol, images_for
from hqdm.generation.sampling import sample_images
from hqdm.metrics.features import extractor_for, load_extractor
from hqdm.metrics.pixel_distances import pixel_scores
from hqdm.samplers.registry import build_sampler
from hqdm.utils.checks import whole
from hqdm.utils.progress import silent

IMPORTANCE = "importance"
TESTED = 1024
"""Largest number of test images of a loss."""


@dataclass(frozen=True)
class Samples:
    """The drawing of samples, for the scores of samples.

    Attributes:
        n: Number of samples.
        sampler: Name of the sampler.
        steps: Its number of steps; None is the sampler's default.
    """

    n: int = 1024
    sampler: str = "unipc"
    steps: int | None = None

    def __post_init__(self) -> None:
        whole("samples.n", self.n, 2)
        build_sampler(self.sampler, self.steps)  # refuses unknown names


@dataclass(frozen=True)
class Score:
    """A score.

    Attributes:
        label: Its name in tables and sentences.
        relative: Whether it is positive, so that two models are compared by their ratio.
        change: Whether it is a relative change of the loss without trained circuits, which
            describes one model with circuits; two models are not compared by it.
        sampled: Whether it is one of samples.
    """

    label: str
    relative: bool = True
    change: bool = False
    sampled: bool = False


SCORES: Mapping[str, Score] = {
    "loss": Score("loss"),
    "val_loss": Score("validation loss"),
    "fid": Score("FID", sampled=True),
    "kid": Score("KID", relative=False, sampled=True),
    "energy_distance": Score("energy distance", sampled=True),
    "silenced": Score("change of the loss in %, silenced", change=True),
    "random_angles": Score("change of the loss in %, random angles", change=True),
}
"""The scores by name; less is better, except for changes, which describe a model."""

SAMPLED = {name for name, score in SCORES.items() if score.sampled}
CHANGED = {name for name, score in SCORES.items() if score.change}


@dataclass(frozen=True)
class Protocol:
    """The settings of the scores of a model.

    Attributes:
        data: The keys of `data` in the configuration of the cell.
        seed: Random seed.
        samples: How samples are drawn.
    """

    data: Mapping[str, Any]
    seed: int
    samples: Samples

    def settings(self, name: str) -> dict[str, Any]:
        """The settings on which a score depends beside the model."""
        return asdict(self.samples) if name in SAMPLED else {"images": TESTED}

    def protocol(self) -> ScoringProtocol:
        """The protocol of the scores of samples."""
        classes = self.data.get("classes")
        return ScoringProtocol(
            self.data["name"],
            n=self.samples.n,
            seed=self.seed,
            offline=bool(self.data.get("offline")),
            skip_bad=bool(self.data.get("skip_bad")),
            classes=None if classes is None else tuple(classes),
        )


class _Stepped(Exception):
    """The sampler has taken a step."""


def check_samples(denoiser: Denoiser, samples: Samples) -> None:
    """Take one step of the sampler with a model that is not trained yet.

    Args:
        denoiser: The model.
        samples: How samples are drawn.

    Raises:
        HQDMError: If the sampler cannot be used with the model.
    """

    def stop(task: str, done: int, total: int) -> None:
        if done:
            raise _Stepped

    sampler = build_sampler(samples.sampler, samples.steps)
    with suppress(_Stepped):
        sample_images(denoiser.eval(), sampler, 1, progress=stop)


def _images(denoiser: Denoiser, test: Protocol, split: str) -> tuple[Tensor, Tensor | None]:
    """The images of a split and their labels, see `images_for`."""
    keys = {key: test.data[key] for key in ("classes", "offline", "skip_bad") if key in test.data}
    return images_for(denoiser, test.data["name"], split, limit=TESTED, **keys)


def scores_of(denoiser: Denoiser, names: Sequence[str], test: Protocol) -> dict[str, Any]:
    """Scores of a model.

    Args:
        denoiser: The model.
        names: The scores, keys of `SCORES`, or `IMPORTANCE`.
        test: What it is tested with.

    Raises:
        HQDMError: If the images or an extractor cannot be used.
    """
    found: dict[str, Any] = {}
    if "val_loss" in names:
        x0, y = _images(denoiser, test, test.data["val_split"])
        found["val_loss"] = mean_loss(denoiser, x0, y, test.seed)
    if IMPORTANCE in names:
        loss, places = importance_map(denoiser, *_images(denoiser, test, "test"), test.seed)
        found[IMPORTANCE] = {one.place: one.changes(loss) for one in places}
    for group in (_of_test_images, _of_samples):
        found |= group(denoiser, names, test)
    return {name: found[name] for name in names}


def _of_test_images(denoiser: Denoiser, names: Sequence[str], test: Protocol) -> dict[str, float]:
    """The loss, and its relative changes without trained circuits."""
    if not {"loss", *CHANGED} & set(names):
        return {}
    x0, y = _images(denoiser, test, "test")
    effect = quantum_effect(denoiser, x0, y, test.seed) if CHANGED & set(names) else None
    if effect is None:
        return {"loss": mean_loss(denoiser, x0, y, test.seed), **dict.fromkeys(CHANGED, 0.0)}
    return {
        "loss": effect.loss,
        "silenced": effect.mean_output / effect.loss - 1,
        "random_angles": effect.random_angles / effect.loss - 1,
    }


def _of_samples(denoiser: Denoiser, names: Sequence[str], test: Protocol) -> dict[str, float]:
    """Scores of samples."""
    if not SAMPLED & set(names):
        return {}
    protocol, shape = test.protocol(), denoiser.image_shape
    real = RealImages.load(protocol, shape)
    sampler = build_sampler(test.samples.sampler, test.samples.steps)
    images = protocol.draw(denoiser, sampler).images
    found: dict[str, float] = {}
    if {"fid", "kid"} & set(names):
        extractor = load_extractor(extractor_for(protocol.data, shape[1], shape[0]))
        scores = Scorer(real, extractor, protocol.seed, silent).scores(images)
        found |= {"fid": scores["fid"], "kid": scores["kid"]}
    if "energy_distance" in names:
        found["energy_distance"] = pixel_scores(real.reference, images)["energy_distance"]
    return found
