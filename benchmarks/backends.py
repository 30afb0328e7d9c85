"""The U-Net by compiled kernels beside the U-Net by torch, on the CPU.

    python benchmarks/backends.py [--turns 9] [--quick] [--write benchmarks/results/backends.md]

Three tables: the training step (loss, gradient, Adam) of the papers' networks at batch 128; 256
images of the shipped model by UniPC with 10 evaluations; and evaluations of U-Nets of other widths
and batch sizes, from which `hqdm.nn.compiled.choice` has its rule. Backends take turns, of which
the first is excluded from timings. The tables show medians, and the ratio to torch within a turn,
in parentheses its 95 % interval. Mixed precision (bf16) is that of torch; the kernels compute in
float32. The last column is the largest difference from torch in float32, relative to the largest
number.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import intervals
import torch
from rich.console import Console
from torch import Tensor

from hqdm import (
    CosineSchedule,
    Denoiser,
    FullQVUNet,
    QVUNet,
    UNet,
    build_sampler,
    load_denoiser,
    sample_images,
)
from hqdm.nn.compiled.choice import VARIABLE
from hqdm.utils.tables import Sheet
from hqdm.utils.versions import versions

SEED = 0
BATCH, IMAGES, EVALUATIONS = 128, 256, 10
NETWORKS = (UNet, QVUNet, FullQVUNet)
WIDTHS, BATCHES = (8, 10, 16, 24, 32, 48, 64), (1, 4, 16, 64)
COLUMNS = "work", "torch", "torch, bf16", "ratio", "compiled", "ratio", "difference"
BACKENDS = (("torch", False), ("torch", True), ("compiled", False))  # backend, mixed precision

Work = Callable[[], Tensor]


@contextmanager
def backend(name: str, mixed: bool) -> Iterator[None]:
    """Compute networks by a backend."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = name
    with torch.autocast("cpu", torch.bfloat16) if mixed else nullcontext():
        yield
    if before is None:
        del os.environ[VARIABLE]
    else:
        os.environ[VARIABLE] = before


def training(network: type[UNet], batch: int) -> Work:
    """A training step, which returns the gradient of the stem before Adam."""
    torch.manual_seed(SEED)
    denoiser = Denoiser(network(), CosineSchedule())
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=0.0)  # the same gradient in every turn
    images = 2 * torch.rand(batch, 1, 28, 28) - 1
    t, eps = torch.rand(batch), torch.randn_like(images)

    def step() -> Tensor:
        optimizer.zero_grad()
        denoiser.loss(images, t=t, eps=eps).backward()
        optimizer.step()
        return denoiser.network.get_submodule("stem").weight.grad.clone()

    return step


def sampling(n: int) -> Work:
    """Images of the shipped model."""
    denoiser, sampler = load_denoiser("mnist"), build_sampler("unipc3", EVALUATIONS)
    return lambda: sample_images(denoiser, sampler, n, seed=SEED).images


def evaluation(width: int, n: int) -> Work:
    """An evaluation of a U-Net."""
    torch.manual_seed(SEED)
    network = UNet(dim=width).requires_grad_(False)
    return partial(network, torch.randn(n, 1, 28, 28), torch.rand(n))


def measure(name: str, work: Work, turns: int) -> list[str]:
    """A row of a table."""
    seconds: dict[tuple[str, bool], list[float]] = {key: [] for key in BACKENDS}
    results = {}
    for turn in range(turns + 1):
        for key, taken in seconds.items():
            with backend(*key):
                started = perf_counter()
                results[key] = work()
                if turn:
                    taken.append(perf_counter() - started)
    usual, mixed, ours = seconds.values()
    exact, result = results["torch", False], results["compiled", False]
    difference = ((result - exact).abs().max() / exact.abs().max()).item()
    row = [name, milliseconds(usual)]
    for others in (mixed, ours):
        row += [milliseconds(others), ratios(usual, others)]
    return [*row, f"{difference:.0e}"]


def milliseconds(values: list[float]) -> str:
    """The median."""
    return f"{1e3 * median(values):.4g} ms"


def ratios(usual: list[float], others: list[float]) -> str:
    """The factor by which the others are faster, within a turn."""
    factors = [one / other for one, other in zip(usual, others, strict=True)]
    low, high = (f"{value:.2f}" for value in intervals.of_median(factors))
    return f"{median(factors):.2f}x ({low} to {high})"


def tables(turns: int, quick: bool, log: Callable[[str], None]) -> Iterator[Sheet]:
    """The tables, measured one after the other."""
    batch, images = (2, 2) if quick else (BATCH, IMAGES)
    works: dict[str, dict[str, Callable[[], Work]]] = {
        f"Training step, batch {batch}": {
            network.__name__: partial(training, network, batch) for network in NETWORKS
        },
        f"UniPC, {EVALUATIONS} evaluations": {f"{images} images": partial(sampling, images)},
        "Evaluation": {
            f"width {width}, batch {n}": partial(evaluation, width, n)
            for width in ((8,) if quick else WIDTHS)
            for n in ((1,) if quick else BATCHES)
        },
    }
    for title, rows in works.items():
        measured = []
        for name, make in rows.items():
            log(f"{title}: {name}")
            measured.append(measure(name, make(), turns))
        yield Sheet(title, COLUMNS, measured)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=9, help="measurements of each (9)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, as a test")
    parser.add_argument("--write", type=Path, help="write the tables to this file, in Markdown")
    options = parser.parse_args()
    console = Console(log_path=False)
    sections = []
    for sheet in tables(1 if options.quick else options.turns, options.quick, console.log):
        console.print(sheet.rich(), crop=False)
        sections.append(f"### {sheet.markdown()}")
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    note = f"{torch.get_num_threads()} threads, {packages}, seed {SEED}."
    console.print(note)
    if options.write:
        options.write.write_text("\n\n".join([*sections, note]) + "\n")


if __name__ == "__main__":
    main()
