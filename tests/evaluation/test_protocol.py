"""The protocol of scores: disjoint real images, digests of the data, scores of features."""

import hashlib

import pytest
import torch

from hqdm.data.images import load_images
from hqdm.evaluation.protocol import RealImages, Scorer, ScoringProtocol
from hqdm.metrics import distribution_scores, load_extractor, real_floor
from hqdm.metrics.distribution import extract
from hqdm.metrics.uncertainty import fid_infinity
from hqdm.storage.digests import digest_of
from hqdm.utils.errors import HQDMError

SHAPE = (1, 8, 8)


def test_reference_and_floor_share_no_image():
    for n in (50, 1000):
        real = RealImages.load(ScoringProtocol("digits", n=n), (1, 8, 8))
        assert len(real.reference) == len(real.other) == min(n, 1797 // 2)
        reference = {image.numpy().tobytes() for image in real.reference}
        # The digits hold no two equal images.
        assert not reference & {image.numpy().tobytes() for image in real.other}


def test_digests_are_those_of_the_pixels():
    real = RealImages.load(ScoringProtocol("digits", n=10), SHAPE)
    train = load_images("digits", "train").images.numpy()
    assert real.digests["train"] == digest_of(None, {"": train})
    assert len(real.digests["test"]) == len(hashlib.sha256().hexdigest())
    real.train.images[0, 0, 0, 0] += 1
    assert real.digests["train"] != digest_of(None, {"": train})


def test_too_few_images_are_refused_before_anything_is_drawn():
    with pytest.raises(HQDMError, match="3 real images: FID, KID and IS need at least 4"):
        RealImages.load(ScoringProtocol("digits", n=3), SHAPE)


def test_scorer_gives_the_scores_of_the_images():
    real = RealImages.load(ScoringProtocol("digits", n=60), SHAPE)
    extractor, fake = load_extractor("digits"), torch.rand(60, *SHAPE) * 2 - 1
    scorer = Scorer(real, extractor, seed=2)
    every, _ = extract(real.train.images, extractor)

    def with_limit(scores, images):
        limit = fid_infinity(every, extract(images, extractor)[0], 2)
        return scores | {"fid_infinity": limit.value, "fid_error": limit.error}

    expected = distribution_scores(real.reference, fake, extractor, 2)
    assert scorer.scores(fake) == with_limit(expected, fake)
    floor = real_floor(real.reference, real.other, extractor, 2)
    assert scorer.floor() == with_limit(floor, real.other)


def test_real_images_of_some_classes():
    real = RealImages.load(ScoringProtocol("digits", n=10, classes=(3, 8)), (1, 8, 8))
    for part in (real.train, real.test):
        assert part.classes == ("3", "8")
        assert set(part.labels.tolist()) == {0, 1}
