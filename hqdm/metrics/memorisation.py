"""Memorised images: generated images that are close to a training image."""

import torch
from torch import Tensor

from hqdm.metrics.features import as_float
from hqdm.utils.errors import HQDMError

MEMORISED_QUANTILE = 0.01
COPY_GREY_LEVELS = 5.0
# The largest tensor of `nearest_training`, in distances or in pixels: 64 MB of float32.
_NUMBERS_AT_ONCE = 2**24


def nearest_training(
    fake: Tensor, train: Tensor, test: Tensor
) -> dict[str, int | float | list[int]]:
    """Compare generated images with their nearest training images, to find memorised ones.

    The distance of two images is their root-mean-square pixel difference in grey levels (0..255).
    Held-out real images show how near an image comes that the model cannot have copied: a generated
    image is flagged as memorised where it is nearer to the training images than the
    `MEMORISED_QUANTILE` quantile of the held-out ones, so about 1 % are flagged by chance, or
    several times that where fewer than 1,000 held-out images make the quantile uncertain. It is
    flagged as a copy where it is nearer than `COPY_GREY_LEVELS`, whatever the held-out ones do.

    Args:
        fake: Generated images `(N, C, H, W)`.
        train: Training images `(M, C, H, W)`; best uint8, since they are converted piece by piece.
        test: Held-out real images `(K, C, H, W)`. The time taken grows with K as with N.

    Returns:
        `n` and `held_out_n`, images compared; `memorised` and `copies`, images flagged; `expected`,
        how many are flagged as memorised by chance; `threshold`, the quantile; `median` and
        `held_out_median` distances; `nearest`, the nearest training image of each generated one;
        `memorised_indices` and `copy_indices`, which generated images are flagged.

    Raises:
        HQDMError: An empty set, or images of different shapes.
    """
    shapes = {name: t.shape for name, t in (("fake", fake), ("train", train), ("test", test))}
    if len({shape[1:] for shape in shapes.values()}) > 1 or 0 in map(len, (fake, train, test)):
        came = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
        raise HQDMError(
            f"nearest training images: expected non-empty sets of one shape, got {came}"
        )
    distances, nearest = _nearest(fake, train)
    held_out, _ = _nearest(test, train)
    threshold = held_out.quantile(MEMORISED_QUANTILE)
    memorised = (distances < threshold).nonzero().flatten().tolist()
    copies = (distances < COPY_GREY_LEVELS).nonzero().flatten().tolist()
    return {
        "n": len(fake),
        "held_out_n": len(test),
        "memorised": len(memorised),
        "expected": MEMORISED_QUANTILE * len(fake),
        "copies": len(copies),
        "threshold": threshold.item(),
        "median": distances.median().item(),
        "held_out_median": held_out.median().item(),
        "nearest": nearest.tolist(),
        "memorised_indices": memorised,
        "copy_indices": copies,
    }


def _nearest(queries: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to, and index of, the nearest reference of each query; both `(N,)`."""
    flat = as_float(queries).flatten(1)
    best = torch.full((len(flat),), torch.inf)
    nearest = torch.zeros(len(flat), dtype=torch.int64)
    start = 0
    for chunk in references.split(max(1, _NUMBERS_AT_ONCE // max(flat.shape))):
        candidates = as_float(chunk).flatten(1)
        # |q - r|^2 = |q|^2 + |r|^2 - 2 q.r, of which |q|^2 does not matter for which r is nearest.
        squared = torch.addmm(candidates.square().sum(1), flat, candidates.T, alpha=-2)
        smallest, index = squared.min(1)
        nearest = torch.where(smallest < best, index + start, nearest)
        best = torch.minimum(best, smallest)
        start += len(chunk)
    # The expansion loses digits where the distance is small, so the winners are measured anew.
    difference = flat - as_float(references[nearest]).flatten(1)
    return difference.square().mean(1).sqrt() * 127.5, nearest
