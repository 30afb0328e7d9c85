"""Classes that a classifier sees in images: the share of unsure ones, and the histogram."""

from torch import Tensor

SURE = 0.8
"""Probability of the likeliest class from which an image counts as sure."""


def unsure_share(logits: Tensor) -> float:
    """The share of images whose likeliest class has a probability below `SURE`.

    Args:
        logits: Logits `(N, K)`.
    """
    return float((logits.softmax(1).amax(1) < SURE).double().mean())


def class_histogram(logits: Tensor) -> list[float]:
    """The share of images of each class, the likeliest one of each image.

    Args:
        logits: Logits `(N, K)`.
    """
    counts = logits.argmax(1).bincount(minlength=logits.shape[1])
    return (counts / len(logits)).tolist()
