"""The Lightning module: it calls `denoiser.loss` and keeps an average of the weights.

Everything random in step k follows from the seed and k: the times and the noise are drawn for the
whole batch of all processes, and each process takes its share. A run that was interrupted, or
spread over processes, therefore sees the same draws.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim.swa_utils import AveragedModel

from hqdm.data.module import Batch
from hqdm.diffusion.denoiser import Denoiser
from hqdm.nn.parts import classical_parameters, quantum_layers, quantum_parameters
from hqdm.storage.checkpoint import CHECKPOINT_KEY
from hqdm.storage.formats import FORMAT_VERSION, check_version
from hqdm.training.ema import _move_average
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import generator

NOISE_STREAM, VALIDATION_STREAM = 2, 3


class DiffusionModule(LightningModule):
    """Trains a denoiser with Adam and an exponential moving average (EMA) of the weights.

    Args:
        denoiser: What is trained.
        lr: Learning rate of Adam.
        betas: Decay rates of Adam's moments.
        ema_decay: Decay of the average at each of its updates.
        ema_every: Steps between updates of the average.
        ema_start: Up to this step the average is a plain copy.
        label_dropout: Share of the labels that are dropped, for classifier-free guidance.
        seed: Key of the times, the noise and the dropped labels.

    Raises:
        HQDMError: If a number is out of its range.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        ema_decay: float = 0.995,
        ema_every: int = 10,
        ema_start: int = 100,
        label_dropout: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, ok, expected, came in (
            ("lr", 0 < lr < math.inf, "a positive number", lr),
            ("betas", all(0 <= b < 1 for b in betas), "numbers in [0, 1)", betas),
            ("ema_decay", 0 <= ema_decay < 1, "a number in [0, 1)", ema_decay),
            ("ema_every", ema_every >= 1, "1 step or more", ema_every),
            ("ema_start", ema_start >= 0, "0 steps or more", ema_start),
            ("label_dropout", 0 <= label_dropout <= 1, "a share in [0, 1]", label_dropout),
        ):
            if not ok:
                raise HQDMError(f"{name} needs {expected}, got {came}")
        self.denoiser = denoiser
        self.ema = AveragedModel(denoiser, multi_avg_fn=partial(_move_average, decay=ema_decay))
        self.ema.requires_grad_(False)
        self.lr = lr
        self.betas = betas
        self.ema_every = ema_every
        self.ema_start = ema_start
        self.label_dropout = label_dropout
        self.seed = seed
        self.batches_seen = 0
        self.frozen: list[str] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch.

        Raises:
            HQDMError: If the loss is not a finite number.
        """
        x0, y = batch
        draws = generator(self.seed, self.batches_seen, NOISE_STREAM)
        t, eps = self._times_and_noise(x0, draws)
        y = self._drop_labels(y, draws)
        loss = self.denoiser.loss(x0, y, t=t, eps=eps)
        if not torch.isfinite(loss):
            raise HQDMError(
                f"the loss is {loss.item()} at step {self.global_step}: lower model.lr "
                f"(now {self.lr:g}), and start again or --resume a checkpoint"
            )
        self.batches_seen += 1
        self.log("train_loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The loss of the averaged weights, with the same noise at every validation."""
        x0, y = batch
        draws = generator(self.seed, batch_idx, VALIDATION_STREAM)
        t, eps = self._times_and_noise(x0, draws)
        loss = self.averaged.loss(x0, y, t=t, eps=eps)
        self.log("val_loss", loss, prog_bar=True, sync_dist=True, batch_size=x0.shape[0])

    def _times_and_noise(self, x0: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """This process's share of the times and the noise of the batch of all processes."""
        world, rank = self.trainer.world_size, self.trainer.global_rank
        n = x0.shape[0] * world
        t = 1 - torch.rand(n, generator=draws)
        eps = torch.randn((n, *x0.shape[1:]), generator=draws)
        return t.chunk(world)[rank].to(x0), eps.chunk(world)[rank].to(x0)

    def _drop_labels(self, y: Tensor | None, draws: torch.Generator) -> Tensor | None:
        if y is None:
            return None
        world, rank = self.trainer.world_size, self.trainer.global_rank
        coins = torch.rand(y.shape[0] * world, generator=draws).chunk(world)[rank]
        assert self.denoiser.n_classes is not None
        return y.masked_fill((coins < self.label_dropout).to(y.device), self.denoiser.n_classes)

    @property
    def averaged(self) -> Denoiser:
        """The denoiser with the averaged weights: what is sampled, scored and exported."""
        module = self.ema.module
        assert isinstance(module, Denoiser)
        return module

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam over the parameters that are not frozen."""
        trained = [p for p in self.denoiser.parameters() if p.requires_grad]
        return torch.optim.Adam(trained, lr=self.lr, betas=self.betas)

    def on_train_start(self) -> None:
        """Take the configured rates where a checkpoint brought those of its run."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        for group in optimizer.param_groups:
            group.update(lr=self.lr, betas=self.betas)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the gradient norms of quantum and classical parameters apart."""
        self.log("grad_norm/classical", _gradient_norm(classical_parameters(self.denoiser)))
        if quantum_layers(self.denoiser):
            self.log("grad_norm/quantum", _gradient_norm(quantum_parameters(self.denoiser)))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then update the average: before any callback saves a checkpoint."""
        super().optimizer_step(*args, **kwargs)
        step = self.global_step + 1  # the trainer counts this step after the hook
        if step <= self.ema_start:
            self.ema.n_averaged.zero_()
        if step <= self.ema_start or step % self.ema_every == 0:
            self.ema.update_parameters(self.denoiser)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the model, and where the run stands."""
        checkpoint[CHECKPOINT_KEY] = {
            "format_version": FORMAT_VERSION,
            "denoiser": self.denoiser.config,
            "batches_seen": self.batches_seen,
            "frozen": self.frozen,
            "seed": self.seed,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on where the run stood."""
        check_version(checkpoint.get(CHECKPOINT_KEY, {}), "the checkpoint")
        self.batches_seen = checkpoint[CHECKPOINT_KEY]["batches_seen"]


def _gradient_norm(parameters: Iterator[torch.nn.Parameter]) -> float:
    # All at once: a sum a parameter would be as many waits for a GPU, at every step.
    return float(get_total_norm([p.grad for p in parameters if p.grad is not None]))
