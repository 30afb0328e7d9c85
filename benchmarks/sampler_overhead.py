"""Overhead of samplers: time of a run relative to that of its network evaluations alone.

    python benchmarks/sampler_overhead.py [--evaluations 10] [--batch 16 64] [--turns 7]

The network is the U-Net of `configs/mnist_unet.yaml` with random weights. The inputs of a
run's evaluations are recorded and the bare network is evaluated on them again. Both are timed
alternately, so that fluctuations of the machine affect both; the table shows medians of seconds and
of the ratio within a turn. Samplers that differentiate the network or adapt steps are omitted.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from rich.console import Console
from torch import Tensor

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.objective import Prediction
from hqdm.generation.sampling import guided
from hqdm.samplers import Sampler
from hqdm.samplers.registry import build_sampler
from hqdm.utils.seeds import ImageNoise
from hqdm.utils.tables import Sheet

CONFIG = Path(__file__).parents[1] / "configs" / "mnist_unet.yaml"
NAMES = "ddpm", "ddim", "dpm2", "dpm3", "dpm++2m", "dpm++2m-sde", "unipc2", "unipc3", "heun", "rk4"
COLUMNS = "sampler", "batch", "evaluations", "run, s", "network, s", "overhead"


@dataclass
class Recorder:
    """A denoiser that records the inputs of its network.

    Attributes:
        denoiser: The denoiser.
        calls: Images and times of each evaluation.
    """

    denoiser: Denoiser
    calls: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Copy the schedule."""
        self.schedule = self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Prediction:
        """See `hqdm.diffusion.denoiser.Denoising`."""
        self.calls.append((x_t, t.to(x_t).expand(len(x_t))))
        return self.denoiser(x_t, t, y)


@torch.no_grad()
def overhead(denoiser: Denoiser, sampler: Sampler, batch: int, turns: int) -> tuple[float, ...]:
    """Evaluations, median seconds of a run and of its evaluations, and the median overhead."""
    x1 = ImageNoise(0, batch).draw(denoiser.sample_shape)
    recorder = Recorder(denoiser)
    sampler.run(recorder, x1)
    wrapped = guided(denoiser, 1.0)

    def run() -> None:
        sampler.run(wrapped, x1, noise=ImageNoise(0, batch))

    def network() -> None:
        for x_t, t in recorder.calls:
            denoiser.network(x_t, t, None)

    pairs = [(seconds(run), seconds(network)) for _ in range(turns)]
    runs, networks = zip(*pairs, strict=True)
    ratio = median(one / other for one, other in pairs)
    return len(recorder.calls), median(runs), median(networks), ratio - 1


def seconds(work: Callable[[], None]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samplers", nargs="+", default=NAMES)
    parser.add_argument(
        "--evaluations", type=int, default=10, help="largest number of evaluations per run (10)"
    )
    parser.add_argument(
        "--batch", type=int, nargs="+", default=[16, 64], help="batch sizes (16 64)"
    )
    parser.add_argument("--turns", type=int, default=7, help="runs of each sampler (7)")
    options = parser.parse_args()
    denoiser = TrainingCLI(["--config", str(CONFIG)]).model.denoiser.eval()
    rows = []
    for batch in options.batch:
        for name in options.samplers:
            steps = build_sampler(name).steps_for(options.evaluations)
            sampler = build_sampler(name, steps)
            count, run, network, more = overhead(denoiser, sampler, batch, options.turns)
            taken = f"{run:.4f}", f"{network:.4f}", f"{more:+.1%}"
            rows.append((name, str(batch), str(count), *taken))
    title = f"{torch.get_num_threads()} threads, {options.turns} turns"
    Console().print(Sheet(title, COLUMNS, rows).rich())


if __name__ == "__main__":
    main()
