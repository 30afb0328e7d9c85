"""Scores of generated images and the networks they are measured with."""

from hqdm.metrics.features import (
    CLASSIFIERS,
    INCEPTION,
    FeatureExtractor,
    extractor_for,
    load_extractor,
)
from hqdm.metrics.scores import (
    distribution_scores,
    nearest_training,
    pair_scores,
    real_floor,
    warn_if_few,
)

__all__ = [
    "CLASSIFIERS",
    "INCEPTION",
    "FeatureExtractor",
    "distribution_scores",
    "extractor_for",
    "load_extractor",
    "nearest_training",
    "pair_scores",
    "real_floor",
    "warn_if_few",
]
