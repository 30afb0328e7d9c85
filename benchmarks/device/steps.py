"""Time and memory of a training step: loss, gradient, Adam."""

from collections.abc import Iterator

import torch
from torch import Tensor

from device.context import Context
from device.models import NETWORKS, denoiser
from device.record import Row
from hqdm import Denoiser

BATCHES, QUICK_BATCHES = (128, 1024), (2, 4)
PRECISIONS = {"float32": torch.float32, "bf16 autocast": torch.bfloat16}


class Stepper:
    """A model that is trained on random images.

    Args:
        model: The model, on the device.
        images: `(B, C, H, W)`, on the device.
        precision: The dtype of the network's operations; bfloat16 by autocast.
    """

    def __init__(self, model: Denoiser, images: Tensor, precision: torch.dtype) -> None:
        self.model = model
        self.images = images
        self.precision = precision
        self.optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def step(self) -> Tensor:
        """Take a step; returns the loss."""
        self.optimizer.zero_grad()
        kind, half = self.images.device.type, self.precision != torch.float32
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=half):
            loss = self.model.loss(self.images)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def stepper(context: Context, name: str, batch: int, precision: torch.dtype) -> Stepper:
    """A preset on the device."""
    model = denoiser(name, context.seed, context.quick).to(context.device)
    draws = torch.Generator().manual_seed(context.seed)
    images = torch.rand(batch, *model.sample_shape, generator=draws) * 2 - 1
    return Stepper(model, images.to(context.device), precision)


def run(context: Context) -> Iterator[Row]:
    """Measure both networks, batches and precisions."""
    for batch in QUICK_BATCHES if context.quick else BATCHES:
        for name in NETWORKS:
            for words, precision in PRECISIONS.items():
                row = {"network": name, "batch": batch, "precision": words}

                def measure(
                    name: str = name, batch: int = batch, precision: torch.dtype = precision
                ) -> Row:
                    return _measure(context, stepper(context, name, batch, precision))

                yield context.attempt(row, measure)


def _measure(context: Context, stepper: Stepper) -> Row:
    if context.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(context.device)
    seconds = context.median(stepper.step, 4.0)
    loss = float(stepper.step())
    row: Row = {
        "ms per step": 1e3 * seconds,
        "images per second": len(stepper.images) / seconds,
        "loss": loss,
    }
    if context.device.type == "cuda":
        row["peak MB"] = torch.cuda.max_memory_allocated(context.device) / 1e6
    if not torch.tensor(loss).isfinite():
        row["failure"] = f"the loss is {loss}"
    return row
