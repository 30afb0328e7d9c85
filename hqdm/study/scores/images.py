"""Scores of a model of images, see `hqdm.study.scores.names`."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from torch import Tensor

from hqdm.diffusion.denoiser import Denoiser
from hqdm.evaluation.ablation import mean_loss, quantum_effect
from hqdm.evaluation.importance import importance_map
from hqdm.evaluation.protocol import RealImages, Scorer, images_for
from hqdm.generation.sampling import sample_images
from hqdm.metrics.features import extractor_for, load_extractor
from hqdm.metrics.pixel_distances import pixel_scores
from hqdm.samplers.registry import build_sampler
from hqdm.study.scores.names import CHANGED, IMPORTANCE, SAMPLED, TESTED
from hqdm.study.scores.protocol import Protocol, Samples
from hqdm.utils.progress import silent


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


def image_scores(denoiser: Denoiser, names: Sequence[str], test: Protocol) -> dict[str, Any]:
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
    protocol, shape = test.of_images(), denoiser.image_shape
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
