"""Generation of images on several devices or in several processes, with Lightning's `predict`.

The noise of image i depends on `(seed, i)` only, so that the processes are independent: process r
of w generates batches r, r + w, ... The first process gathers them in order.
"""

import logging
import time
import warnings
from collections.abc import Sequence

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.utils.data import DataLoader

from hqdm.diffusion.denoiser import Denoiser, class_labels
from hqdm.generation.sampling import Samples, draw, gather, guided, image_batches
from hqdm.samplers import Result, Sampler
from hqdm.utils.errors import HQDMError, unknown
from hqdm.utils.memory import check_processes
from hqdm.utils.progress import Progress, silent
from hqdm.utils.tables import counted

STRATEGIES = ("auto", "ddp")
"""Strategies whose processes run the same script and remain until the images are gathered."""


# Warnings of Lightning about intended settings.
HARMLESS = (
    "The '.*dataloader' does not have many workers",
    "predict returned None if it was on purpose",
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",
)


class Drawing(LightningModule):
    """Generates the batches of its process and gathers those of all processes.

    Args:
        denoiser: The model.
        sampler: The sampler.
        batches: The indices of the images, one tensor per batch.
        seed: Random seed.
        labels: The classes of all images, `(N,)`, or None.
        guidance: Scale of classifier-free guidance; 1 is none.
        progress: Reports the images of this process, and the steps of the sampler in each batch.

    Attributes:
        samples: All images, in the first process after `predict`; otherwise None.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        sampler: Sampler,
        batches: tuple[Tensor, ...],
        seed: int,
        labels: Tensor | None,
        guidance: float,
        progress: Progress = silent,
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.denoising = guided(denoiser, guidance)
        self.sampler = sampler
        self.batches = batches
        self.seed = seed
        self.labels = labels
        self.progress = progress
        self.started = time.monotonic()
        self.results: list[Result] = []
        self.samples: Samples | None = None

    def predict_dataloader(self) -> DataLoader[Tensor]:
        """The batches of this process."""
        return DataLoader(self._own, batch_size=None)  # type: ignore[arg-type]  # a tuple has items

    @property
    def _own(self) -> tuple[Tensor, ...]:
        return self.batches[self.trainer.global_rank :: self.trainer.world_size]

    def predict_step(self, indices: Tensor) -> None:
        """Generate one batch."""
        total = sum(map(len, self._own))
        done = sum(len(result.x0) for result in self.results)
        self.progress("images", done, total)
        result = draw(
            self.denoiser,
            self.denoising,
            self.sampler,
            indices,
            self.seed,
            self.labels,
            self.progress,
        )
        result.x0 = result.x0.cpu()
        self.results.append(result)
        self.progress("images", done + len(indices), total)

    def on_predict_end(self) -> None:
        """Gather all batches in the first process."""
        world = self.trainer.world_size
        shares = [self.results]
        if world > 1:
            first = self.trainer.is_global_zero
            received: list[list[Result]] = [[] for _ in range(world)]
            torch.distributed.gather_object(self.results, received if first else None)
            if not first:
                return
            shares = received
        ordered = [shares[i % world][i // world] for i in range(len(self.batches))]
        self.samples = gather(ordered, self.labels, self.started)


def sample_sharded(
    denoiser: Denoiser,
    sampler: Sampler,
    n: int,
    *,
    processes: int,
    strategy: str = "auto",
    accelerator: str = "auto",
    seed: int = 0,
    label: int | Sequence[int] | None = None,
    guidance: float = 1.0,
    batch_size: int = 256,
    progress: Progress = silent,
) -> Samples | None:
    """Generate images on several devices, or in several processes on the CPU.

    The noise and the order are bitwise those of `sample_images`, and so are the images for equal
    batches. For other batch sizes the images agree up to rounding.

    Args:
        denoiser: The model.
        sampler: The sampler.
        n: Number of images.
        processes: Number of processes, each with its own device; the script is run in each.
        strategy: One of `STRATEGIES`.
        accelerator: Lightning's name of the kind of device.
        seed: Random seed.
        label: A class, or several that are taken in turn, see
            `hqdm.diffusion.denoiser.class_labels`; None takes every class in turn.
        guidance: Scale of classifier-free guidance; 1 is none.
        batch_size: Largest number of images per batch; reduced if needed, so that every process has
            a batch.
        progress: Reports the images of this process, and the steps of the sampler in each batch.

    Returns:
        The images in the first process, None in the others.

    Raises:
        HQDMError: If a number is out of range, the strategy is unknown, or there are too few
            devices or images.
    """
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES)
    if processes < 1:
        raise HQDMError(f"processes needs 1 or more, got {processes}")
    if processes > n:
        raise HQDMError(
            f"{counted(n, 'image')} cannot be distributed over {processes} processes: use fewer "
            "processes"
        )
    batches = image_batches(denoiser.sample_shape, n, min(batch_size, n // processes), seed)
    labels = class_labels(denoiser, n, label)
    drawing = Drawing(denoiser, sampler, batches, seed, labels, guidance, progress)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for harmless in HARMLESS:
            warnings.filterwarnings("ignore", message=harmless)
        try:
            trainer = Trainer(
                accelerator=accelerator,
                devices=processes,
                strategy=strategy,
                inference_mode=False,  # exact solvers differentiate the network
                use_distributed_sampler=False,
                logger=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            if trainer.is_global_zero:  # the process that starts the others
                check_processes(processes)
            trainer.predict(drawing, return_predictions=False)
        except MisconfigurationException as error:
            raise HQDMError(str(error).strip().splitlines()[0]) from None
    return drawing.samples
