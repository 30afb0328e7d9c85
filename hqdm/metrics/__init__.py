"""Scores of generated images, and the feature extractors with which they are measured."""

import hqdm.metrics.dino  # noqa: F401  # registers its extractor
from hqdm.metrics.distribution import distribution_scores, real_floor, warn_if_few
from hqdm.metrics.features import (
    CLASSIFIERS,
    INCEPTION,
    FeatureExtractor,
    extractor_for,
    load_extractor,
)
from hqdm.metrics.memorisation import nearest_training
from hqdm.metrics.pairs import pair_scores, region_scores
from hqdm.metrics.pixel_distances import pixel_scores

__all__ = [
    "CLASSIFIERS",
    "INCEPTION",
    "FeatureExtractor",
    "distribution_scores",
    "extractor_for",
    "load_extractor",
    "nearest_training",
    "pair_scores",
    "pixel_scores",
    "real_floor",
    "region_scores",
    "warn_if_few",
]
