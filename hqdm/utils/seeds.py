"""Random streams derived from a seed and a purpose, independent of earlier draws."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from hqdm.utils.memory import check_memory, to_device

STREAM_BYTES = 1100  # of a random generator


def generator(*key: int) -> torch.Generator:
    """A CPU generator whose stream is a function of the key, such as `(seed, epoch)`.

    Neighbouring keys give independent streams (NumPy's `SeedSequence` mixes them).
    """
    (word,) = np.random.SeedSequence(key).generate_state(1)
    return torch.Generator().manual_seed(int(word))


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Set torch's default CPU generator to the stream of `generator(*key)`; restore it on exit."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator(*key).get_state())
        yield


class ImageNoise:
    """Standard normal noise for the images `first`, `first + 1`, ... of a run.

    Args:
        seed: The random seed of the run, 0 or more.
        n: Number of images.
        first: Index of the first image.

    Raises:
        HQDMError: If the random generators do not fit into memory.
    """

    def __init__(self, seed: int, n: int, first: int = 0) -> None:
        check_memory(f"the noise of {n} images", n * STREAM_BYTES, "use a smaller number")
        self._streams = [np.random.default_rng([seed, first + i]) for i in range(n)]

    def draw(self, shape: Sequence[int]) -> Tensor:
        """The next noise of each image, `(n, *shape)` in float32 on the CPU."""
        draws = [stream.standard_normal(shape, dtype=np.float32) for stream in self._streams]
        return torch.from_numpy(np.stack(draws) if draws else np.empty((0, *shape), np.float32))

    def draw_like(self, x: Tensor) -> Tensor:
        """The next noise of each image, with the shape, dtype and device of `x` `(n, C, H, W)`."""
        return to_device(self.draw(x.shape[1:]), x.device, x.dtype)


class ReplayedNoise(ImageNoise):
    """The next draws of another noise from the last one to the first, for steps that are inverted.

    Args:
        noise: The other noise, from which `n` draws are taken.
        shape: Shape of one image.
        n: Number of draws.

    Raises:
        HQDMError: If the draws do not fit into memory.
    """

    def __init__(self, noise: ImageNoise, shape: Sequence[int], n: int) -> None:
        self._streams = noise._streams
        n_bytes = 4 * n * len(self._streams) * math.prod(shape)  # float32
        check_memory(f"the noise of {n} steps", n_bytes, "encode fewer images at a time")
        self._draws = [noise.draw(shape) for _ in range(n)]

    def draw(self, shape: Sequence[int]) -> Tensor:
        """The draw before the one that was returned last; `shape` is that of the images."""
        return self._draws.pop()
