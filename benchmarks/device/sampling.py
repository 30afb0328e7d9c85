"""Sampling with the trained U-Net of this repository: UniPC with 10 evaluations."""

from collections.abc import Iterator

import torch

from device.context import Context
from device.record import Row
from hqdm import Pipeline, UniPC
from hqdm.generation.sampling import sample_images

NUMBERS, QUICK_NUMBERS = (1_000, 10_000), (4,)
BATCH = 1_000
STEPS = 10


def run(context: Context) -> Iterator[Row]:
    """Measure float32 and bfloat16 autocast, from a small number of images to a large one."""
    model = Pipeline.from_pretrained("mnist", device=context.device).denoiser
    for n in QUICK_NUMBERS if context.quick else NUMBERS:
        for words, half in (("float32", False), ("bf16 autocast", True)):

            def measure(n: int = n, half: bool = half) -> Row:
                with torch.autocast(context.device.type, dtype=torch.bfloat16, enabled=half):
                    samples = sample_images(
                        model, UniPC(STEPS), n, seed=context.seed, batch_size=BATCH
                    )
                return {
                    "seconds": samples.seconds,
                    "images per second": n / samples.seconds,
                    "evaluations": samples.evaluations,
                    "mean": float(samples.images.mean()),
                }

            yield context.attempt({"images": n, "precision": words}, measure)
