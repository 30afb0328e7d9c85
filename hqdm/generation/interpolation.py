"""Interpolation between two images through their noise.

The probability-flow ODE is solved in both directions: `Sampler.encode` maps images to noise,
`Sampler.run` maps noise to images. Spherical interpolation between the noises a, b of two images,

    sin((1 - u) theta) / sin theta  a + sin(u theta) / sin theta  b,    cos theta = a.b / |a||b|,

preserves the norm of noise, unlike linear interpolation. With the reversible SDE solver
`hqdm.samplers.stochastic.rex`, all images have the same noise of the steps.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hqdm.diffusion.denoiser import Denoiser
from hqdm.generation.sampling import image_batches
from hqdm.samplers import Sampler
from hqdm.utils.checks import whole
from hqdm.utils.files import together, write_file
from hqdm.utils.pictures import save_rows
from hqdm.utils.progress import Progress, silent, stepwise
from hqdm.utils.seeds import ImageNoise
from hqdm.utils.versions import provenance

STRIP_FILE, RECORD_FILE = "interpolation.png", "interpolation.json"
INTERPOLATION_FILES = (STRIP_FILE, RECORD_FILE)


def slerp(a: Tensor, b: Tensor, shares: Tensor) -> Tensor:
    """Spherical interpolation from a to b.

    Args:
        a: The first noise, `(C, H, W)`; `(2, C, H, W)` for a pair of copies.
        b: The second noise, of the same shape.
        shares: The parameter u, `(n,)`, from 0 (a) to 1 (b).

    Returns:
        The interpolated noise, `(n, C, H, W)`, or `(n, 2, C, H, W)`.
    """
    u = shares.view(-1, *[1] * a.ndim)
    cosine = torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0)
    theta = cosine.clamp(-1, 1).arccos()
    if theta.sin().abs() < 1e-6:  # parallel: the arc is a point, or is not unique
        return torch.lerp(a, b, u)
    return ((1 - u) * theta).sin() / theta.sin() * a + (u * theta).sin() / theta.sin() * b


@dataclass
class Interpolation:
    """Two images and the images interpolated between them.

    Attributes:
        images: The two given images, `(2, C, H, W)`.
        strip: The images from the first to the second, `(n, C, H, W)`, all decoded from noise.
        round_trip: Root mean square error of each image after encoding and decoding, `(2,)`.
        noise: Mean and standard deviation of each noise, `(2, 2)`.
    """

    images: Tensor
    strip: Tensor
    round_trip: Tensor
    noise: Tensor


def interpolate(
    denoiser: Denoiser, sampler: Sampler, images: Tensor, n: int, progress: Progress = silent
) -> Interpolation:
    """Encode two images, interpolate between their noises, and decode.

    Args:
        denoiser: The model; its device is used. Without labels and clipping, so that the flow is
            the same in both directions.
        sampler: A deterministic sampler with fixed steps, or a reversible one.
        images: The two images, `(2, C, H, W)` in [-1, 1].
        n: Number of images in the strip, including both ends; 2 or more.
        progress: Reports the steps of the sampler in both directions.

    Raises:
        HQDMError: If n is below 2, the images do not fit into memory, or the sampler cannot run
            from data to noise.
    """
    whole("n", n, 2)
    image_batches(images.shape[1:], n, n, 0)  # refuses what does not fit into memory
    parameter = next(denoiser.parameters())
    images = images.to(parameter.device, torch.promote_types(parameter.dtype, torch.float32))
    there = stepwise(progress, "encoding", sampler.steps)
    # Noise of the steps for one image: it is broadcast to all, also where their number differs.
    noise = sampler.encode(denoiser, images, noise=ImageNoise(0, 1), callback=there).x0
    shares = torch.linspace(0, 1, n, device=noise.device, dtype=noise.dtype)
    between = slerp(noise[0], noise[1], shares)
    back = stepwise(progress, "decoding", sampler.steps)
    strip = sampler(denoiser, between, noise=ImageNoise(0, 1), callback=back)
    errors = (strip[[0, -1]] - images).square().mean((1, 2, 3)).sqrt()
    moments = torch.stack([noise.flatten(1).mean(1), noise.flatten(1).std(1)], 1)
    return Interpolation(images.cpu(), strip.cpu(), errors.cpu(), moments.cpu())


def write_interpolation(
    result: Interpolation, sampler: Sampler, files: Sequence[str], out: Path
) -> str:
    """Write the strip, with the two original images at its ends, and a record.

    Args:
        result: The interpolation.
        sampler: The sampler.
        files: Names of the two image files.
        out: Folder to write to.

    Returns:
        The names of the files, for a message.
    """
    strip = torch.cat([result.images[:1], result.strip, result.images[1:]])
    shares = torch.linspace(0, 1, len(result.strip)).tolist()
    heads = ["given", *(f"u = {share:.2g}" for share in shares), "given"]
    record = {
        "images": list(files),
        **sampler.settings,
        "round_trip_rms": result.round_trip.tolist(),
        "noise_mean_and_std": result.noise.tolist(),
        "provenance": provenance(),
    }
    with together():
        save_rows([("", strip)], out / STRIP_FILE, heads=heads)
        write_file(out / RECORD_FILE, json.dumps(record, indent=2) + "\n")
    return ", ".join(str(out / name) for name in INTERPOLATION_FILES)
