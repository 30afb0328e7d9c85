"""A training step with `torch.compile`, against one without."""

import time
from collections.abc import Iterator
from typing import cast

import torch
from torch import nn

from device.context import Context
from device.models import NETWORKS
from device.record import Row
from device.steps import stepper

BATCH, QUICK_BATCH = 128, 2
LOSS_TOLERANCE = 1e-3  # relative, of the first loss; kernels of the compiler may use TF32


def run(context: Context) -> Iterator[Row]:
    """Measure both networks in float32."""
    for name in NETWORKS:
        yield context.attempt({"network": name}, lambda name=name: _measure(context, name))


def _measure(context: Context, name: str) -> Row:
    batch = QUICK_BATCH if context.quick else BATCH
    eager = stepper(context, name, batch, torch.float32)
    compiled = stepper(context, name, batch, torch.float32)
    # A dry run traces the network and generates no code, which needs a compiler and minutes.
    backend = "eager" if context.quick else "inductor"
    cast(nn.Module, compiled.model.network).compile(backend=backend)
    torch.manual_seed(context.seed)
    expected = float(eager.step())
    torch.manual_seed(context.seed)
    started = time.perf_counter()
    loss = float(compiled.step())
    first = time.perf_counter() - started
    row: Row = {
        "batch": batch,
        "first step s": first,
        "ms per step": 1e3 * context.median(compiled.step),
        "eager ms per step": 1e3 * context.median(eager.step),
        "relative difference of the loss": abs(loss / expected - 1),
    }
    if not row["relative difference of the loss"] <= LOSS_TOLERANCE:
        row["failure"] = f"the loss is {loss:.6g}, without compilation {expected:.6g}"
    return row
