"""Samples of a trained model in one expression.

Pipeline.from_pretrained("runs/mnist_qvunet")(n=16, sampler="unipc", steps=10, seed=0).images
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.loading import find_model, load_denoiser
from hqdm.generation.sampling import Samples, sample_images
from hqdm.samplers.base import Sampler
from hqdm.samplers.registry import build_sampler, load_arguments, sampler_entry
from hqdm.utils.checks import device_named
from hqdm.utils.errors import HQDMError


class Pipeline:
    """A trained model that generates samples.

    Args:
        denoiser: The model.
        source: The file or folder of the model, next to which samplers such as `carleman` find
            their fit.

    Attributes:
        denoiser: The model, in evaluation mode.
    """

    def __init__(self, denoiser: Denoiser, source: Path | None = None) -> None:
        self.denoiser = denoiser.eval()
        self.source = source

    @classmethod
    def from_pretrained(cls, source: str | Path, device: str | torch.device = "cpu") -> Self:
        """Load a trained model.

        Args:
            source: A path or a name, see `hqdm.diffusion.loading.find_model`.
            device: The device of the model; "auto" is a GPU if there is one.

        Raises:
            HQDMError: If there is no such model, it cannot be read, or there is no such device.
        """
        place = device_named(device)
        path = find_model(source)
        return cls(load_denoiser(path).to(place), path)

    def __call__(
        self,
        n: int = 16,
        sampler: str | Sampler = "ddim",
        steps: int | None = None,
        grid: str | Sequence[float] | None = None,
        tolerance: float | None = None,
        *,
        seed: int = 0,
        label: int | Sequence[int] | None = None,
        guidance: float = 1.0,
        batch_size: int = 256,
    ) -> Samples:
        """Generate samples; the noise of sample i depends on `(seed, i)` only.

        Args:
            n: The number of samples.
            sampler: A sampler, or its name in `hqdm.samplers.SAMPLERS`.
            steps: See `hqdm.samplers.build_sampler`, as for `grid` and `tolerance`.
            grid: The grid of times.
            tolerance: The error per step of an adaptive sampler.
            seed: The random seed.
            label: A class, or several that are taken in turn, see
                `hqdm.diffusion.denoiser.class_labels`; None takes every class in turn.
            guidance: Scale of classifier-free guidance; 1 is none.
            batch_size: Samples per batch.

        Returns:
            The samples with their labels, cost and seconds; `.images` is `(n, C, H, W)`, in
            [-1, 1] on the CPU.

        Raises:
            HQDMError: If a name is unknown, a value has another type, a number is out of range, or
                options of a named sampler are given together with a sampler object.
        """
        if isinstance(sampler, str):
            sampler = self._build(sampler, steps, grid, tolerance, guidance)
        elif not isinstance(sampler, Sampler):
            raise HQDMError(f"expected a sampler or its name, got {sampler!r}")
        elif (steps, grid, tolerance) != (None, None, None):
            raise HQDMError("steps, grid and tolerance belong to a named sampler: leave them out")
        return sample_images(
            self.denoiser,
            sampler,
            n,
            seed=seed,
            label=label,
            guidance=guidance,
            batch_size=batch_size,
        )

    def _build(
        self,
        name: str,
        steps: int | None,
        grid: str | Sequence[float] | None,
        tolerance: float | None,
        guidance: float,
    ) -> Sampler:
        if self.source is None and sampler_entry(name).load is not None:
            raise HQDMError(
                f"{name} needs a fit in a file next to the model: load the model from a file"
            )
        loaded = load_arguments(name, self.source or Path(), self.denoiser, guidance)
        return build_sampler(name, steps, grid, tolerance, **loaded)
