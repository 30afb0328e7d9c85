"""Generation of images in batches; the noise of an image does not depend on the batch size."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from hqdm.diffusion.denoiser import Denoiser, Denoising, class_labels
from hqdm.generation.files import file_names, names_in_words, write_kinds
from hqdm.guidance.classifier_free import ClassifierFreeGuidance
from hqdm.guidance.clip import Clip
from hqdm.nn.outline import check_batch
from hqdm.samplers import Result, Sampler
from hqdm.storage.digests import digest
from hqdm.utils.checks import finite, whole
from hqdm.utils.files import together, write_file
from hqdm.utils.memory import check_memory, to_device
from hqdm.utils.pictures import save_grid, save_strip
from hqdm.utils.pixels import to_uint8
from hqdm.utils.progress import Progress, silent, stepwise
from hqdm.utils.seeds import ImageNoise
from hqdm.utils.tables import counted
from hqdm.utils.versions import provenance

MAX_IN_GRID = 256
STRIP_ROWS = 4
GRID_FILE, STRIP_FILE = "grid.png", "strip.png"
IMAGES_FILE, RECORD_FILE = "images.safetensors", "sample.json"
SAMPLE_FILES = (GRID_FILE, STRIP_FILE, IMAGES_FILE, RECORD_FILE)


@dataclass
class Samples:
    """Generated images and the cost of generating them.

    Attributes:
        images: The images `(N, C, H, W)` in [-1, 1], on the CPU.
        labels: The class labels `(N,)`, or None.
        evaluations: Network evaluations per image; the maximum over the batches if the sampler is
            adaptive.
        rejected: Rejected steps of an adaptive sampler, averaged over the images.
        seconds: Duration of the sampling.
        trajectory: The first `STRIP_ROWS` images at every grid point, `(n + 1, R, C, H, W)`.
        times: The grid of times `(n + 1,)`.
    """

    images: Tensor
    labels: Tensor | None
    evaluations: int
    rejected: float
    seconds: float
    trajectory: Tensor
    times: Tensor

    def effort(self, sampler: Sampler) -> str:
        """The cost of the images by a sampler, for a message."""
        text = sampler.work or f"{counted(self.evaluations, 'network evaluation')} each"
        return f"{text}, {self.rejected:.1f} steps rejected" if self.rejected else text


def guided(denoiser: Denoiser, scale: float) -> Denoising:
    """The denoiser used in sampling: with guidance, and clipped to the range of the data.

    Raises:
        HQDMError: If the scale is not a finite number, or guidance is requested for a model
            without class labels.
    """
    scale = finite("guidance", scale)
    return Clip(denoiser if scale == 1 else ClassifierFreeGuidance(denoiser, scale))


def sample_images(
    denoiser: Denoiser,
    sampler: Sampler,
    n: int,
    *,
    seed: int = 0,
    label: int | Sequence[int] | None = None,
    guidance: float = 1.0,
    around: Callable[[Denoising], Denoising] | None = None,
    batch_size: int = 256,
    progress: Progress = silent,
) -> Samples:
    """Generate images; the noise of image i depends on `(seed, i)` only.

    Args:
        denoiser: The model; its device is used.
        sampler: The sampler.
        n: Number of images.
        seed: Random seed.
        label: A class, or several that are taken in turn, see
            `hqdm.diffusion.denoiser.class_labels`; None takes every class in turn.
        guidance: Scale of classifier-free guidance; 1 is none.
        around: Wraps the guided denoiser, such as `hqdm.guidance.replacement`.
        batch_size: Images per batch.
        progress: Reports the images, and the steps of the sampler in each batch.

    Returns:
        The images.

    Raises:
        HQDMError: If a number is out of range, or a batch does not fit into memory.
    """
    batches = image_batches(denoiser.sample_shape, n, batch_size, seed)
    check_batch(denoiser.network, min(n, batch_size), training=False)
    labels = class_labels(denoiser, n, label)
    wrapped = guided(denoiser, guidance)
    if around is not None:
        wrapped = around(wrapped)
    progress("images", 0, n)
    started = time.monotonic()
    results = []
    for indices in batches:
        results.append(draw(denoiser, wrapped, sampler, indices, seed, labels, progress))
        progress("images", int(indices[-1]) + 1, n)
    return gather(results, labels, started)


def image_batches(shape: Sequence[int], n: int, batch_size: int, seed: int) -> tuple[Tensor, ...]:
    """The indices 0, ..., n - 1 of the images, in batches.

    Args:
        shape: Shape of an image.
        n: Number of images.
        batch_size: Images per batch.
        seed: Random seed.

    Raises:
        HQDMError: If a number is out of range, or the images do not fit into memory.
    """
    n, batch_size = whole("n", n, 1), whole("batch_size", batch_size, 1)
    whole("seed", seed)
    n_bytes = 2 * 4 * n * math.prod(shape)  # float32, and once more when batches are joined
    check_memory(f"{n} images of shape {tuple(shape)}", n_bytes, "generate fewer at a time")
    return torch.arange(n).split(batch_size)


def draw(
    denoiser: Denoiser,
    denoising: Denoising,
    sampler: Sampler,
    indices: Tensor,
    seed: int,
    labels: Tensor | None,
    progress: Progress = silent,
) -> Result:
    """Generate the images of one batch.

    Args:
        denoiser: The model; its device is used.
        denoising: The denoiser for the sampler: the model with its guidance.
        sampler: The sampler.
        indices: Consecutive indices of the images, `(B,)`.
        seed: Random seed.
        labels: The classes of the images of all batches, `(N,)`, or None.
        progress: Reports the steps of the sampler.

    Returns:
        The result of the sampler, with the trajectory of those images that are among the first
        `STRIP_ROWS`, on the CPU.
    """
    device = next(denoiser.parameters()).device
    noise = ImageNoise(seed, len(indices), int(indices[0]))
    y = None if labels is None else to_device(labels[indices], device)
    x1 = denoiser.prior(noise)
    n_steps = len(sampler.grid(denoising.schedule, 1.0, 0.0)) - 1
    stepped = stepwise(progress, sampler.name, n_steps)
    rows = max(0, STRIP_ROWS - int(indices[0]))
    path = [x1[:rows].clone()]

    def kept(_step: int, _time: Tensor, x: Tensor) -> None:
        path.append(x[:rows].clone())  # to the CPU after the last step: a copy waits for a GPU
        stepped()

    result = sampler.run(denoising, x1, y, noise=noise, callback=kept)
    result.trajectory = torch.stack(path).cpu()
    return result


def gather(results: Sequence[Result], labels: Tensor | None, started: float) -> Samples:
    """Concatenate the results of all batches; `started` is a value of `time.monotonic`."""
    images = torch.cat([result.x0.cpu() for result in results])
    return Samples(
        images=images,
        labels=labels,
        evaluations=max(result.evaluations for result in results),
        rejected=float(sum(result.rejected.sum() for result in results)) / len(images),
        seconds=time.monotonic() - started,
        trajectory=torch.cat([result.trajectory for result in results], dim=1),
        times=results[0].times,
    )


def sample_files(
    denoiser: Denoiser,
    n: int,
    label: int | Sequence[int] | None = None,
    kinds: Sequence[str] = (),
) -> tuple[str, ...]:
    """The names of the files that `write_samples` writes for n images.

    Args:
        denoiser: The model.
        n: Number of images.
        label: See `sample_images`.
        kinds: Other files than `SAMPLE_FILES`, see `hqdm.generation.files`.

    Raises:
        HQDMError: If a number is out of range, or a kind cannot be written.
    """
    image_batches(denoiser.sample_shape, n, n, 0)  # refuses numbers before names are made of them
    return (*SAMPLE_FILES, *file_names(kinds, n, class_labels(denoiser, n, label)))


def write_samples(
    sampler: Sampler,
    samples: Samples,
    out: Path,
    settings: dict[str, Any],
    kinds: Sequence[str] = (),
    progress: Progress = silent,
) -> str:
    """Write a grid of images, a strip of denoising trajectories, the images and a record.

    Args:
        sampler: The sampler.
        samples: The samples.
        out: Folder to write to.
        settings: Settings that `sample.json` records in addition to the sampler.
        kinds: Other files to write, see `hqdm.generation.files`.
        progress: Reports the images that are written one by one.

    Returns:
        The names of the files, for a message.
    """
    shown, labels = samples.images[:MAX_IN_GRID], samples.labels
    first = None if labels is None else labels[:STRIP_ROWS]
    recorded = samples.trajectory, samples.times
    with together():
        save_grid(shown, out / GRID_FILE, labels=None if labels is None else labels[: len(shown)])
        save_strip(*recorded, out / STRIP_FILE, first)
        write_kinds(kinds, samples.images, labels, *recorded, out, progress)
        save_samples(samples, sampler, out, RECORD_FILE, settings)
    return ", ".join(str(out / name) for name in (*SAMPLE_FILES, *names_in_words(kinds)))


def save_samples(
    samples: Samples, sampler: Sampler, out: Path, record_file: str, settings: dict[str, Any]
) -> None:
    """Write images as uint8, and a record.

    It has the settings, the sampler, the cost, a digest of the images, and their origin, see
    `hqdm.utils.versions.provenance`.
    """
    images = save({"images": to_uint8(samples.images)})
    record = {
        **settings,
        **sampler.settings,
        "evaluations": samples.evaluations,
        "rejected": samples.rejected,
        "seconds": round(samples.seconds, 3),
        "sha256": digest(images),
        "provenance": provenance(),
    }
    with together():
        write_file(out / IMAGES_FILE, images)
        write_file(out / record_file, json.dumps(record, indent=2, default=str) + "\n")
