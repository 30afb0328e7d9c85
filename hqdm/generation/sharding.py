"""Many images over devices and processes, with Lightning's `predict`.

Image i is drawn from noise of its own, keyed by `(seed, i)`, so that no process needs to know of
the others: process r of w takes batches r, r + w, ... The first process puts them in order.
"""

import logging
import time
import warnings

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.utils.data import DataLoader

from hqdm.diffusion.denoiser import Denoiser, class_labels
from hqdm.generation.sampling import Samples, draw, gather, guided, image_batches
from hqdm.samplers import Result, Sampler
from hqdm.utils.errors import HQDMError, unknown

STRATEGIES = ("auto", "ddp")
"""Those whose processes run the same script and stay until the images are gathered."""


# What Lightning warns of although it is meant.
HARMLESS = (
    "The '.*dataloader' does not have many workers",
    "predict returned None if it was on purpose",
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",
)


class Drawing(LightningModule):
    """Draws the batches of its process and gathers those of all.

    Args:
        denoiser: The model.
        sampler: How to sample.
        batches: The indices of the images, batch by batch.
        seed: Key of all noise.
        labels: The classes of all images, `(N,)`, or None.
        guidance: Scale of classifier-free guidance; 1 is none.

    Attributes:
        samples: All images, in the first process, once they are drawn.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        sampler: Sampler,
        batches: tuple[Tensor, ...],
        seed: int,
        labels: Tensor | None,
        guidance: float,
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.denoising = guided(denoiser, guidance)
        self.sampler = sampler
        self.batches = batches
        self.seed = seed
        self.labels = labels
        self.started = time.monotonic()
        self.results: list[Result] = []
        self.samples: Samples | None = None

    def predict_dataloader(self) -> DataLoader[Tensor]:
        """The batches of this process."""
        own = self.batches[self.trainer.global_rank :: self.trainer.world_size]
        return DataLoader(own, batch_size=None)  # type: ignore[arg-type]  # a tuple has items

    def predict_step(self, indices: Tensor) -> None:
        """Draw one batch."""
        result = draw(self.denoiser, self.denoising, self.sampler, indices, self.seed, self.labels)
        result.x0 = result.x0.cpu()
        self.results.append(result)

    def on_predict_end(self) -> None:
        """Bring all batches to the first process."""
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
    label: int | None = None,
    guidance: float = 1.0,
    batch_size: int = 256,
    progress: bool = False,
) -> Samples | None:
    """Draw images on several devices, or in several processes on the CPU.

    The noise and the order are those of `sample_images`, to the bit; so are the images where the
    batches are the same. In batches of another size they are equal up to rounding.

    Args:
        denoiser: The model.
        sampler: How to sample.
        n: How many images.
        processes: How many, each with a device of its own; the script is run in each.
        strategy: One of `STRATEGIES`.
        accelerator: What Lightning calls the kind of device.
        seed: Key of all noise.
        label: The class of all images; None takes every class in turn.
        guidance: Scale of classifier-free guidance; 1 is none.
        batch_size: Images at a time, at most: every process gets a batch.
        progress: Whether to show a bar.

    Returns:
        The images in the first process, None in the others.

    Raises:
        HQDMError: If a number is out of its range, the strategy is unknown, or there are too few
            devices or images.
    """
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES)
    if processes < 1:
        raise HQDMError(f"processes needs 1 or more, got {processes}")
    if processes > n:
        raise HQDMError(f"{n} images cannot be spread over {processes} processes: ask for fewer")
    batches = image_batches(n, min(batch_size, n // processes), seed)
    labels = class_labels(denoiser, n, label)
    drawing = Drawing(denoiser, sampler, batches, seed, labels, guidance)
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
                enable_progress_bar=progress,
                enable_model_summary=False,
            )
            trainer.predict(drawing, return_predictions=False)
        except MisconfigurationException as error:
            raise HQDMError(str(error).strip().splitlines()[0]) from None
    return drawing.samples
