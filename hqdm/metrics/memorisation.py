"""Detection of memorised images: generated images that are close to a training image."""

import torch
from torch import Tensor

from hqdm.metrics.features import as_float
from hqdm.utils.errors import HQDMError
from hqdm.utils.progress import Progress, silent

MEMORISED_QUANTILE = 0.01
COPY_GREY_LEVELS = 5.0
# Size of the largest tensor of `nearest_training`, in distances or pixels: 64 MB of float32.
_NUMBERS_AT_ONCE = 2**24


def nearest_training(
    fake: Tensor, train: Tensor, test: Tensor
) -> dict[str, int | float | list[int]]:
    """Compare generated images with their nearest training images, to detect memorised images.

    The distance of two images is their root-mean-square pixel difference in grey levels (0..255).
    Held-out real images, which the model cannot have copied, calibrate the test: a generated image
    is flagged as memorised if its distance is below the `MEMORISED_QUANTILE` quantile of the
    distances of held-out images. About 1 % are thus flagged by chance, or several times as many if
    there are fewer than 1,000 held-out images, whose quantile is uncertain. An image is flagged as
    a copy if its distance is below `COPY_GREY_LEVELS`, independently of the held-out images.

    Args:
        fake: Generated images `(N, C, H, W)`.
        train: Training images `(M, C, H, W)`; preferably uint8, since they are converted in chunks.
        test: Held-out real images `(K, C, H, W)`. The run time is proportional to N + K.

    Returns:
        `n` and `held_out_n`, the numbers of images compared; `memorised` and `copies`, the numbers
        of images flagged; `expected`, the number flagged as memorised by chance; `threshold`, the
        quantile; `median` and `held_out_median` distances; `nearest`, the index of the nearest
        training image of each generated image; `memorised_indices` and `copy_indices`, the indices
        of the flagged images.

    Raises:
        HQDMError: If a set is empty, or the images have different shapes.
    """
    shapes = {name: t.shape for name, t in (("fake", fake), ("train", train), ("test", test))}
    if len({shape[1:] for shape in shapes.values()}) > 1 or 0 in map(len, (fake, train, test)):
        came = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
        raise HQDMError(
            f"nearest training images: expected non-empty sets of one shape, got {came}"
        )
    return compare_distances(fake, train, training_distances(test, train))


def training_distances(
    images: Tensor, train: Tensor, progress: Progress = silent, task: str = "distances"
) -> Tensor:
    """The distances of images to their nearest training images, in grey levels, `(N,)`.

    Args:
        images: Images `(N, C, H, W)`.
        train: Training images `(M, C, H, W)`.
        progress: Reports the training images.
        task: Name of the task for `progress`.
    """
    return _nearest(images, train, progress, task)[0]


def compare_distances(
    fake: Tensor, train: Tensor, held_out: Tensor, progress: Progress = silent
) -> dict[str, int | float | list[int]]:
    """The result of `nearest_training` from the distances of the held-out images.

    Args:
        fake: Generated images `(N, C, H, W)`.
        train: Training images `(M, C, H, W)`.
        held_out: The `training_distances` of held-out real images, `(K,)`.
        progress: Reports the training images.
    """
    distances, nearest = _nearest(fake, train, progress, "memorisation")
    threshold = held_out.quantile(MEMORISED_QUANTILE)
    memorised = (distances < threshold).nonzero().flatten().tolist()
    copies = (distances < COPY_GREY_LEVELS).nonzero().flatten().tolist()
    return {
        "n": len(fake),
        "held_out_n": len(held_out),
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


def _nearest(
    queries: Tensor, references: Tensor, progress: Progress, task: str
) -> tuple[Tensor, Tensor]:
    """Distance and index of the nearest reference of each query; both `(N,)`."""
    flat = as_float(queries).flatten(1)
    best = torch.full((len(flat),), torch.inf)
    nearest = torch.zeros(len(flat), dtype=torch.int64)
    start = 0
    progress(task, start, len(references))
    for chunk in references.split(max(1, _NUMBERS_AT_ONCE // max(flat.shape))):
        candidates = as_float(chunk).flatten(1)
        # |q - r|^2 = |q|^2 + |r|^2 - 2 q.r, in which |q|^2 does not affect the minimum over r.
        squared = torch.addmm(candidates.square().sum(1), flat, candidates.T, alpha=-2)
        smallest, index = squared.min(1)
        nearest = torch.where(smallest < best, index + start, nearest)
        best = torch.minimum(best, smallest)
        start += len(chunk)
        progress(task, start, len(references))
    # The expansion suffers from cancellation at small distances, which are therefore recomputed.
    difference = flat - as_float(references[nearest]).flatten(1)
    return difference.square().mean(1).sqrt() * 127.5, nearest
