"""Images to noise and back, and what lies between two of them.

The probability-flow ODE runs both ways: `Sampler.encode` turns images into noise, `Sampler.run`
turns it back. Between the noises a, b of two images lie the images of

    sin((1 - u) theta) / sin theta  a + sin(u theta) / sin theta  b,    cos theta = a.b / |a||b|,

which have the length of noise everywhere, as a straight line between them does not.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hqdm.diffusion.denoiser import Denoiser
from hqdm.samplers import Sampler
from hqdm.utils.errors import HQDMError
from hqdm.utils.pictures import save_grid
from hqdm.utils.progress import Progress, silent, stepwise

STRIP_FILE, RECORD_FILE = "interpolation.png", "interpolation.json"
INTERPOLATION_FILES = (STRIP_FILE, RECORD_FILE)


def slerp(a: Tensor, b: Tensor, shares: Tensor) -> Tensor:
    """Points on the arc from a to b.

    Args:
        a: One noise, `(C, H, W)`.
        b: The other one.
        shares: u, `(n,)`, from 0 (a) to 1 (b).

    Returns:
        `(n, C, H, W)`.
    """
    cosine = torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0)
    theta = cosine.clamp(-1, 1).arccos()
    if theta.sin().abs() < 1e-6:  # the same direction, or the opposite one, which has no arc
        return torch.lerp(a, b, shares.view(-1, 1, 1, 1))
    weights = [((s * theta).sin() / theta.sin()).view(-1, 1, 1, 1) for s in (1 - shares, shares)]
    return weights[0] * a + weights[1] * b


@dataclass
class Interpolation:
    """Two images and those between.

    Attributes:
        images: `(2, C, H, W)` as given.
        strip: `(n, C, H, W)` from the first to the second, both decoded from their noise.
        round_trip: Root mean square error of either image, encoded and decoded, `(2,)`.
        noise: Mean and standard deviation of the noises, which should be near 0 and 1, `(2, 2)`.
    """

    images: Tensor
    strip: Tensor
    round_trip: Tensor
    noise: Tensor


def interpolate(
    denoiser: Denoiser, sampler: Sampler, images: Tensor, n: int, progress: Progress = silent
) -> Interpolation:
    """Encode two images, walk from one noise to the other, decode.

    Args:
        denoiser: The model; its device is used. Neither labels nor clipping: the flow must be the
            same both ways.
        sampler: A deterministic sampler of fixed steps.
        images: The two images, `(2, C, H, W)` in [-1, 1].
        n: Number of images in the strip, the two ends included; 2 or more.
        progress: Told of the sampler's steps, there and back.

    Raises:
        HQDMError: If there are fewer than 2 images to make, or the sampler cannot run backwards.
    """
    if n < 2:
        raise HQDMError(f"an interpolation needs 2 images or more, got n={n}")
    images = images.to(next(denoiser.parameters()).device)
    there = stepwise(progress, "encoding", sampler.steps)
    noise = sampler.encode(denoiser, images, callback=there).x0
    shares = torch.linspace(0, 1, n, device=noise.device, dtype=noise.dtype)
    between = slerp(noise[0], noise[1], shares)
    back = stepwise(progress, "decoding", sampler.steps)
    strip = sampler(denoiser, between, callback=back)
    errors = (strip[[0, -1]] - images).square().mean((1, 2, 3)).sqrt()
    moments = torch.stack([noise.mean((1, 2, 3)), noise.std((1, 2, 3))], 1)
    return Interpolation(images.cpu(), strip.cpu(), errors.cpu(), moments.cpu())


def write_interpolation(
    result: Interpolation, sampler: Sampler, files: Sequence[str], out: Path
) -> str:
    """Write the strip, the two originals at its ends, and how it was made.

    Args:
        result: The interpolation.
        sampler: How it was made.
        files: Names of the two images.
        out: Folder to write to.

    Returns:
        The names of the files, for a message.
    """
    strip = torch.cat([result.images[:1], result.strip, result.images[1:]])
    save_grid(strip, out / STRIP_FILE, columns=len(strip))
    record = {
        "images": list(files),
        "sampler": sampler.name,
        "steps": sampler.steps,
        "round_trip_rms": result.round_trip.tolist(),
        "noise_mean_and_std": result.noise.tolist(),
    }
    (out / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n")
    return ", ".join(str(out / name) for name in INTERPOLATION_FILES)
