"""Time and memory of sampling by Carleman linearisation, compared with UniPC, in one run.

    python benchmarks/carleman_speed.py --checkpoint benchmarks/models/mnist_unet [--n 10000]

The model is fitted with the settings of `hqdm carleman fit --dim 4` (the fit is not saved), the
linear maps are computed, and images are sampled without the network. UniPC samples fewer images,
with 10 evaluations each; times are also given per image. Memory is the increase of the peak memory
of the process, in MiB.
"""

import argparse
import resource
from collections.abc import Callable
from time import perf_counter

import torch
from rich.console import Console

from hqdm.data.images import load_images
from hqdm.diffusion.loading import load_denoiser
from hqdm.generation.sampling import sample_images
from hqdm.samplers.registry import build_sampler
from hqdm.surrogate.fit import fit_carleman
from hqdm.utils.tables import Sheet

COLUMNS = "task", "images", "seconds", "ms per image", "increase of peak memory, MiB"


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and the increase of the peak memory of the process in MiB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = perf_counter()
    work()
    seconds = perf_counter() - started
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument(
        "--data", default="mnist", help="data set on which the model was trained (mnist)"
    )
    parser.add_argument("--n", type=int, default=10_000, help="images by Carleman (10000)")
    parser.add_argument("--unipc-n", type=int, default=512, help="images by UniPC (512)")
    parser.add_argument("--batch-size", type=int, default=1024, help="images per batch (1024)")
    options = parser.parse_args()
    denoiser = load_denoiser(options.checkpoint)
    channels, size, _ = denoiser.sample_shape
    images = load_images(options.data, "train", size=size, channels=channels)
    fits = []
    fitting = measured(
        lambda: fits.append(fit_carleman(denoiser, images.images, 4, labels=images.labels))
    )
    (fit,) = fits
    carleman, unipc = build_sampler("carleman", fit=fit), build_sampler("unipc", 10)

    def draw(sampler: object, n: int, batch: int) -> Callable[[], object]:
        return lambda: sample_images(denoiser, sampler, n, batch_size=batch)

    work = [
        ("Carleman, linear maps", 1, draw(carleman, 1, 1)),
        ("Carleman", options.n, draw(carleman, options.n, options.batch_size)),
        ("UniPC, 10 evaluations, first image", 1, draw(unipc, 1, 1)),
        ("UniPC, 10 evaluations", options.unipc_n, draw(unipc, options.unipc_n, 128)),
    ]
    rows = [("fit", len(images), *fitting)]
    rows += [(name, n, *measured(call)) for name, n, call in work]
    cells = [
        (name, str(n), f"{seconds:.2f}", f"{1e3 * seconds / n:.2f}", f"{memory:.0f}")
        for name, n, seconds, memory in rows
    ]
    console = Console()
    console.print(Sheet(f"{torch.get_num_threads()} threads", COLUMNS, cells).rich())
    ratio = (rows[4][2] / options.unipc_n) / (rows[2][2] / options.n)
    console.print(f"UniPC takes {ratio:.0f} times as long per image")


if __name__ == "__main__":
    main()
